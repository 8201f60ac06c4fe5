"""Do 90 % intervals of worker accuracy hold what the truth later shows, 90 times in 100?

    python -m benchmarks.bayes_coverage [--sets rte bluebird] [--methods "bcc, Gibbs"]

Seen of a worker is the share of its votes on items of known truth that are right, `n` of them.
Truth is used for nothing else. Four coverages over workers, of intervals of 90 %:

naive       of the worker's accuracy on its own items: in every posterior draw, the mean over its
            votes of sum_k p(truth = k | votes, draw) p(label = k | truth = k, draw).
predictive  of Binomial(n, that accuracy) / n: what the worker would show on as many new votes.
counted     of the number of its votes that are right under truths drawn from the posterior: the
            votes are known, so truths are all that is uncertain.
held out    as predictive, with accuracies from the votes on one random half of the items, and the
            share seen on the other half; both ways round.

The first two are no tests of a posterior on their own: the votes that are counted are the votes
that taught the accuracy, so with all truths known naive would hold nearly always, and predictive
allows for noise that has already been seen. The last two hold 90 % where the story is right: a
number on the edge of its interval counts by the share of its ties inside.

Workers with 10 such votes or more (on the held-out half, for held out). Draws of Gibbs and NUTS are
of the whole posterior; VB and SVI approximate it.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from benchmarks.bayes_sbc import Sites, draws_of_bcc
from benchmarks.machine import RESULTS, record, write_json
from benchmarks.truth_sets import find_data, load
from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.engines import Nuts, Svi
from crowdlearn.criticism import posterior_draws
from crowdlearn.inference.replicate import chances_of, flattened, over_draws, reading_of, right_of
from crowdlearn.models import STORIES, vote_data
from crowdlearn.models.data import VoteData
from crowdlearn.models.reading import Story
from crowdlearn.votes import Votes

SETS = ("rte", "dog", "bluebird", "trec")
TAILS = (0.05, 0.95)
N_DRAWS = 500  # of the posterior, thinned to
AT_ONCE = 96  # draws read together: bounds the memory at draws x votes
ENOUGH = 10  # votes on known items
NEW_ITEMS = {"easiness": (9.0, 1.0)}  # Beta priors of sites that a new item has afresh
Drawn = tuple[Story, Sites, tuple[str, ...]]
Draw = Callable[[Votes, int], Drawn]
"""Votes and seed -> the story, draws of its parameters (draw, ...), and what went wrong."""


def by_gibbs(story: str) -> Draw:
    def draw(votes: Votes, seed: int) -> Drawn:
        found = posterior_draws(story, votes, n_warmup=500, n_draws=250, seed=seed)
        return found.story, flattened(found.sites), found.problems

    return draw


def by_bayes(story: str, engine: Nuts | Svi) -> Draw:
    def draw(votes: Votes, seed: int) -> Drawn:
        fit = aggregator("bayes", story=story, inference=engine, seed=seed).fit(votes)
        assert fit.draws is not None
        return STORIES[story], flattened(fit.draws.sites), fit.warnings

    return draw


def by_vb(votes: Votes, seed: int) -> Drawn:
    """BCC by variational Bayes, as `bcc` has it."""
    fit, rng = aggregator("bcc").fit(votes), np.random.default_rng(seed)
    return STORIES["bcc"], draws_of_bcc(fit, 2.0, N_DRAWS, rng), fit.warnings


PAUN = "hierarchical-dawid-skene"
METHODS: dict[str, Draw] = {
    "dawid-skene, Gibbs": by_gibbs("dawid-skene"),
    "bcc, VB": by_vb,
    "bcc, Gibbs": by_gibbs("bcc"),
    "idbla, Gibbs": by_gibbs("idbla"),
    "bcc-hyper, Gibbs": by_gibbs("bcc-hyper"),
    f"{PAUN}, SVI": by_bayes(PAUN, Svi(n_steps=3000)),
    f"{PAUN}, NUTS": by_bayes(PAUN, Nuts(n_chains=2, n_warmup=300, n_draws=250)),
}
TOO_LONG = {(f"{PAUN}, NUTS", "trec"), (f"{PAUN}, NUTS", "dog")}
"""Left out: an hour or more on one core."""


def own_items(
    key: Array, story: Story, data: VoteData, sites: Sites
) -> tuple[Float[Array, " vote"], Float[Array, " vote"]]:
    """Under one draw, the chance that each vote is right, and 1 where it is under drawn truths.

    The chance is that of the worker to say the item's class, as probable as the votes have it.
    """
    chances = chances_of(story, data, sites)
    evidence = reading_of(story, data, sites).evidence(data)
    given = chances._replace(prior=jax.nn.softmax(evidence, axis=1))
    truth = jax.random.categorical(key, evidence, axis=1) // (evidence.shape[1] // data.n_classes)
    return right_of(data, given), (truth[data.item] == data.label).astype(jnp.float32)


def new_items(
    key: Array, story: Story, data: VoteData, sites: Sites
) -> tuple[Float[Array, " vote"]]:
    """Under one draw, the chance that each vote is right, before any vote on the item is known."""
    return (right_of(data, chances_of(story, data, sites)),)


def per_worker(
    of: Callable[..., Any], story: Story, sites: Sites, votes: Votes, known: np.ndarray
) -> list[Float[np.ndarray, "draw worker"]]:
    """Sums over each worker's votes where `known` is 1, of everything that `of` gives."""
    n_draws = len(next(iter(sites.values())))
    chosen = np.linspace(0, n_draws - 1, min(n_draws, N_DRAWS)).astype(int)
    data, parts = vote_data(votes), []
    for first in range(0, len(chosen), AT_ONCE):
        here = {name: value[chosen[first : first + AT_ONCE]] for name, value in sites.items()}
        found = over_draws(of, story, data, here, first)
        parts.append([_summed(votes, each * known) for each in found])
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _summed(votes: Votes, values: Float[np.ndarray, "draw vote"]) -> np.ndarray:
    return np.stack([np.bincount(votes.worker, row, votes.n_workers) for row in values])


