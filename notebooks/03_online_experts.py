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
# # Streams and experts
#
# Votes come in batches. After each we want answers, and the few items that an expert should see.
# Then: when have we asked enough, and what does a classifier add? The digits are real, the crowd is
# simulated, so that errors can be counted.

# %%
import io

import matplotlib
import numpy as np
from IPython.display import SVG
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from crowdlearn import aggregator, simulate
from crowdlearn.evaluation import error
from crowdlearn.experts import STRATEGIES, Belief, choose, simulate_redundancy
from crowdlearn.learning import Expert, FeatureAware, NoisyCrowdPipeline, classifier
from crowdlearn.online import stream
from crowdlearn.online.queue import error_so_far, n_done, queue

digits = load_digits()
truth, features = digits.target[:1200], digits.data[:1200] / 16
noise = np.random.default_rng(0).uniform(0.4, 0.8, 10)
world = simulate.bila_bimodal(n_items=1200, truth=truth, noise=noise, seed=0)
votes = world.votes
print(votes)


def drawn(figure: Figure) -> SVG:
    """The figure as SVG."""
    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(out, format="svg")
    return SVG(out.getvalue())


def part(first: int, last: int):
    """The votes on these items."""
    rows = np.arange(votes.n_items)
    return votes.only_items((rows >= first) & (rows < last))


# %% [markdown]
# ## A stream
#
# Each batch has 100 new items. `update` costs by the batch, not by what came before.

# %%
names = {str(i): str(k) for i, k in enumerate(truth)}
method = stream("bcc")
state = method.init(votes.classes)
course = []
for first in range(0, 1200, 100):
    state, update = method.update(state, part(first, first + 100))
    course.append(error_so_far(state, names))
print("error after each batch:", np.round(course, 3))
print(f"majority: {error(aggregator('majority').fit(votes).posterior, truth):.3f}")
print(f"items done at a target of 5 %: {n_done(state, 0.05)}")
print(
    "the expert's queue:", [state.items[i] for i in queue(method, state, STRATEGIES["entropy"])[:5]]
)

# %% [markdown]
# An answer of the expert is folded in like a batch. It settles its item, and teaches the stream who
# was right.

# %%
ask = [state.items[i] for i in queue(method, state, STRATEGIES["entropy"])[:60]]
state, _ = method.update(state, None, {name: names[name] for name in ask})
print(f"after 60 answers: {error_so_far(state, names):.3f}")
state, fit = method.rescore(state)
print(f"all settled anew: {error_so_far(state, names):.3f}")

# %% [markdown]
# ## Which items?
#
# The same budget under four strategies: label error over all items against answers.

# %%
figure = Figure(figsize=(6.5, 4), layout="constrained")
ax = figure.subplots()
for name in ("random", "entropy", "information", "error-reduction"):
    gold, errors, rng = np.full(1200, -1, dtype=np.int32), [], np.random.default_rng(1)
    for _ in range(11):
        fit = aggregator("bcc").fit(votes, gold=gold)
        errors.append(100 * error(fit.posterior, truth))
        urgency = STRATEGIES[name](Belief.of_fit(fit), rng)
        chosen = choose(np.where(gold >= 0, -np.inf, urgency), 24)
        gold[chosen] = truth[chosen]
    ax.plot(24 * np.arange(11), errors, "--" if name == "random" else "-", label=name)
    print(f"{name}: {errors[0]:.1f} -> {errors[-1]:.1f} %")
ax.set(xlabel="answers of the expert", ylabel="label error, %")
ax.set_ylim(bottom=0)
ax.legend()
drawn(figure)

# %% [markdown]
# ## When to stop asking the crowd
#
# A replay: three votes for every item, then one more each round, until the expected error of the
# stopped items is at the target. This crowd is drawn from the model itself, and still the error
# ends a little above the target: variational posteriors from few votes are slightly too sure.
# Real crowds do worse, as the page about experts shows. With an expert who checks 200 random items
# the promise no longer leans on the model.

# %%
crowd = simulate.dawid_skene(n_items=1200, n_workers=30, n_classes=4, seed=0)
for n_audited in (0, 200):
    for target in (0.02, 0.05, 0.10):
        found = simulate_redundancy(
            crowd.votes, crowd.truth, aggregator("bcc"), target, n_audited=n_audited
        )
        print(
            f"{n_audited} audited, target {target:.0%}: {found.n_votes / crowd.votes.n_votes:.0%} "
            f"of the votes, {found.stopped:.0%} of the items stopped, their error "
            f"{found.stopped_error:.1%}"
        )

# %% [markdown]
# ## With a classifier
#
# The pipeline asks about the tenth where crowd and classifier disagree, trains on what comes out,
# and settles everything together at the end.

# %%
expert = Expert(names)
line = NoisyCrowdPipeline(classifier=classifier("logistic"), budget=0.1)
state = line.init(votes.classes)
for first in range(0, 1200, 100):
    chunk = part(first, first + 100)
    state, step = line.step(state, chunk, features[first : first + 100], expert)
test, t_test = digits.data[1200:] / 16, digits.target[1200:]
right = state.classifier.predict_proba(test).argmax(axis=1) == t_test
print(f"{expert.n_calls} answers; label error {(state.labels() != truth).mean():.3f}")
print(f"classifier on new digits: {right.mean():.3f}")
settled = line.settle(state, FeatureAware(workers="full"))
right = settled.classifier.predict_proba(test).argmax(axis=1) == t_test
print(f"settled: label error {error(settled.aggregation.posterior, truth):.3f}")
print(f"classifier on new digits: {right.mean():.3f}")
