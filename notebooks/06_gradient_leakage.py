# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Gradient leakage: what does an update show?
#
# A client holds handwritten digits and sends no image, only a gradient. Here is what a server that
# can do nothing but read makes of it: first of one image, then of eight, then of what a client
# sends after local steps; and what noise does about it, to the attacker and to the federation.

# %%
from dataclasses import replace
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from fedsec.core.record import Knowledge
from fedsec.core.rng import stream, torch_stream
from fedsec.data.images import load_images
from fedsec.data.partitions import iid
from fedsec.federated.defence_cost import accuracy_with
from fedsec.federated.local import FullGradient, LocalTraining
from fedsec.federated.privacy import RelativeNoise
from fedsec.federated.simulate import Federation
from fedsec.federated.task import Task
from fedsec.inversion.attack import Watch
from fedsec.inversion.attacks import AGIC, InvertingGradients, Simulation
from fedsec.inversion.audit import Recipe, make_client
from fedsec.inversion.scores import controls, mean_image, score
from fedsec.inversion.victim import classifier

torch.set_num_threads(1)
digits = load_images("digits")


def show(rows: dict[str, torch.Tensor], notes: dict[str, list[str]] | None = None) -> None:
    """A row of images a name, with something below each."""
    n = max(map(len, rows.values()))
    figure, axes = plt.subplots(
        len(rows), n, figsize=(1.1 * n + 1.2, 1.35 * len(rows)), squeeze=False, layout="constrained"
    )
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for place, axis in enumerate(line):
            axis.set(xticks=[], yticks=[])
            if place >= len(images):
                axis.axis("off")
                continue
            axis.imshow(images[place, 0], cmap="gray", vmin=0, vmax=1)
            if notes and name in notes:
                axis.set_xlabel(notes[name][place], fontsize=8)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    plt.show()


def decibels(values: np.ndarray) -> list[str]:
    return [f"{value:.1f} dB" for value in values]


# %% [markdown]
# ## One image, one gradient
#
# Any network that can be differentiated twice will do. This one is small and smooth, and untrained,
# as at the start of every federation. The client has one image and sends the gradient of its loss.

# %%
with torch.random.fork_rng(devices=[]):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.SiLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.SiLU(),
        nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip
victim = classifier(net)
client = make_client(victim, digits, Recipe(images=1, local=FullGradient()), seed=3)
sent = client.observed[0].update
print(f"sent: {sum(value.numel() for value in sent.tensors.values()):,} numbers")
print(f"kept: an image of {client.truth.x.numel()} pixels")

# %% [markdown]
# The attack starts from noise and moves 64 pixels until *their* gradient points where the one that
# was sent does. It is stopped after 1, 5, 20, 60 and 300 iterations to look at it.

# %%
stages = (1, 5, 20, 60, 300)
attack = InvertingGradients(iterations=300)
case = client.case(client.facts)
looks = []
for n in stages:
    left = iter(range(n))
    watch = Watch(stop=lambda left=left: next(left, None) is None)
    looks.append(attack(case, generator=torch_stream(0, "attack"), watch=watch))
psnr = [score(one.x, client.truth.x).psnr[0] for one in looks]
show(
    {"rebuilt": torch.cat([*(one.x for one in looks), client.truth.x])},
    {"rebuilt": [f"{n} iterations\n{value:.1f} dB" for n, value in zip(stages, psnr, strict=True)]
     + ["the image"]},
)  # fmt: skip

# %% [markdown]
# ## A batch of eight
#
# The gradient of a batch is the mean of eight gradients. The attack looks for eight images at once;
# it cannot know their order, so they are matched to the true ones before they are scored. The
# control is what anybody could say without a gradient: the mean of all images of that class.

# %%
batch = make_client(victim, digits, Recipe(images=8, local=FullGradient()), seed=4)
found = InvertingGradients(iterations=500)(
    batch.case(batch.facts), generator=torch_stream(0, "attack")
)
scores = score(found.x, batch.truth.x, population=digits.train)
guesses = controls(
    batch.truth.x, digits.train, generator=torch_stream(0, "guesses"), true_labels=batch.truth.y
)
show(
    {"true": batch.truth.x, "rebuilt": found.x[scores.match_of],
     "no gradient": mean_image(digits.train, 8)},
    {"rebuilt": decibels(scores.psnr), "no gradient": decibels(guesses["mean_image"].psnr)},
)  # fmt: skip
print(f"{scores.reidentified.mean():.0%} are nearer to their own image than to any other of"
      f" {len(digits.train)}")  # fmt: skip
