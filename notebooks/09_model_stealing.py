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
# # Model stealing: what do answers give away?
#
# A network that reads handwritten digits stands behind an API. Whoever pays gets labels, nothing
# else. Here is what can be made of 24,000 labels by somebody who has no digit at all: a copy, and
# adversarial examples for the original; and what it costs to give false answers on purpose.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

from fedsec.core.functional import load_state
from fedsec.core.rng import torch_stream
from fedsec.data.images import load_images
from fedsec.nets import make_net
from fedsec.stealing.answers import LabelFlips
from fedsec.stealing.attack import Watch
from fedsec.stealing.lineup import Stake, method_for
from fedsec.stealing.oracle import ModelOracle, QueryLog
from fedsec.stealing.perturbations import Bim, bim
from fedsec.stealing.plots import copy_curves, pool_histogram, transfer_curves
from fedsec.stealing.records import copy_evaluator, effective_classes, predict
from fedsec.stealing.transfer import eps_sweep
from fedsec.stealing.victims import Recipe, train_victim

torch.set_num_threads(1)
SHAPE, BUDGET = (1, 8, 8), 24_000
digits = load_images("digits")
victim, state = train_victim(digits, seed=0, recipe=Recipe(net="cnn-bn", steps=300))
labels = predict(victim, state, digits.test.x)
print(f"the victim has {(labels == digits.test.y).double().mean():.1%} of"
      f" {len(digits.test)} test images right")  # fmt: skip

# %% [markdown]
# ## The only way to it
#
# An oracle answers images with labels, counts them, and stops at the budget. Nothing of the network
# can be reached through it. What it logs is for us: the images that were asked about.


# %%
def oracle_with(budget: int, *answers) -> ModelOracle:
    log = QueryLog(10, n_images=budget)
    return ModelOracle(victim, state, SHAPE, 10, budget=budget, answers=answers, log=log)


def steal(name: str, budget: int = BUDGET, passes: int = 5, answers: tuple = ()):
    stake = Stake(budget=budget, mode="labels", shape=SHAPE, n_classes=10, passes=passes)
    oracle, copy = oracle_with(budget, *answers), make_net("cnn-bn", digits, seed=1)
    stolen = method_for(name, stake)(
        oracle, copy, seed=0, watch=Watch(every=budget // 20),
        evaluate=copy_evaluator(copy, digits.test, labels),
    )  # fmt: skip
    return stolen, load_state(copy, stolen.best).eval(), oracle


runs = {name: steal(name) for name in ("mega+", "noise")}
for name, (stolen, _, oracle) in runs.items():
    print(f"{name:6} {oracle.queries:,} queries, {stolen.substitute_steps} steps:"
          f" {stolen.records[-1].accuracy:.1%} right, {stolen.records[-1].agreement:.1%} as the"
          " victim says")  # fmt: skip

# %% [markdown]
# ## What was asked
#
# Noise asks about noise. MEGA's generator starts with something else, just as meaningless, and is
# moved to where the copy is sure; the two work together. None of this looks like a digit, and it
# need not: an answer tells where a boundary lies, whatever the image shows.

# %%
figure, axes = plt.subplots(3, 12, figsize=(10, 2.9), layout="constrained")
shown = {
    "noise": runs["noise"][2].log.images[:12],
    "mega+, first": runs["mega+"][2].log.images[:12],
    "mega+, last": runs["mega+"][2].log.images[-12:],
}
for line, (name, images) in zip(axes, shown.items(), strict=True):
    for axis, image in zip(line, images, strict=True):
        axis.imshow(image[0], cmap="gray", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
        axis.set_xlabel(str(int(predict(victim, state, image[None]))), fontsize=8)
    line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
plt.show()

# %% [markdown]
# Which classes the answers fall into is what such attacks live and die by. The pool starts with
# about as many codes of each class; a generator that only seeks confidence would then make ever
# fewer kinds of images. Replay and a term for the spread of classes hold against that.

# %%
pool_histogram(runs["mega+"][0].records, digits.classes, title="mega+: what the victim said")

# %%
for name, (stolen, _, _) in runs.items():
    last = [one.histogram for one in stolen.records if sum(one.histogram)][-1]
    print(f"{name:6} effective number of classes at the end: {effective_classes(last):.1f} of 10")

# %% [markdown]
# ## How good the copies are
#
# Agreement with the victim on real digits, which no attacker has seen, against queries.

# %%
copy_curves({name: [stolen.records] for name, (stolen, _, _) in runs.items()},
            victim=float((labels == digits.test.y).double().mean()), chance=0.1)  # fmt: skip

# %% [markdown]
# Noise comes far by itself: 8 x 8 pixels leave little room to miss. The page on model stealing has
# the same with 200,000 queries and more methods.
#
# ## Adversarial examples that carry over
#
# A copy has gradients. So an image can be moved, a little in every pixel, to where the copy is
# wrong; and the victim, never asked about it before, is often wrong too.

# %%
some = digits.test.subset(np.arange(10))
copies = {name: copy for name, (_, copy, _) in runs.items()}
moved = bim(copies["mega+"], some.x, some.y, eps=0.2, steps=10, step=0.05)
figure, axes = plt.subplots(2, 10, figsize=(9, 2.3), layout="constrained")
for line, images, name in zip(axes, (some.x, moved), ("before", "after"), strict=True):
    for axis, image, label in zip(line, images, predict(victim, state, images), strict=True):
        axis.imshow(image[0], cmap="gray", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
        axis.set_xlabel(f"says {int(label)}", fontsize=8)
    line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
plt.show()

# %%
epsilons = [0.05, 0.1, 0.2, 0.3]
success = {
    name: np.array([[
        one.success
        for one in eps_sweep(
            copy, victim, digits.test, lambda eps: Bim(eps=eps, steps=10, step=eps / 4), epsilons,
            generator=torch_stream(0, "transfer"),
        )
    ]])
    for name, copy in {**copies, "the victim itself": victim}.items()
}  # fmt: skip
transfer_curves(success, epsilons, attack="BIM, made on copies, tried on the victim")

# %% [markdown]
# ## False answers on purpose
#
# The API gives another label for a share of all images, the same one whenever it is asked again.
# Customers pay as much as the thief: what they send is flipped just as often.

# %%
shares, stolen_right, customers = (0.0, 0.2, 0.4), [], []
for share in shares:
    defence = LabelFlips(share=share, secret=7)
    got, _, _ = steal("noise", budget=6_000, passes=5, answers=(defence,))
    stolen_right.append(got.records[-1].accuracy)
    answered = oracle_with(len(digits.test), defence)(digits.test.x)
    customers.append(float((answered == digits.test.y).double().mean()))
    print(f"{share:.0%} flipped: customers get {customers[-1]:.1%} right,"
          f" the copy {stolen_right[-1]:.1%}")  # fmt: skip
figure, axis = plt.subplots(figsize=(5.6, 3.2), layout="constrained")
axis.plot(shares, customers, "o-", label="answers to customers")
axis.plot(shares, stolen_right, "o-", color="#e69f00", label="copy")
axis.set(xlabel="share of images with a false label", ylabel="right", ylim=(0, 1))
axis.legend()
plt.show()

# %% [markdown]
# A copy averages over false labels, so the thief loses less by them than the customers do. This is
# one victim, one seed and a small budget. `benchmarks/stealing.py` has three seeds, ten times the
# budget, the other methods, and probabilities; `fedsec steal` asks a model of your own.
