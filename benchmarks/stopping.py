"""Does the stopping rule keep its promised error on real votes, and how many votes does it save?

    python -m benchmarks.stopping [--seeds 40] [--rules bcc ...]

Six public sets are replayed: every item gets 3 votes in random order, then one more a round until
the rule is content at a target mean error of 5, 10 or 15 %, or its votes are used up. The rules:
`bcc` and `calibrated` trust their posteriors (`stop_items`); `bcc, audited` has an expert check 100
random items, at most a quarter of those with truth, and trusts nothing else (`certified_items`: one
half says who needs more votes, the other is looked at once, at the end). Realised is the error of
the stopped items, which the target is about (items that did not stop go to an expert), expected
what the posteriors said. Beside it: error and votes over all items, and the votes that fixed
redundancy needs for that error or less: the same number for all, same shuffle, the least that is
good enough, chosen with the truth in view. `calibrated` is slow and gets a quarter of the seeds.
The last rows are means over sets. With `--rules` the rows of the other rules stay as they were.
"""

from __future__ import annotations

import argparse
import json
import warnings
from dataclasses import asdict
from typing import Any

from benchmarks.machine import RESULTS, record, write_json
from benchmarks.truth_sets import cell, find_data, load
from crowdlearn.aggregators import aggregator
from crowdlearn.experts import fixed_redundancy, simulate_redundancy

SETS = ("rte", "temp", "dog", "bluebird", "web", "sp")
TARGETS = (0.05, 0.10, 0.15)
RULES = ("bcc", "calibrated", "bcc, audited")
N_AUDITED = 100


def rows_of(name: str, rule: str, seed: int) -> list[dict[str, Any]]:
    """Replays at all targets, and the fixed redundancy that is as good as each."""
    votes, truth = load(name)
    method = aggregator(rule.removesuffix(", audited"), seed=seed)
    audited = min(N_AUDITED, int((truth >= 0).sum()) // 4) if rule.endswith("audited") else 0
    deepest = int(votes.votes_per_item.max())
    fixed = [
        fixed_redundancy(votes, truth, method, n, seed=seed) for n in range(1, min(deepest, 40) + 1)
    ]
    rows = []
    for target in TARGETS:
        found = simulate_redundancy(votes, truth, method, target, n_audited=audited, seed=seed)
        enough = [n for n, error in fixed if error <= found.error + 1e-12]
        rows.append(
            {"set": name, "rule": rule, "seed": seed, "all_votes": votes.n_votes}
            | asdict(found)
            | {"fixed_votes": min(enough, default=None)}
        )
    return rows


def markdown(result: dict[str, Any]) -> str:
    """One row for each set, method and target; then the means."""
    lines = [
        f"# {result['question']}\n",
        f"*{result['date']}; {result['machine']['cores']} cores of {result['machine']['cpu']}; "
        f"{len(result['seeds'])} seeds, `calibrated` a quarter; ± is the standard deviation over "
        "seeds.*\n",
        "| set | rule | target | stopped, % | expected, % | realised, % | all items, % | "
        "votes used, % | fixed, % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in (*SETS, "mean"):
        for rule in RULES:
            for target in TARGETS:
                rows = [
                    r for r in result["rows"]
                    if name in (r["set"], "mean") and (r["rule"], r["target"]) == (rule, target)
                ]  # fmt: skip
                lines.append(f"| {name} | {rule} | {target:.0%} | {_cells(rows)} |")
    return "\n".join(lines) + "\n"


def _cells(rows: list[dict[str, Any]]) -> str:
    """Means over seeds (over sets too in the last rows), spread where one set is shown."""
    seeds = sorted({r["seed"] for r in rows})
    columns = ["stopped", "expected_error", "stopped_error", "error", "used", "fixed"]
    table = []
    for seed in seeds:
        of = [_shares(r) for r in rows if r["seed"] == seed]
        table.append({c: _mean([r[c] for r in of]) for c in columns})
    return " | ".join(cell([100 * row[c] for row in table if row[c] is not None])
                      for c in columns)  # fmt: skip


def _shares(row: dict[str, Any]) -> dict[str, Any]:
    fixed = row["fixed_votes"]
    return row | {
        "used": row["n_votes"] / row["all_votes"],
        "fixed": None if fixed is None else fixed / row["all_votes"],
    }


def _mean(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--rules", nargs="+", choices=RULES, default=RULES)
    args = parser.parse_args()
    find_data()
    warnings.simplefilter("ignore")
    result = record(__doc__.strip().splitlines()[0], list(range(args.seeds)))
    result["rows"] = []
    for name in SETS:
        for rule in args.rules:
            n_seeds = -(-args.seeds // 4) if rule == "calibrated" else args.seeds
            for seed in range(n_seeds):
                result["rows"] += rows_of(name, rule, seed)
            print(name, rule, flush=True)
    path = RESULTS / "stopping.json"
    if path.exists() and len(args.rules) < len(RULES):
        kept = json.loads(path.read_text(encoding="utf-8"))["rows"]
        result["rows"] += [row for row in kept if row["rule"] not in args.rules]
    write_json(path, result)
    text = markdown(result)
    (RESULTS / "stopping.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