for name, guess in guesses.items():
    print(f"{name:20} median {np.median(guess.psnr):.1f} dB,"
          f" re-identified {guess.reidentified.mean():.0%}")  # fmt: skip

# %% [markdown]
# ## Local steps
#
# Most federations average models: a client takes steps on its own, and sends what they changed.
# This one has eight images and takes four steps on two of them each. AGIC takes the change for one
# gradient of all eight. The simulation takes the four steps again, on dummy images, and
# differentiates through them: it must know the rate and the steps, and takes longer.

# %%
recipe = Recipe(images=8, local=LocalTraining(batch=2, lr=0.05))
stepping = make_client(victim, digits, recipe, seed=4)
facts = stepping.facts
labels = Knowledge(labels=tuple(sorted(facts.labels)))
attacks = {
    "AGIC": (AGIC(iterations=300), labels),
    "simulation": (Simulation(iterations=300), facts),
}
rows, notes = {"true": stepping.truth.x}, {}
for name, (one, known) in attacks.items():
    made = one(stepping.case(known), generator=torch_stream(0, "attack"))
    scored = score(made.x, stepping.truth.x)
    rows[name] = made.x[scored.match_of]
    notes[name] = decibels(scored.psnr)
    print(f"{name:10} median {np.median(scored.psnr):.1f} dB in {made.seconds:.1f} s; {known}")
show(rows, notes)

# %% [markdown]
# ## A defence, and its price
#
# Noise on the gradient, in units of its root mean square. At the right what is left of the
# federation: ten clients, ten rounds, every one of them adding that noise.

# %%
scales = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0)
part = iid(digits.train.y.numpy(), 10, stream(0, "partition")).parts
task = Task(net, digits.train, part, digits.test, n_classes=10)
train = partial(
    accuracy_with, task,
    Federation(per_round=10, local=LocalTraining(batch=8, lr=0.1)), n_rounds=10, seeds=[0],
)  # fmt: skip
leaked, accuracy, pictures = [], [], []
for scale in scales:
    defence = RelativeNoise(scale=scale)
    (seen,) = client.observed
    noisy = replace(
        client, observed=(replace(seen, update=defence(sent, torch_stream(0, "noise"))),)
    )
    made = InvertingGradients(iterations=300)(
        noisy.case(client.facts), generator=torch_stream(0, "attack")
    )
    pictures.append(made.x)
    leaked.append(score(made.x, client.truth.x).psnr[0])
    accuracy.append(float(train(defence)[0]))
show({"rebuilt": torch.cat(pictures)}, {"rebuilt": [f"noise {scale:g}" for scale in scales]})

# %%
guess = controls(
    client.truth.x, digits.train, generator=torch_stream(0, "guesses"), true_labels=client.truth.y
)
figure, (left_axis, right_axis) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
left_axis.plot(scales, leaked, "o-", label="attack")
left_axis.axhline(guess["class_mean_images"].psnr[0], color="grey", linestyle=":",
                  label="mean of the class, no gradient")  # fmt: skip
left_axis.set(xlabel="noise, times the RMS of the gradient", ylabel="PSNR, dB")
left_axis.legend()
right_axis.plot(scales, accuracy, "o-", color="#009e73")
right_axis.set(xlabel="noise, times the RMS of the update", ylabel="test accuracy", ylim=(0, 1))
for axis in (left_axis, right_axis):
    axis.set_xscale("symlog", linthresh=0.3)
plt.show()

# %% [markdown]
# There is room between the noise that hides this image and the noise that stops this federation,
# because the noise of ten clients averages out in every round. How much room depends on clients,
# rounds and network, and noise without clipping makes no promise. This is one image, one network
# and one attack: `benchmarks/inversion_quality.py` has eight clients for each strength, attackers
# who know the defence, and the other attacks; `fedsec audit` draws these curves for your own
# network.
