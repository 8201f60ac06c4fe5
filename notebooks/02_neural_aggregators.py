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
# # Networks that aggregate labels
#
# A network reads the votes of an item and answers. A guiding model of the workers says what fits
# the votes. They are trained together until they agree. We look at one training, see why it must
# end early, compare the two answers, and put in a guiding model of our own. The crowd is simulated,
# so that errors can be counted.

# %%
import math
import warnings

import numpy as np
import torch
from IPython.display import SVG
from torch import nn
from torch.nn.functional import logsigmoid, one_hot

from crowdlearn import aggregator, plots, simulate
from crowdlearn.errors import ConvergenceWarning
from crowdlearn.evaluation import error, log_loss
from crowdlearn.plots import ESTIMATED, REFERENCE, SEEN

world = simulate.dawid_skene(
    n_items=600, n_workers=60, n_classes=5, assign=simulate.fixed_per_item(5), seed=3
)
votes, truth = world.votes, world.truth
print(votes)
majority = aggregator("majority").fit(votes)
print(f"majority: error {error(majority.posterior, truth):.3f}")

# %% [markdown]
# ## One training
#
# A tenth of the votes is left out. After each epoch the model foretells them; the truth is not
# asked. Here training goes on for 300 epochs, to see what early stopping saves us from.

# %%
long = aggregator("consensus", n_epochs=300, patience=299, seed=1)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)  # says that patience did not run out
    history = long.fit(votes).history


def after(n_epochs: int) -> tuple[float, float]:
    """Error and log loss of a training on all votes for so many epochs."""
    fit = aggregator("consensus", n_epochs=n_epochs, left_out=0.0, seed=1).fit(votes)
    return error(fit.posterior, truth), log_loss(fit.posterior, truth)


epochs = [1, 5, 10, 20, 40, 80, 150, 300]
errors, losses = np.transpose([after(n) for n in epochs])

figure, (left, middle, right) = plots.figure(11, 3.2, 3)
left.plot(-history.bound, color=ESTIMATED)
left.set(title="Loss of the training", xlabel="epoch", ylabel="nats an item")
middle.plot(history.held_out, color=SEEN)
middle.set(title="Votes left out", xlabel="epoch", ylabel="log probability of a vote")
right.plot(epochs, losses, color=ESTIMATED, marker="o")
right.set(title="Against the truth", xlabel="epochs", ylabel="log loss, nats")
SVG(plots.to_svg(figure))

# %% [markdown]
# The loss keeps falling. The votes left out are foretold best early on; after that the model is
# ever surer of answers that get no better.

# %%
for n, e, loss in zip(epochs, errors, losses, strict=True):
    print(f"{n:4} epochs: error {e:.3f}, log loss {loss:.3f}")

# %% [markdown]
# ## Two answers
#
# With early stopping on, as by default. The guide's answer is a product over votes; the network's
# is one forward pass. It is far too sure: `beta` 0.1 leaves it little reason to doubt.

# %%
fit = aggregator("consensus", seed=1).fit(votes)
answers = {
    "guide": fit.predictor.guide.predict(votes),
    "network": fit.predictor.network.predict(votes),
}
for name, posterior in answers.items():
    print(
        f"{name:8} error {error(posterior, truth):.3f}, log loss {log_loss(posterior, truth):.3f}, "
        f"mean confidence {posterior.max(axis=1).mean():.3f}"
    )
agree = answers["guide"].argmax(1) == answers["network"].argmax(1)
print(f"the same label on {agree.mean():.1%} of the items")

figure, (left,) = plots.figure(4.2, 4)
left.scatter(answers["guide"].max(1), answers["network"].max(1), s=8, color=ESTIMATED, alpha=0.5)
left.plot([0.2, 1], [0.2, 1], color=REFERENCE)
left.set(title="Confidence of the label", xlabel="guide", ylabel="network")
SVG(plots.to_svg(figure))

# %% [markdown]
# ## New items
#
# The same workers judge more items. Nothing is trained again.

# %%
more = simulate.given_workers(
    world.confusion, n_items=300, assign=simulate.fixed_per_item(5), seed=9
)
print(f"new items: error {error(fit.predict_proba(more.votes), more.truth):.3f}")
print(f"majority:  error {error(aggregator('majority').fit(more.votes).posterior, more.truth):.3f}")

# %% [markdown]
# ## A guide of one's own
#
# Some items are hard for everyone. A guide in which the chance to be right is
# sigmoid(ability × easiness of the item) knows that. In this world workers who find an item hard
# guess, and guess alike, which confusion matrices can say and a difficulty cannot.


# %%
class DifficultyGuide(nn.Module):
    """Ability of the worker times easiness of the item."""

    def __init__(self, votes, posterior):
        super().__init__()
        self.n_classes = votes.n_classes
        self.ability = nn.Parameter(torch.ones(votes.n_workers))
        self.log_easiness = nn.Parameter(torch.zeros(votes.n_items))

    def log_vote(self, votes):
        easiness = self.log_easiness[votes.index].exp()[votes.item]
        score = (self.ability[votes.worker] * easiness)[:, None]
        wrong = logsigmoid(-score) - math.log(self.n_classes - 1)
        right = one_hot(votes.label, self.n_classes).bool()
        return torch.where(right, logsigmoid(score), wrong)

    def confusion(self):
        right = torch.sigmoid(self.ability)[:, None, None]
        same = torch.eye(self.n_classes)
        return right * same + (1 - right) * (1 - same) / (self.n_classes - 1)


hard = simulate.idbla(n_items=600, n_workers=20, n_classes=3, seed=2)
for name, guide in (
    ("confusion", "confusion"),
    ("one-coin", "one-coin"),
    ("difficulty", DifficultyGuide),
):
    found = aggregator("consensus", guide=guide).fit(hard.votes)
    print(
        f"{name:10} error {error(found.posterior, hard.truth):.3f}, "
        f"log loss {log_loss(found.posterior, hard.truth):.3f}"
    )
