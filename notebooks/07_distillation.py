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
# # Distillation: the same digits in a few steps
#
# A diffusion model makes an image in many small steps, each a call of a network. Here one is
# trained on handwritten digits with 128 steps, and then students that take 8. How good can they be,
# and what does a noise mean to them?

# %%
import matplotlib.pyplot as plt
import torch

from fedsec.core.rng import torch_stream
from fedsec.data.images import load_images
from fedsec.diffusion.model import new_model
from fedsec.diffusion.progressive import progressive_distill
from fedsec.diffusion.samplers import ddim_sample
from fedsec.diffusion.schedule import noise_schedule, sub_schedule
from fedsec.diffusion.scratch import train_from_scratch
from fedsec.diffusion.semantics import (
    images_of_noise,
    interpolate_noise,
    semantic_distance,
)
from fedsec.diffusion.single_fold import SingleFold, TimeRemap, distill
from fedsec.diffusion.students import on_steps
from fedsec.diffusion.subsequence import leading, trailing
from fedsec.diffusion.train import TrainSettings, train

torch.set_num_threads(1)
digits = load_images("digits")


def show(rows: dict[str, torch.Tensor]) -> None:
    """A row of images a name."""
    n = max(map(len, rows.values()))
    figure, axes = plt.subplots(
        len(rows), n, figsize=(0.75 * n + 1.6, 0.8 * len(rows)), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for axis, image in zip(line, images, strict=True):
            axis.imshow(image[0].clamp(0, 1).numpy(), cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    plt.show()


# %% [markdown]
# ## A teacher
#
# A small U-Net. It is asked for v, a mix of image and noise, because
# progressive distillation needs an answer that says something of the image at every noise level.

# %%
T = 128
start = new_model(
    {"kind": "unet", "channels": 1, "width": 16, "mults": [1, 2]}, (1, 8, 8),
    schedule=noise_schedule("sigmoid", T), objective="v",
)  # fmt: skip
teacher, history = train(
    start, digits.train.x, TrainSettings(steps=500, batch=32, lr=3e-3, ema=0.99)
)
z = torch.randn(12, 1, 8, 8, generator=torch_stream(0, "noise"))
whole = images_of_noise(teacher, z)
show({"real": digits.train.x[:12], f"{T} steps": whole})

# %% [markdown]
# ## Which steps?
#
# A student of 8 steps is given 8 of the teacher's noise levels. The released choice is 0, 16, 32,
# ..., 112: its first step starts at level 112, where a little of the image would be left, though
# sampling starts from pure noise. The other choice ends at 127, where nothing is left, and its
# first step is nearly wasted. Here is the teacher itself on both.

# %%
n = 8
choices = {"leading": leading(T, n), "trailing": trailing(T, n)}
few = {name: images_of_noise(on_steps(teacher, at), z) for name, at in choices.items()}
show({f"{T} steps": whole, **few})
for name, x in few.items():
    last = float(teacher.schedule.alpha_bar[choices[name][-1]])
    print(f"{name:9} ends where {last:.4f} of the signal's power is left;"
          f" MSE to {T} steps {semantic_distance(x, whole).mean():.4f}")  # fmt: skip

# %% [markdown]
# ## One fold
#
# SFDDM trains a student on any such sequence at once: at the student's step k it must answer what
# the teacher answers at that noise level, and show the same features before the last layer. The
# student's chain *is* the teacher's on those steps, so the loss has a minimum that can be written
# down: the teacher, told other numbers. Its loss is 0 and its images are the teacher's in as many
# steps, to the bit.

# %%
at = choices["leading"]
schedule = sub_schedule(teacher.schedule, at)
remapped = TimeRemap(teacher.net, at)
with torch.no_grad():
    its = ddim_sample(remapped, schedule, "v", z)
    theirs = ddim_sample(teacher.net, teacher.schedule, "v", z, times=at.flip(0))
print("the same, to the bit:", torch.equal(its, theirs))

# %% [markdown]
# So of this loss no student is expected to do better than the teacher in 8 steps, and the question
# is how near it comes. Four students, each after 150 steps of training: SFDDM from random weights,
# as released, and from the teacher's; progressive distillation, by halving 16 steps; and no teacher
# at all.

# %%
budget = TrainSettings(steps=150, batch=32, lr=3e-3, ema=None)
x = digits.train.x
students = {}
students["SFDDM"], released = distill(teacher, at, x, budget)
students["SFDDM, warm"], warm = distill(teacher, at, x, budget, SingleFold(start="teacher"))
((students["progressive"], _),) = progressive_distill(
    teacher, n, x, budget, indices=trailing(T, 2 * n)
)
students["from scratch"], _ = train_from_scratch(teacher, at, x, budget)
made = {name: images_of_noise(student, z) for name, student in students.items()}
show({f"{T} steps": whole, "teacher in 8": few["leading"], **made})

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for name, losses in (("random weights", released.loss), ("teacher's weights", warm.loss)):
    smooth = torch.from_numpy(losses).unfold(0, 20, 1).mean(dim=1)
    left.plot(smooth.numpy(), label=name)
left.set(xlabel="step", ylabel="loss of SFDDM", yscale="log")
left.legend(frameon=False)
apart = {
    "teacher in 8": few["leading"], **made
}  # fmt: skip
names = list(apart)
values = [float(semantic_distance(apart[name], whole).mean()) for name in names]
right.barh(names[::-1], values[::-1], color="#0072b2")
right.set(xlabel=f"MSE to the teacher's {T} steps, same noise")
right.locator_params(axis="x", nbins=4)
plt.show()

# %% [markdown]
# A noise means the same digit to a student as to its teacher, and less so to a model of 8 steps
# that was trained from scratch: that is what separates distillation from training. Progressive
# distillation may come nearer to the long path than the teacher in 8 steps does, because its
# target is two steps of the teacher, not one answer.
#
# ## Between two noises
#
# Along a line, as the authors have it, a noise halfway is shorter than any that the model has seen;
# along a circle it is not.

# %%
weights = torch.linspace(0, 1, 9)
paths = {kind: interpolate_noise(z[0], z[2], weights, kind) for kind in ("linear", "slerp")}
student = students["SFDDM, warm"]
show({
    f"{who}, {kind}": images_of_noise(model, path)
    for kind, path in paths.items()
    for who, model in (("teacher", teacher), ("student", student))
})  # fmt: skip
lengths = {kind: float(path[4].norm()) for kind, path in paths.items()}
print("length halfway:", {kind: f"{value:.1f}" for kind, value in lengths.items()},
      f"of a typical noise: {64 ** 0.5:.1f}")  # fmt: skip

# %% [markdown]
# One seed, one small network and a minute of training show how it works, not which method is best:
# `benchmarks/sfddm.py` has three seeds, other numbers of steps, consistency models and a distance
# between distributions, and `docs/diffusion.md` says how to read it.