def held(
    draws: Float[np.ndarray, "draw worker"], seen: Float[np.ndarray, " worker"]
) -> Float[np.ndarray, " worker"]:
    """How much of what was seen lies in the central 90 % of the draws; ties are shared out."""
    low = (draws < seen - 1e-9).mean(axis=0)
    equal = np.maximum((np.abs(draws - seen) <= 1e-9).mean(axis=0), 1e-12)
    inside = np.minimum(low + equal, TAILS[1]) - np.maximum(low, TAILS[0])
    return np.clip(inside / equal, 0, 1)


def on_own_items(
    drawn: Drawn, votes: Votes, truth: Int[np.ndarray, " item"], rng: np.random.Generator
) -> dict[str, float]:
    """naive, predictive and counted; and the width and bias of the naive interval."""
    known, right, n = _seen(votes, truth)
    story, sites, _ = drawn
    accuracy, hits = per_worker(own_items, story, sites, votes, known)
    many = n >= ENOUGH
    accuracy, hits, right, n = accuracy[:, many] / n[many], hits[:, many], right[many], n[many]
    again = rng.binomial(n, np.clip(np.repeat(accuracy, 20, axis=0), 0, 1))
    return {
        "naive": float(held(accuracy, right / n).mean()),
        "predictive": float(held(again, right).mean()),
        "counted": float(held(hits, right).mean()),
        "width": float(np.diff(np.quantile(accuracy, TAILS, axis=0), axis=0).mean()),
        "bias": float((accuracy.mean(axis=0) - right / n).mean()),
        "n_workers": len(n),
    }


def on_new_items(
    draw: Draw,
    votes: Votes,
    truth: Int[np.ndarray, " item"],
    half: Bool[np.ndarray, " item"],
    rng: np.random.Generator,
) -> dict[str, float]:
    """Coverage of the share seen on the items outside `half`, from votes on those inside."""
    story, sites, _ = draw(votes.only_items(half), 1)
    other, others_truth = votes.only_items(~half), truth[~half]
    n_draws = len(next(iter(sites.values())))
    afresh = {
        name: rng.beta(*NEW_ITEMS[name], (n_draws, other.n_items))
        for name in NEW_ITEMS.keys() & sites.keys()
    }
    known, right, n = _seen(other, others_truth)
    (accuracy,) = per_worker(new_items, story, sites | afresh, other, known)
    many = n >= ENOUGH
    chance = np.clip(np.repeat(accuracy[:, many] / n[many], 20, axis=0), 0, 1)
    return {
        "held out": float(held(rng.binomial(n[many], chance), right[many]).mean()),
        "held-out bias": float(((accuracy.mean(axis=0) - right)[many] / n[many]).mean()),
        "n_workers_held_out": int(many.sum()),
    }  # fmt: skip


def _seen(votes: Votes, truth: Int[np.ndarray, " item"]) -> tuple[np.ndarray, ...]:
    """1 for votes on known items; right votes and votes on these, by worker."""
    known = (truth[votes.item] >= 0).astype(float)
    right = known * (votes.label == truth[votes.item])
    counted = (np.bincount(votes.worker, each, votes.n_workers) for each in (right, known))
    return known, *(each.astype(int) for each in counted)


def measure(name: str, title: str) -> dict[str, Any]:
    """One method on one set."""
    votes, truth = load(name)
    start, rng = time.process_time(), np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        drawn = METHODS[title](votes, 0)
        found = on_own_items(drawn, votes, truth, rng)
        half = np.random.default_rng(1).permutation(votes.n_items) % 2 == 0
        ways = [on_new_items(METHODS[title], votes, truth, h, rng) for h in (half, ~half)]
        found |= {kind: sum(way[kind] for way in ways) / 2 for kind in ways[0]}
    seconds = time.process_time() - start
    row = {"set": name, "method": title, **found, "problems": list(drawn[2])}
    return row | {"cpu_seconds": seconds}


def markdown(result: dict[str, Any]) -> str:
    """One line a method and set."""
    lines = [
        "# Coverage of 90 % intervals of worker accuracy\n",
        __doc__.split("\n\n", 2)[2],
        f"{result['date']}. `bias` is inferred less seen accuracy, `width` that of naive.\n",
        "| set | method | naive | predictive | counted | held out | width | bias | held-out bias "
        "| workers |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        shares = (f"{row[kind]:.0%}" for kind in ("naive", "predictive", "counted", "held out"))
        lines.append(
            f"| {row['set']} | {row['method']} | {' | '.join(shares)} | {row['width']:.3f} "
            f"| {row['bias']:+.3f} | {row['held-out bias']:+.3f} "
            f"| {row['n_workers']}, {row['n_workers_held_out']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    args = parser.parse_args()
    find_data()
    result = record(__doc__.strip().splitlines()[0], [0]) | {"level": 0.9, "rows": []}
    for name in args.sets:
        for title in args.methods:
            if (title, name) in TOO_LONG:
                continue
            row = measure(name, title)
            result["rows"].append(row)
            kinds = ("naive", "predictive", "counted", "held out")
            shown = ", ".join(f"{kind} {row[kind]:.0%}" for kind in kinds)
            print(f"{name:9} {title:32} {shown}, {row['cpu_seconds']:.0f} CPU s", flush=True)
            write_json(RESULTS / "bayes_coverage.json", result)
    (RESULTS / "bayes_coverage.md").write_text(markdown(result))


if __name__ == "__main__":
    main()
