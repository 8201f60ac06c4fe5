"""How often must the correlation that votes show be counted, so that posteriors are honest?

    python -m benchmarks.calibration [--sets rte web] [--methods auto] [--seeds 5]

`calibrated` and `auto` learn from held-out votes how much an item's votes share, and multiply that
by their one setting that truth alone can choose, `unseen`. Here it is chosen with truth, honestly:
for every public set by the mean log loss on the other sets (leave one set out). The table shows
every factor, and the leave-one-set-out choice, beside other methods: means over the independent
sets, then over seeds. Results go to results/calibration.json and .md.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from benchmarks.machine import RESULTS, record, write_json
from benchmarks.truth_sets import INDEPENDENT, find_data, load, scores, spread
from crowdlearn.aggregation import Aggregation
from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.outcome import clamped

METHODS = ("calibrated", "auto")
BESIDE = ("majority", "dawid-skene", "bcc", "ebcc")
SCORES = ("error", "log_loss", "ece")


def at_factor(fit: Aggregation, factor: float) -> Float[np.ndarray, "item class"]:
    """The posterior of a fit made with unseen=1, had `unseen` been this."""
    predictor: Any = fit.predictor
    changes = {"correlation": np.minimum(factor * predictor.correlation, 1.0)}
    if hasattr(predictor, "parts"):
        first, *rest = predictor.parts
        first = replace(first, correlation=np.minimum(factor * first.correlation, 1.0))
        changes["parts"] = (first, *rest)
    return clamped(replace(predictor, **changes).predict(fit.votes), fit.gold)


def rows_of(name: str, method: str, seed: int, factors: list[float]) -> list[dict[str, Any]]:
    """Scores of one fit at every factor."""
    votes, truth = load(name)
    fit = aggregator(method, seed=seed, unseen=1.0).fit(votes)
    return [
        {"set": name, "method": method, "seed": seed, "factor": factor}
        | scores(at_factor(fit, factor), truth)
        for factor in factors
    ]


def beside(name: str, method: str, seed: int) -> dict[str, Any]:
    votes, truth = load(name)
    fit = aggregator(method, seed=seed).fit(votes)
    return {"set": name, "method": method, "seed": seed} | scores(fit.posterior, truth)


def left_out_choice(
    rows: list[dict[str, Any]], sets: list[str], factors: list[float]
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """For each set the factor with the least mean log loss on the others, and its rows."""
    loss = {
        (r["set"], r["factor"]): np.mean(
            [x["log_loss"] for x in rows if x["set"] == r["set"] and x["factor"] == r["factor"]]
        )
        for r in rows
    }
    chosen = {
        name: min(factors, key=lambda f: np.mean([loss[s, f] for s in sets if s != name]))
        for name in sets
    }
    return chosen, [r for r in rows if r["factor"] == chosen[r["set"]]]


def means(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean over sets for each seed, then mean and spread over seeds."""
    seeds = sorted({row["seed"] for row in rows})
    return {
        score: spread([float(np.mean([r[score] for r in rows if r["seed"] == s])) for s in seeds])
        for score in SCORES
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=list(INDEPENDENT))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--factors", nargs="+", type=float, default=[0.0, 1.0, 2.0, 3.0, 4.0])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    args = parser.parse_args()
    find_data()
    warnings.simplefilter("ignore")
    result: dict[str, Any] = record(__doc__.strip().splitlines()[0], list(range(args.seeds)))
    result |= {"sets": args.sets, "summary": {}, "rows": []}
    for method in BESIDE:
        found = [beside(name, method, s) for name in args.sets for s in range(args.seeds)]
        result["summary"][method] = means(found)
        result["rows"] += found
    for method in args.methods:
        rows = [
            row
            for name in args.sets
            for seed in range(args.seeds)
            for row in rows_of(name, method, seed, args.factors)
        ]
        by_factor = {f: means([r for r in rows if r["factor"] == f]) for f in args.factors}
        chosen, left_out = left_out_choice(rows, args.sets, args.factors)
        result["summary"][method] = {
            "by_factor": by_factor,
            "left_out": means(left_out),
            "chosen": chosen,
        }
        result["rows"] += rows
    write_json(RESULTS / "calibration.json", result)
    text = markdown(result)
    (RESULTS / "calibration.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def markdown(result: dict[str, Any]) -> str:
    """One row a method and factor, and one for the choice on the other sets."""
    summary = result["summary"]
    lines = [
        f"# {result['question']}\n",
        f"*{result['date']}; {result['machine']['cpu']}; seeds {result['seeds']}; means over "
        f"{len(result['sets'])} sets.*\n",
        "| method | `unseen` | error % | log loss | ECE |",
        "|---|---|---|---|---|",
    ]
    lines += [_row(method, "", summary[method]) for method in BESIDE]
    for method in [name for name in METHODS if name in summary]:
        found = summary[method]
        lines += [_row(method, factor, scored) for factor, scored in found["by_factor"].items()]
        chosen = ", ".join(f"{factor:g}" for factor in sorted(set(found["chosen"].values())))
        lines.append(_row(method, f"chosen on the other sets: {chosen}", found["left_out"]))
    return "\n".join(lines)


def _row(method: str, factor: Any, found: dict[str, Any]) -> str:
    values = {score: found[score]["mean"] for score in SCORES}
    return (
        f"| {method} | {factor} | {100 * values['error']:.2f} | {values['log_loss']:.4f} "
        f"| {values['ece']:.4f} |"
    )


if __name__ == "__main__":
    main()
