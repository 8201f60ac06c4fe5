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
# # A Bayesian workflow
#
# A story says how votes come about. Before its answers are believed, it should be asked what it
# expects, whether the sampler did its work, whether votes like ours would come from it, and
# whether another story predicts votes better. No truth is needed for any of this. The data are
# the ratings of 45 patients by five anaesthetists (Dawid and Skene, 1979), and a simulated world
# in which some workers copy.

# %%
import warnings
from functools import partial

from IPython.display import SVG

from crowdlearn import aggregator, datasets, plots, simulate
from crowdlearn.aggregators.engines import Nuts
from crowdlearn.criticism import check, compare, loo, posterior_draws, prior_predictive
from crowdlearn.criticism.plots import predicted_against_seen
from crowdlearn.errors import ConvergenceWarning
from crowdlearn.evaluation import ece, log_loss
from crowdlearn.evaluation.twins import find_twins, twins_effect
from crowdlearn.models import STORIES

votes = datasets.load("anesthesia")
print(votes)

# %% [markdown]
# ## What does the story expect before a vote is seen?
#
# Two priors on the same story. The flat one holds that a worker is right one time in four on
# average, so that most pairs of raters would disagree. Nobody believes that of anaesthetists.

# %%
priors = {
    "flat": partial(STORIES["bcc"], diagonal=1.0),
    "workers are mostly right": partial(STORIES["bcc"], diagonal=8.0),
}
for name, story in priors.items():
    print(name)
    for row in prior_predictive(story, votes, n_draws=100).to_table().to_pylist():
        print(f"  {row['quantity']:42} {row['mean']:.2f}  ({row['low']:.2f} to {row['high']:.2f})")

# %% [markdown]
# ## Fit
#
# The second prior, then. NUTS draws from the posterior, the grades of the patients summed out
# exactly. Few draws keep this notebook short.

# %%
short = Nuts(n_chains=4, n_warmup=250, n_draws=250)
mostly_right = {"diagonal": 8.0}
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)  # it is in `fit.warnings`, read below
    fit = aggregator("bayes", story="bcc", parameters=mostly_right, inference=short).fit(votes)
    other = aggregator("bayes", story="hierarchical-dawid-skene", inference=short).fit(votes)
for row in fit.workers_table().to_pylist():
    low, high = row["accuracy_low"], row["accuracy_high"]
    print(f"worker {row['worker']}: {row['accuracy']:.2f}, between {low:.2f} and {high:.2f}")

# %% [markdown]
# ## Did the sampler do its work?
#
# A fit says itself what is wrong, and what would do. `other` is a story that learns what the
# typical rater is like, from five of them; its complaints are worth reading before its labels.

# %%
for each in (fit, other):
    print(f"{each.settings['story']}:")
    for text in each.warnings or ("nothing to complain of",):
        print(f"  {text}")
    print(f"  {int(each.draws.stats['diverging'].sum())} divergent transitions")

# %% [markdown]
# Paths and intervals of the shares of the four grades. Chains that mixed look alike. ArviZ has all
# the rest: `fit.draws.to_arviz()`.

# %%
fig, axes = plots.figure(9, 3.2, 3)
plots.trace(axes[:2], fit.draws, "prior")
plots.forest(axes[2], fit.draws, "prior")
SVG(plots.to_svg(fig))

# %% [markdown]
# ## Would it give votes like these?
#
# The same raters judge the same patients again, as the fitted story has it. What was seen should
# lie among what is predicted. A misfit is told in words.

# %%
checks = check(priors["workers are mostly right"], votes, fit.draws.sites, n_replicates=200)
for result in checks.values():
    print(result)

# %%
fig, axes = plots.figure(9, 3.4, 2)
predicted_against_seen(axes[0], checks["worker-agreement"])
predicted_against_seen(axes[1], checks["pair-agreement"])
SVG(plots.to_svg(fig))

# %% [markdown]
# ## A story of your own
#
# Ten lines. Here a rater is right with a chance of its own, and errs to a neighbouring grade: the
# grades have an order. `marginalise` sums the grades out.

# %%
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from crowdlearn.models import marginalise


