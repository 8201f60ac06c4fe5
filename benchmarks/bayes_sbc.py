"""Does every sampler draw from the posterior of its story? And how far off is variational Bayes?

    python -m benchmarks.bayes_sbc [--worlds 200] [--rows "bcc, Gibbs" "bcc, NUTS"]

Simulation-based calibration (`crowdlearn.inference.calibration`): parameters, truths and votes are
drawn from the story's prior, and the ranks of eight true quantities among 99 posterior draws must
be uniform over worlds. In every world four workers judge each of 12 items, with two classes. A row
passes where the chance of ranks as far from uniform as those of its worst quantity, over its
quantities (Bonferroni), is 0.01 or more. Rows have worlds of their own.

Stories whose rows expect workers to be right (`diagonal` 4, `ease` 2) are asked for all quantities.
Dawid-Skene with flat rows has a posterior in which both namings of the classes are as probable: it
is asked for the quantities that do not name a class, as a sampler need not visit both.

Variational Bayes (VB) is not expected to pass. `spread` above 1 is over-confidence: the standard
deviation of the ranks, that of uniform ones being 1; `coverage` is that of central 90 % intervals.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.special import digamma

from benchmarks.machine import RESULTS, record, write_json
from crowdlearn.aggregation import Aggregation
from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.bcc import dirichlet_prior
from crowdlearn.inference.calibration import NAMELESS, NAMING, Sampler, calibrate
from crowdlearn.inference.gibbs_sites import gibbs_sites
from crowdlearn.inference.nuts import run_nuts
from crowdlearn.inference.svi import run_svi
from crowdlearn.inference.target import target_of
from crowdlearn.models import STORIES, vote_data
from crowdlearn.votes import Votes

N_RANKS = 99
ALL = NAMING + NAMELESS
ENOUGH_P = 0.01
RIGHT = {"diagonal": 4.0}
Sites = dict[str, np.ndarray]


def gibbs(name: str, **settings: Any) -> Sampler:
    """A Gibbs method of the table: 200 sweeps of warm-up, then every 10th kept."""

    def draw(votes: Votes, seed: int) -> Sites:
        lengths = {"n_chains": 1, "n_warmup": 200, "n_draws": 10 * N_RANKS}
        method = aggregator(name, seed=seed, **lengths, **settings)
        sites, _ = gibbs_sites(method, votes, n_kept=N_RANKS)
        return {site: value[0] for site, value in sites.items()}

    return draw


def nuts(story: str, **parameters: Any) -> Sampler:
    """NUTS on the story, truths summed out: 300 transitions of warm-up, then every 5th kept."""

    def draw(votes: Votes, seed: int) -> Sites:
        data = vote_data(votes)
        samples = run_nuts(
            target_of(STORIES[story], parameters, data),
            data,
            votes.shares(),
            jax.random.key(seed),
            n_chains=1,
            n_warmup=300,
            n_draws=5 * N_RANKS,
            target_accept=0.9,
            chain_method="sequential",
        )
        return samples.flat()

    return draw


def svi(story: str, **parameters: Any) -> Sampler:
    """Draws from a guide of independent Normals, fitted by 1000 steps of Adam."""

    def draw(votes: Votes, seed: int) -> Sites:
        data = vote_data(votes)
        target = target_of(STORIES[story], parameters, data)
        whole, key = jax.tree.map(lambda x: x[None], data), jax.random.key(seed)
        samples = run_svi(target, data, whole, votes.shares(), key, n_steps=1000, n_draws=N_RANKS)
        return samples.flat()

    return draw


def vb_bcc(votes: Votes, seed: int) -> Sites:
    """Draws from q(prior) q(confusion) of `bcc`."""
    fit = aggregator("bcc", **RIGHT, tolerance=1e-8, max_sweeps=2000).fit(votes)
    return draws_of_bcc(fit, RIGHT["diagonal"], N_RANKS, np.random.default_rng(seed))


def draws_of_bcc(
    fit: Aggregation, diagonal: float, n_draws: int, rng: np.random.Generator
) -> Sites:
    """Draws from q(prior) q(confusion), which the item posteriors of a fit by `bcc` determine."""
    votes, k = fit.votes, fit.votes.n_classes
    counts = np.zeros((votes.n_workers, k, k))  # [worker, label, class]
    np.add.at(counts, (votes.worker, votes.label), fit.posterior[votes.item])
    return _dirichlets(rng, fit.posterior.sum(axis=0) + 1.0, counts, diagonal, n_draws)


def vb_idbla(votes: Votes, seed: int) -> Sites:
    """Draws from q(prior) q(confusion) q(easiness) q(guess) of `idbla`."""
    fit = aggregator("idbla", **RIGHT, tolerance=1e-8, max_sweeps=2000).fit(votes)
    rng, k, item, read = np.random.default_rng(seed), votes.n_classes, votes.item, fit.predictor
    n, (easy, hard) = votes.votes_per_item, (9.0, 1.0)
    seen = (1 - fit.difficulty) * (easy + hard + n) - easy
    sees = np.exp(digamma(easy + seen) - digamma(easy + hard + n))
    misses = np.exp(digamma(hard + n - seen) - digamma(easy + hard + n))
    told = sees[item, None] * read.likelihood[votes.worker, votes.label]
    guessed = (misses[item] * read.guess[votes.label])[:, None]
    weight = fit.posterior[item] * told / (told + guessed)  # of having seen, for every class
    counts = np.zeros((votes.n_workers, k, k))
    np.add.at(counts, (votes.worker, votes.label), weight)
    guesses = np.bincount(votes.label, 1 - weight.sum(axis=1), k)
    found = np.bincount(item, weight.sum(axis=1), votes.n_items)
    q = _dirichlets(rng, fit.posterior.sum(axis=0) + 1.0, counts, RIGHT["diagonal"], N_RANKS)
    return q | {
        "easiness": rng.beta(easy + found, hard + n - found, (N_RANKS, votes.n_items)),
        "guess": rng.dirichlet(guesses + 1.0, N_RANKS),
    }


def _dirichlets(
    rng: np.random.Generator, prior: np.ndarray, counts: np.ndarray, diagonal: float, n_draws: int
) -> Sites:
    """Draws of prior and confusion[worker, truth, label] from counts[worker, label, truth]."""
    alpha = (counts + dirichlet_prior(counts.shape[1], 1.0, diagonal)).transpose(0, 2, 1)
    gammas = rng.standard_gamma(alpha, (n_draws, *alpha.shape))
    return {
        "prior": rng.dirichlet(prior, n_draws),
        "confusion": gammas / gammas.sum(axis=3, keepdims=True),
    }


class Row(NamedTuple):
    """A story with its hyperparameters, and who draws from its posterior."""

    story: str
    parameters: dict[str, float]
    make: Callable[[], Sampler]
    quantities: tuple[str, ...] = ALL
    exact: bool = True


SURE = {"ease": 2.0}
FLAT = {"diagonal": 1.0}
ROWS = {
    "dawid-skene, Gibbs": Row("dawid-skene", {}, lambda: gibbs("bcc-gibbs", **FLAT), NAMELESS),
    "bcc, Gibbs": Row("bcc", RIGHT, lambda: gibbs("bcc-gibbs", **RIGHT)),
    "bcc-hyper, Gibbs": Row("bcc-hyper", RIGHT, lambda: gibbs("hierarchical", **RIGHT)),
    "cbcc, Gibbs": Row("cbcc", RIGHT, lambda: gibbs("cbcc", **RIGHT)),
    "idbla, Gibbs": Row("idbla", RIGHT, lambda: gibbs("idbla-gibbs", **RIGHT)),
    "fixed-idbla, Gibbs": Row("fixed-idbla", RIGHT, lambda: gibbs("fixed-idbla-gibbs", **RIGHT)),
    "dawid-skene, NUTS": Row("dawid-skene", {}, lambda: nuts("dawid-skene"), NAMELESS),
    "bcc, NUTS": Row("bcc", RIGHT, lambda: nuts("bcc", **RIGHT)),
    "bcc-hyper, NUTS": Row("bcc-hyper", RIGHT, lambda: nuts("bcc-hyper", **RIGHT)),
    "idbla, NUTS": Row("idbla", RIGHT, lambda: nuts("idbla", **RIGHT)),
    "hierarchical-dawid-skene, NUTS": Row(
        "hierarchical-dawid-skene", SURE, lambda: nuts("hierarchical-dawid-skene", **SURE)
    ),
    "bcc, VB": Row("bcc", RIGHT, lambda: vb_bcc, exact=False),
    "idbla, VB": Row("idbla", RIGHT, lambda: vb_idbla, exact=False),
    "bcc, SVI": Row("bcc", RIGHT, lambda: svi("bcc", **RIGHT), exact=False),
}


def design() -> Votes:
    """Who judges what; the labels play no part."""
    item, worker = np.repeat(np.arange(12), 4), np.tile(np.arange(4), 12)
    return Votes.from_codes(item, worker, item % 2)


def measure(title: str, n_worlds: int, seed: int) -> dict[str, Any]:
    """One row: the test of every quantity, and of all together."""
    row, start = ROWS[title], time.process_time()
    found = calibrate(
        partial(STORIES[row.story], **row.parameters),
        design(),
        row.make(),
        quantities=row.quantities,
        n_worlds=n_worlds,
        n_ranks=N_RANKS,
        seed=seed,
    )
    return {
        "row": title,
        "story": row.story,
        "parameters": row.parameters,
        "exact": row.exact,
        "seed": seed,
        "p": found.p,
        "passes": found.p >= ENOUGH_P,
        "quantities": found.to_table().to_pylist(),
        "cpu_seconds": time.process_time() - start,
    }


def markdown(result: dict[str, Any]) -> str:
    """One line a row, with its worst quantity; VB in full."""
    lines = [
        "# Simulation-based calibration\n",
        __doc__.split("\n\n", 2)[2],
        f"{result['date']}, {result['worlds']} worlds a row.\n",
        "| story, sampler | p | passes | worst quantity | deviation | spread | coverage of 90 % |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        worst = min(row["quantities"], key=lambda q: q["p"])
        verdict = {True: "yes", False: "**no**"}[row["passes"]] if row["exact"] else "not expected"
        lines.append(f"| {row['row']} | {row['p']:.3f} | {verdict} | {_cells(worst)} |")
    lines += [
        "\n## How over-confident is the variational posterior?\n",
        "| story, sampler | quantity | deviation | spread | coverage of 90 % |",
        "|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        if not row["exact"]:
            lines += [f"| {row['row']} | {_cells(quantity)} |" for quantity in row["quantities"]]
    return "\n".join(lines) + "\n"


def _cells(q: dict[str, Any]) -> str:
    return f"{q['quantity']} | {q['deviation']:.3f} | {q['spread']:.2f} | {q['coverage']:.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    args = parser.parse_args()
    seeds = {title: 10_000 * (1 + place) for place, title in enumerate(ROWS)}
    result = record(__doc__.strip().splitlines()[0], list(seeds.values()))
    result |= {"worlds": args.worlds, "n_ranks": N_RANKS, "rows": []}
    for title in args.rows:
        result["rows"].append(measure(title, args.worlds, seeds[title]))
        done = result["rows"][-1]
        print(f"{title:34} p {done['p']:.3f}  {done['cpu_seconds']:.0f} CPU s", flush=True)
    write_json(RESULTS / "bayes_sbc.json", result)
    (RESULTS / "bayes_sbc.md").write_text(markdown(result))


if __name__ == "__main__":
    main()
