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
# # From votes to truth
#
# Five anaesthetists rated how fit 45 patients were for surgery, on a scale from 1 to 4. The first
# of them rated everyone three times. Nobody knows the right answers. This is the table of Dawid
# and Skene (1979), and it ships with the package. We go from the votes to labels, ask how sure
# they are, and then check the same methods on simulated votes, where the truth is known.

# %%
import numpy as np
from IPython.display import SVG

from crowdlearn import aggregator, datasets, plots, read_votes, simulate
from crowdlearn.evaluation import ece, error, log_loss, reliability_curve
from crowdlearn.inference import diagnostics

votes = datasets.load("anesthesia")
print(votes)

# %% [markdown]
# ## Look at the votes
#
# One row of counts for each item. Some patients got one rating from everyone. The others are what
# the methods are for.

# %%
counts = votes.counts().astype(int)
unanimous = (counts.max(axis=1) == votes.votes_per_item).sum()
print(f"{unanimous} of {votes.n_items} patients got one rating from everyone")
for name, row in list(zip(votes.items.to_pylist(), counts, strict=True))[:6]:
    print(f"patient {name:>2}:", dict(zip(votes.classes, row.tolist(), strict=True)))

# %% [markdown]
# ## Majority
#
# The share of the votes for each class. It is the baseline for everything.

# %%
majority = aggregator("majority").fit(votes)
print("expected error by its own account:", round(1 - majority.confidence.mean(), 3))

# %% [markdown]
# ## Dawid-Skene
#
# Each worker gets a confusion matrix: rows are the truth, columns what the worker says. The
# matrices and the labels are found together by EM, which climbs the likelihood.

# %%
ds = aggregator("dawid-skene").fit(votes)
differ = np.flatnonzero(ds.labels != majority.labels)
print(f"{ds.history.n_sweeps} sweeps, converged: {ds.history.converged}")
print("labels unlike the majority's:", [votes.items[int(i)].as_py() for i in differ])

# %%
fig, axes = plots.figure(9, 2.9, 3)
plots.convergence(axes[0], ds.history)
plots.confusion(axes[1], ds.confusion[0], votes.classes, f"worker {votes.workers[0]}")
plots.certainty(axes[2], ds.confidence, votes.n_classes)
SVG(plots.to_svg(fig))

# %% [markdown]
# ## The same story with priors: BCC
#
# A matrix of 4 by 4 has twelve free numbers. A rater with 45 votes cannot pin them all down.
# Bayesian classifier combination puts a prior on each row and gives an interval for each worker.

# %%
bcc = aggregator("bcc").fit(votes)
for row in bcc.workers_table().to_pylist():
    low, high = row["accuracy_low"], row["accuracy_high"]
    print(f"worker {row['worker']}: {row['accuracy']:.2f}, between {low:.2f} and {high:.2f}")

# %% [markdown]
# ## Draws in place of an approximation
#
# The variational fit treats labels and worker parameters as independent given the votes, so its
# intervals are a little narrow. The Gibbs sampler does not. Its chains must agree: R-hat close to
# 1, and enough effective draws.

# %%
gibbs = aggregator("bcc-gibbs", seed=1).fit(votes)
print("prior, R-hat:   ", diagnostics.rhat(gibbs.draws.prior).round(3))
print("prior, bulk ESS:", diagnostics.ess_bulk(gibbs.draws.prior).round(0))
for name, fit in (("bcc", bcc), ("bcc-gibbs", gibbs)):
    width = fit.worker_accuracy.high - fit.worker_accuracy.low
    print(f"{name:10} mean width of the workers' intervals {width.mean():.3f}")

# %%
fig, axes = plots.figure(8, 2.4, 2)
for ax, fit in zip(axes, (bcc, gibbs), strict=True):
    plots.worker_ranking(ax, votes.workers.to_pylist(), fit.worker_accuracy, fit.prior.max())
    ax.set_title(fit.method, pad=14)
SVG(plots.to_svg(fig))

# %% [markdown]
# ## Why this label?
#
# The least certain patient, vote by vote. A weight is in nats: 0.7 doubles the odds of the answer
# against the runner-up.

# %%
least_sure = votes.items[int(ds.confidence.argmin())].as_py()
print(ds.explain(least_sure))

# %% [markdown]
# ## A world with known truth
#
# Simulated workers with known confusion matrices. Now we can ask two things: are the workers
# recovered, and does a posterior of 0.8 mean 80 %?

# %%
world = simulate.dawid_skene(n_items=1500, n_workers=30, n_classes=3, seed=7)
fits = {name: aggregator(name).fit(world.votes) for name in ("majority", "dawid-skene", "bcc")}
for name, fit in fits.items():
    p = fit.posterior
    print(
        f"{name:12} error {error(p, world.truth):.3f}  "
        f"log loss {log_loss(p, world.truth):.3f}  ECE {ece(p, world.truth):.3f}"
    )

# %%
true_accuracy = np.einsum("k,wkk->w", world.prior, world.confusion)
accuracy = fits["bcc"].worker_accuracy
inside = (accuracy.low <= true_accuracy) & (true_accuracy <= accuracy.high)
print(f"{inside.sum()} of {len(inside)} true accuracies lie in their 90 % intervals")

# %% [markdown]
# ## When the story is wrong
#
# The same, but some workers copy from each other. The method takes copies for independent
# evidence. The curve falls below the diagonal: the posterior is over-confident. Real crowds look
# more like this one.

# %%
copied = simulate.colluding(n_items=1500, n_workers=30, n_classes=3, n_rings=4, ring_size=5, seed=7)
cheated = aggregator("bcc").fit(copied.votes)

fig, axes = plots.figure(8, 3.6, 2)
for ax, fit, truth, title in (
    (axes[0], fits["bcc"], world.truth, "workers err independently"),
    (axes[1], cheated, copied.truth, "some workers copy"),
):
    plots.reliability(ax, reliability_curve(fit.posterior, truth))
    ax.set_title(f"{title}: ECE {ece(fit.posterior, truth):.3f}")
SVG(plots.to_svg(fig))

# %% [markdown]
# ## Your own file
#
# Three columns: `task,worker,label`. Here a file is written first, so that this cell runs. With
# four items there is little to learn about workers; a majority is as good as anything.

# %%
from pathlib import Path

Path("labels.csv").write_text(
    "task,worker,label\n"
    "a,anna,cat\na,bo,cat\na,cy,dog\n"
    "b,anna,dog\nb,bo,dog\nb,cy,dog\n"
    "c,anna,cat\nc,bo,cat\nc,cy,cat\n"
    "d,anna,dog\nd,bo,cat\nd,cy,cat\n"
)
mine = aggregator("bcc").fit(read_votes("labels.csv"))
for row in mine.to_table().to_pylist():
    print(row["task"], row["label"], round(row["confidence"], 3))
