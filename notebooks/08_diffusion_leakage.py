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
# # Diffusion leakage: what does the gradient of a diffusion model show?
#
# A client trains a diffusion model on handwritten digits. It hides each image behind noise, at a
# time step that it draws, and sends one gradient. Here is what a server makes of it that can do
# nothing but read: first the time step, then the image, with known and with private noise; and what
# each attack owes to where it starts.

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch

from fedsec.core.record import Knowledge
from fedsec.core.rng import torch_stream
from fedsec.data.images import load_images
from fedsec.diffusion.model import new_model
from fedsec.diffusion.objectives import add_noise, to_model_space, to_pixels
from fedsec.diffusion.train import TrainSettings, train
from fedsec.federated.local import FullGradient
from fedsec.federated.privacy import RelativeNoise
from fedsec.inversion.attacks import GIDM, GIDMPlus, PixelSearch
from fedsec.inversion.attacks.gidm_plus import times_of
from fedsec.inversion.audit import Recipe, make_diffusion_client
from fedsec.inversion.audit.ladders import protected
from fedsec.inversion.denoiser import victim_of
from fedsec.inversion.optimisers import Adam
from fedsec.inversion.scores import mean_image as mean_guess
from fedsec.inversion.starts import grey, mean_image
from fedsec.metrics.images import psnr

torch.set_num_threads(1)
digits = load_images("digits")
UNET = {"kind": "unet", "channels": 1, "width": 16, "mults": [1, 2]}


def show(rows: dict[str, torch.Tensor], notes: dict[str, list[str]] | None = None) -> None:
    """A row of images a name, with something below each."""
    n = max(map(len, rows.values()))
    figure, axes = plt.subplots(
        len(rows), n, figsize=(1.1 * n + 1.6, 1.35 * len(rows)), squeeze=False, layout="constrained"
    )
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for place, axis in enumerate(line):
            axis.set(xticks=[], yticks=[])
            if place >= len(images):
                axis.axis("off")
                continue
            axis.imshow(images[place, 0].clamp(0, 1).numpy(), cmap="gray", vmin=0, vmax=1)
            if notes and name in notes:
                axis.set_xlabel(notes[name][place], fontsize=8)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    plt.show()


def decibels(found: torch.Tensor, truth: torch.Tensor) -> list[str]:
    return [f"{value:.1f} dB" for value in psnr(found, truth).tolist()]


# %% [markdown]
# ## What a client adds, and what it sends
#
# Sixteen time steps. The client of this page has four images, at the steps 1, 5, 9 and 14; its
# network is untrained, as at the start of every federation.

# %%
victim = victim_of(new_model(UNET, (1, 8, 8)))
steps = (1, 5, 9, 14)
client = make_diffusion_client(
    victim, digits, Recipe(images=4, local=FullGradient()), seed=3, t=steps
)
noisy = add_noise(
    victim.schedule, to_model_space(client.truth.x), torch.tensor(steps), client.noise
)
show({"image": client.truth.x, "with noise": to_pixels(noisy)},
     {"with noise": [f"t = {t}" for t in steps]})  # fmt: skip
print(f"sent: {sum(value.numel() for value in victim.parameters.values()):,} numbers")

# %% [markdown]
# ## The time step is read off
#
# The gradient of the first layer that sees the time is a sum of outer products with the embeddings
# of the client's steps. Each step's score is the share of its embedding that the gradient does not
# explain. Four are zero, up to rounding: no search was made, and no image was looked at.

# %%
found = times_of(client.case(Knowledge()))
print(found)
figure, axis = plt.subplots(figsize=(6, 2.6), layout="constrained")
colours = ["#d55e00" if t in steps else "#999999" for t in range(16)]
axis.bar(range(16), found.scores.clamp_min(1e-16).numpy(), color=colours)
axis.set(yscale="log", xlabel="time step", ylabel="not explained", xticks=range(16))
plt.show()

# %% [markdown]
# ## One image, all known
#
# A server that sent step and noise knows all but the image. GIDM looks for the noise of which *its
# own* diffusion model makes the client's image, and then moves pixels. Beside it pixels alone: from
# noise, as the first attacks did it, and from grey and the mean image, which need no model at all.