def neighbours(data, *, right=4.0, wrong=1.0):
    """Errors halve with every step away from the true grade."""
    prior = numpyro.sample("prior", dist.Dirichlet(jnp.ones(data.n_classes)))
    with numpyro.plate("worker", data.n_workers):
        ability = numpyro.sample("ability", dist.Beta(right, wrong))
    steps = jnp.abs(jnp.arange(data.n_classes)[:, None] - jnp.arange(data.n_classes))
    errors = jnp.where(steps > 0, 0.5**steps, 0)  # [truth, label]
    errors = (errors / errors.sum(axis=1, keepdims=True)).T[data.label]
    hit = data.label[:, None] == jnp.arange(data.n_classes)
    a = ability[data.worker][:, None]
    return marginalise(data, jnp.log(prior), jnp.log(jnp.where(hit, a, (1 - a) * errors)))


mine = aggregator("bayes", story=neighbours, inference=short).fit(votes)
print("\n".join(mine.warnings) or "nothing to complain of")
print("labels unlike the first fit's:", int((mine.labels != fit.labels).sum()), "of", votes.n_items)

# %% [markdown]
# ## Which story predicts votes better?
#
# Each vote is predicted from all others (PSIS leave-one-out). A difference of less than four of
# its errors is none.

# %%
flat = posterior_draws("dawid-skene", votes, n_draws=250)  # by its fast Gibbs sampler
candidates = {
    "flat": (priors["flat"], flat.sites, flat.log_density),
    "mostly right": (
        priors["workers are mostly right"], fit.draws.sites, fit.draws.log_density
    ),
    "neighbours": (neighbours, mine.draws.sites, mine.draws.log_density),
}  # fmt: skip
results = {
    name: loo(story, votes, sites, log_density=log_density)
    for name, (story, sites, log_density) in candidates.items()
}
for name, result in results.items():
    print(f"{name}: {result.advice}")
print()
for row in compare(results).to_pylist():
    off, error = row["difference"], row["difference_se"]
    print(f"{row['story']:12} elpd {row['elpd']:.0f}, to the best {off:+.0f} (error {error:.0f})")

# %% [markdown]
# ## A misfit, and what to do with it
#
# A world where three of 14 workers copy from a fourth. The story has workers err independently, so
# it is wrong, and the truth is known here: its probabilities can be held against it.

# %%
world = simulate.colluding(
    400, 14, 3, n_rings=1, ring_size=4, assign=simulate.fixed_per_item(7), seed=0
)
method = aggregator("bcc")
naive = method.fit(world.votes)
drawn = posterior_draws("bcc", world.votes, n_warmup=200, n_draws=100)
pairs = check(drawn.story, world.votes, drawn.sites, n_replicates=200)["pair-agreement"]
print(pairs)

# %% [markdown]
# The check points at pairs. `find_twins` judges them one by one, and a second fit counts each
# group as one worker. `calibrated` does not ask who copies: it learns from left-out votes how much
# an item's votes share, and believes them less.

# %%
twins = find_twins(naive)
print("twins:", twins.groups())
effect, once = twins_effect(naive, twins, method, world.truth)
calibrated = aggregator("calibrated").fit(world.votes)
for name, posterior in (
    ("bcc", naive.posterior),
    ("bcc, twins as one worker", once.posterior),
    ("calibrated", calibrated.posterior),
):
    wrong = float((posterior.argmax(axis=1) != world.truth).mean())
    loss, gap = log_loss(posterior, world.truth), ece(posterior, world.truth)
    print(f"{name:26} error {wrong:.3f}  log loss {loss:.3f}  ECE {gap:.3f}")

# %%
fig, axes = plots.figure(9, 3.4, 2)
predicted_against_seen(axes[0], pairs, most=12)
plots.certainty(axes[1], naive.confidence, 3)
axes[1].set_title("bcc: how sure it is")
SVG(plots.to_svg(fig))

# %% [markdown]
# Copies that can be found are best counted once: error and loss both fall. `calibrated` knows
# nothing of who copies: it makes the probabilities more modest, and the error stays about the
# same. Neither finds an error that everybody shares: for that, gold answers are needed.
