"""Which items should an expert see? Label error against expert answers, all strategies.

    python -m benchmarks.acquisition [--seeds 5]

Four public sets, of which every seed drops a random fifth of the items with truth. `bcc` is fitted,
the strategy picks 1 % of the items, their true labels are clamped, `bcc` is fitted anew, and so on
until a fifth of the items is answered. The area is the mean label error over all items along the
curve. `cent` is left out: it needs a classifier (see `benchmarks.pipeline`).
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import RESULTS, record, write_json
from benchmarks.truth_sets import cell, find_data, load
from crowdlearn.aggregators import aggregator
from crowdlearn.evaluation import error
from crowdlearn.experts import STRATEGIES, Belief, choose

SETS = ("rte", "web", "dog", "trec")
NAMES = tuple(name for name in STRATEGIES if name != "cent")
STEP, LAST = 0.01, 0.20


def curve(name: str, strategy: str, seed: int) -> dict[str, Any]:
    """Errors after 0, 1, 2, ... per cent of answers."""
    votes, truth = load(name)
    rng = np.random.default_rng(seed)
    keep = (truth >= 0) & (rng.random(votes.n_items) < 0.8)
    votes, truth = votes.only_items(keep), truth[keep].astype(np.int32)
    gold = np.full(votes.n_items, -1, dtype=np.int32)
    errors, method = [], aggregator("bcc")
    a_step = max(round(STEP * votes.n_items), 1)
    for _ in range(round(LAST / STEP) + 1):
        fit = method.fit(votes, gold=gold)
        errors.append(100 * error(fit.posterior, truth))
        urgency = np.where(gold >= 0, -np.inf, STRATEGIES[strategy](Belief.of_fit(fit), rng))
        chosen = choose(urgency, a_step)
        gold[chosen] = truth[chosen]
    return {"set": name, "strategy": strategy, "seed": seed, "errors": errors,
            "area": float(np.mean(errors))}  # fmt: skip


def markdown(result: dict[str, Any]) -> str:
    """Area under the curve, and the error after a tenth of the items."""
    lines = [
        f"# {result['question']}\n",
        f"*{result['date']}; {result['machine']['cores']} cores of {result['machine']['cpu']}; "
        f"seeds {result['seeds']}; ± is the standard deviation over seeds.*\n",
    ]
    lines += ["\nArea less that of entropy, the same items in both, ± its standard error\n",
              f"| strategy | {' | '.join(SETS)} |", "|---" * 5 + "|"]  # fmt: skip
    for name in NAMES:
        cells = [_against_entropy(result["rows"], where, name) for where in SETS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for title, of in (
        ("Mean label error along the curve (area), %", lambda r: r["area"]),
        ("Label error once a tenth of the items is answered, %", lambda r: r["errors"][10]),
    ):
        lines += [f"\n{title}\n", f"| strategy | {' | '.join(SETS)} |", "|---" * 5 + "|"]
        for name in NAMES:
            cells = []
            for where in SETS:
                rows = [r for r in result["rows"] if (r["set"], r["strategy"]) == (where, name)]
                cells.append(cell([of(r) for r in rows], 2))
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _against_entropy(rows: list[dict[str, Any]], where: str, name: str) -> str:
    """Mean and standard error of the difference of areas, seed by seed."""
    area = {(r["strategy"], r["seed"]): r["area"] for r in rows if r["set"] == where}
    seeds = sorted({r["seed"] for r in rows})
    apart = np.array([area[name, s] - area["entropy", s] for s in seeds])
    return f"{apart.mean():+.2f} ± {apart.std(ddof=1) / np.sqrt(len(seeds)):.2f}"


def draw(result: dict[str, Any]) -> None:
    """One panel a set, one line a strategy."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    for ax, name in zip(figure.subplots(2, 2).flat, SETS, strict=True):
        for strategy in NAMES:
            rows = [r for r in result["rows"] if (r["set"], r["strategy"]) == (name, strategy)]
            mean = np.mean([r["errors"] for r in rows], axis=0)
            dashed = "--" if strategy == "random" else "-"
            ax.plot(100 * STEP * np.arange(len(mean)), mean, dashed, label=strategy)
        ax.set(title=name, xlabel="items answered by the expert, %", ylabel="label error, %")
        ax.set_ylim(bottom=0)
    ax.legend()
    figure.savefig(Path(__file__).parents[1] / "docs" / "images" / "acquisition.svg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    find_data()
    warnings.simplefilter("ignore")
    result = record(__doc__.strip().splitlines()[0], list(seeds))
    result["rows"] = []
    for name in SETS:
        result["rows"] += [curve(name, strategy, seed) for strategy in NAMES for seed in seeds]
        print(name, flush=True)
    write_json(RESULTS / "acquisition.json", result)
    text = markdown(result)
    (RESULTS / "acquisition.md").write_text(text, encoding="utf-8")
    draw(result)
    print(text)


if __name__ == "__main__":
    main()
