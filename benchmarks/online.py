"""What does an update of a stream cost, however long the stream, and where does it end?

    python -m benchmarks.online [--seeds 5]

Latency: batches of 100 votes (20 items x 5) into a stream of `bcc` that has seen 10^4, 10^5 and
10^6 votes of 10^4 workers, 5 classes; and the same with every vote on an old item. Percentiles of
200 updates. End: the error of every answer when it was given (items in random order, 50 a batch),
of the state at the end, of the state where everything is settled anew whenever the votes have
doubled, and of the state after a last `rescore`, beside the batch fit. Ties count in parts.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np

from benchmarks.machine import RESULTS, record, write_json
from benchmarks.truth_sets import cell, find_data, load
from crowdlearn.aggregators import aggregator
from crowdlearn.evaluation import error
from crowdlearn.online import stream
from crowdlearn.simulate import dawid_skene, fixed_per_item
from crowdlearn.votes import Votes

SEEN = (10_000, 100_000, 1_000_000)
SETS = ("rte", "web", "dog", "trec")
METHODS = ("majority", "bcc", "idbla")
N_WORKERS, N_UPDATES, A_BATCH = 10_000, 200, 20


def rows_of(votes: Votes, items: np.ndarray) -> Votes:
    """The votes of these items alone, with the names of the whole."""
    keep = np.zeros(votes.n_items, dtype=bool)
    keep[items] = True
    part = votes.only_items(keep)
    workers, worker = np.unique(part.worker, return_inverse=True)
    return Votes.from_codes(
        part.item, worker, part.label,
        items=part.items, workers=part.workers.take(workers), classes=part.classes,
    )  # fmt: skip


def latency(n_seen: int, old: bool, seed: int) -> dict[str, Any]:
    """Milliseconds of an update after `n_seen` votes."""
    n_items = n_seen // 5
    new = A_BATCH * N_UPDATES
    world = dawid_skene(n_items + new, N_WORKERS, 5, assign=fixed_per_item(5), seed=seed)
    method = stream("bcc")
    state = method.init(world.votes.classes)
    for chunk in np.array_split(np.arange(n_items), max(n_items // 20_000, 1)):
        state, _ = method.update(state, rows_of(world.votes, chunk))
    rng, took = np.random.default_rng(seed), []
    late = world.votes.only_items(np.arange(n_items + new) >= n_items)
    for n in range(N_UPDATES):
        mine = np.arange(n * A_BATCH, (n + 1) * A_BATCH)
        batch = rows_of(late, mine)
        if old:  # the same votes, as more votes on items of long ago
            names = world.votes.items.take(rng.choice(n_items, A_BATCH, replace=False))
            batch = Votes.from_codes(
                batch.item, np.arange(batch.n_votes) % batch.n_workers, batch.label,
                items=names, workers=batch.workers, classes=batch.classes,
            )  # fmt: skip
        started = time.perf_counter()
        state, _ = method.update(state, batch)
        took.append(1000 * (time.perf_counter() - started))
    p50, p99 = np.percentile(took[5:], [50, 99])
    return {"seen": n_seen, "old_items": old, "seed": seed, "p50": float(p50), "p99": float(p99)}


def ends(name: str, method_name: str, seed: int) -> dict[str, Any]:
    """Errors of one stream of a public set, per cent."""
    votes, truth = load(name)
    order = np.random.default_rng(seed).permutation(votes.n_items)
    row: dict[str, Any] = {"set": name, "method": method_name, "seed": seed}
    for doubling in (False, True):
        method, last = stream(method_name, seed=seed), 1
        state = method.init(votes.classes)
        given, place = np.zeros((votes.n_items, votes.n_classes)), []
        for items in np.array_split(order, max(votes.n_items // 50, 1)):
            state, update = method.update(state, rows_of(votes, items))
            mine = np.sort(items)
            given[mine] = update.posterior
            place += mine.tolist()
            if doubling and state.n_votes >= 2 * last:
                state, _ = method.rescore(state)
                last = state.n_votes
        tail = "_doubling" if doubling else ""
        row[f"given{tail}"] = 100 * error(given, truth)
        row[f"end{tail}"] = 100 * error(state.posterior(), truth[place])
    state, fit = method.rescore(state)
    batch = aggregator(method_name, seed=seed).fit(votes)
    return row | {
        "rescored": 100 * error(fit.posterior, truth[place]),
        "batch": 100 * error(batch.posterior, truth),
    }


def markdown(result: dict[str, Any]) -> str:
    """Both tables."""
    lines = [
        f"# {result['question']}\n",
        f"*{result['date']}; {result['machine']['cores']} cores of {result['machine']['cpu']}; "
        f"seeds {result['seeds']}; ± is the standard deviation over seeds.*\n",
        "| votes seen | batch on | p50, ms | p99, ms |",
        "|---|---|---|---|",
    ]
    for seen in SEEN:
        for old in (False, True):
            of = [r for r in result["latency"] if r["seen"] == seen and r["old_items"] == old]
            cells = [cell([r[name] for r in of], 2) for name in ("p50", "p99")]
            where = "old items" if old else "new items"
            lines.append(f"| {seen:,} | {where} | {' | '.join(cells)} |")
    lines += [
        "\nError, %. *Given*: each answer when it was given. *End*: the state after the last "
        "batch. *Doubling*: all settled anew whenever the votes have doubled. *Re-scored*: all "
        "settled anew once, at the end.\n",
        "| set | method | given | end | given, doubling | end, doubling | re-scored | batch fit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    names = ("given", "end", "given_doubling", "end_doubling", "rescored", "batch")
    for name in SETS:
        for method in METHODS:
            of = [r for r in result["ends"] if r["set"] == name and r["method"] == method]
            cells = [cell([r[n] for r in of], 2) for n in names]
            lines.append(f"| {name} | {method} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    find_data()
    warnings.simplefilter("ignore")
    result = record(__doc__.strip().splitlines()[0], list(seeds))
    result["latency"] = [latency(n, old, s) for n in SEEN for old in (False, True) for s in seeds]
    result["ends"] = [ends(name, method, s) for name in SETS for method in METHODS for s in seeds]
    write_json(RESULTS / "online.json", result)
    text = markdown(result)
    (RESULTS / "online.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