# %%
prior, _ = train(
    new_model(UNET, (1, 8, 8), seed=1), digits.train.x,
    TrainSettings(steps=400, batch=32, lr=2e-3),
)  # fmt: skip
unseen = replace(digits, train=digits.test)  # the prior was trained on the others
clients = [
    make_diffusion_client(
        victim, unseen, Recipe(images=1, local=FullGradient()), seed, t=(8,), prior=prior
    )
    for seed in range(3)
]  # fmt: skip
truth = torch.cat([one.truth.x for one in clients])
cases = [one.case(one.facts) for one in clients]
n, steady = 100, Adam(lr=0.02, milestones=())
gidm = GIDM(iterations=n, latent=0.4, lr_latent=0.05, lr_pixel=0.02, sampling=8)
both = gidm.each(cases, generator=torch_stream(0, "attack"))
rows = {
    "true": truth,
    "GIDM, phase 1": torch.cat([one.phases["latent"] for one in both]),
    "GIDM": torch.cat([one.x for one in both]),
}
for name, start in (
    ("pixels, noise", None), ("pixels, grey", grey), ("pixels, mean", mean_image(digits.train.x)),
):  # fmt: skip
    attack = PixelSearch(iterations=n, optimiser=steady)
    attack = attack if start is None else replace(attack, start=start)
    made = attack.each(cases, generator=torch_stream(0, "attack"))
    rows[name] = torch.cat([one.x for one in made])
rows["no gradient"] = mean_guess(digits.train, 3)
show(rows, {name: decibels(x, truth) for name, x in rows.items() if name != "true"})

# %% [markdown]
# At this size what helps GIDM over pixels from noise is that it starts among images; so does the
# mean. Whether a prior pays shows beside *that* row.
#
# ## Private step, private noise
#
# Now the client drew both, and told nobody. The step is read off; then image and noise are moved
# together, from four starts, until their gradient is the one that was sent.

# %%
private = make_diffusion_client(
    victim, digits, Recipe(images=1, local=FullGradient()), seed=5, t=(1,)
)
made = GIDMPlus(iterations=200, restarts=4)(
    private.case(Knowledge()), generator=torch_stream(0, "attack")
)
print(f"steps: {made.t}, in truth {private.facts.t}; loss {made.loss:.1e}")
eps = made.learnt["eps"][made.best]
show(
    {"image": torch.cat([private.truth.x, made.x]),
     "noise": torch.cat([private.noise, eps]) / 6 + 0.5},
    {"image": ["true", f"rebuilt, {decibels(made.x, private.truth.x)[0]}"]},
)  # fmt: skip

# %% [markdown]
# ## Noise on the gradient
#
# In units of the gradient's root mean square. Phase 2 fits what it is given, so under strong noise
# the image after phase 1 is the better one, and no loss says so: look at both.

# %%
scales = (0.0, 5.0)
psnrs: dict[str, list[float]] = {"after phase 1": [], "after phase 2": []}
for scale in scales:
    some = [
        protected(one, RelativeNoise(scale=scale), torch_stream(k, "noise"))[0]
        for k, one in enumerate(clients)
    ]
    found = (
        both
        if not scale
        else gidm.each([one.case(one.facts) for one in some], generator=torch_stream(0, "attack"))
    )
    for name, phase in (("after phase 1", "latent"), ("after phase 2", "pixels")):
        x = torch.cat([one.phases[phase] for one in found])
        psnrs[name].append(float(np.median(psnr(x, truth))))
figure, axis = plt.subplots(figsize=(5.5, 3), layout="constrained")
for name, values in psnrs.items():
    axis.plot(scales, values, "o-", label=name)
axis.axhline(float(np.median(psnr(rows["no gradient"], truth))), color="grey", linestyle=":",
             label="mean image, no gradient")  # fmt: skip
axis.set(xlabel="noise, times the RMS of the gradient", ylabel="median PSNR, dB")
axis.legend()
plt.show()

# %% [markdown]
# These are three digits and few iterations. `benchmarks/gidm.py` has the grid: three steps, trained
# and untrained victims, eight images each; `fedsec audit --victim diffusion` looks at a model of
# yours.
