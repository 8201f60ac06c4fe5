"""Does choosing clients by their labels make federated learning with a Maverick faster?

    python -m benchmarks.mavericks [--parts digits contribution fashion] [--seeds 10]

A Maverick is the only client that holds a class (arXiv 2106.10734). R@99 is the first round in
which the test accuracy reaches 99 % of the best that random selection reaches with the same seed,
partition and start; one more than the last round where it does not.

digits        50 clients, 5 a round, 100 rounds, one exclusive Maverick; an MLP, three local epochs.
              Every selector, and FedProx with random selection.
contribution  The same under random selection: where does the Maverick stand among the five by
              their exact Shapley values and by leaving one out, early and late; with averaging by
              samples and uniform averaging.
fashion       A part of Fashion-MNIST, the paper's two-layer network, 50 clients, 5 a round;
              averaging by samples (FedAvg) and uniformly (what the paper calls FedSGD), beside the
              paper's Table 1 (all 60,000 images, 200 rounds, three runs).

All of R@99 is drawn into docs/images/mavericks.svg.

Settings of each method are those of its paper or of `fedsec`'s defaults; alpha / beta of FedEMD is
half the rounds, as there. Nothing was tuned on these runs.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.machine import RESULTS, dated, record, write_json
from benchmarks.mavericks_picture import draw
from fedsec.core.functional import state_of
from fedsec.core.rng import stream
from fedsec.data.images import ImageData, Images, load_images
from fedsec.data.partitions import exclusive_mavericks
from fedsec.federated.aggregate import Weighting, by_samples, uniform
from fedsec.federated.contribution import (
    Exact,
    LeaveOneOut,
    RoundGame,
    data_share,
    negative_loss,
    round_game,
    softmax_shares,
    system_fairness,
)
from fedsec.federated.local import ClientSteps, LocalTraining
from fedsec.federated.rounds import Selector
from fedsec.federated.selectors import (
    Always,
    FedEmd,
    FedFast,
    Never,
    Oort,
    PowerOfChoice,
    RandomSelector,
    ShapleyWeighted,
    Tifl,
)
from fedsec.federated.simulate import Federation, Progress, begin, simulate
from fedsec.federated.task import Task
from fedsec.metrics.classification import rounds_to
from fedsec.nets import make_net

MAVERICK, CLASS = 0, 1  # the client, and the class that is its alone (Fashion-MNIST: Trouser)
PAPER = {
    "by samples": {"random": 110.7, "shapley-weighted": None, "tifl": 146.3, "fedfast": 200,
                   "fedprox": 92.0, "fedemd": 79.7},
    "uniform": {"random": 144.0, "shapley-weighted": None, "tifl": 140.3, "fedfast": 200,
                "fedprox": 135.7, "fedemd": 131.3},
}  # fmt: skip
"""Table 1, Fashion-MNIST; 200 stands for "not within 200 rounds"."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A federation that selectors are compared in."""

    data: str
    net: str
    n_rounds: int
    local: LocalTraining
    alpha: float
    n_train: int | None = None
    n_test: int | None = None
    n_held_out: int | None = None
    n_clients: int = 50
    per_round: int = 5


DIGITS = Setting(
    data="digits", net="mlp", n_rounds=100, alpha=0.3,
    local=LocalTraining(epochs=3, batch=4, lr=0.05, momentum=0.5, schedule=ClientSteps(10, 0.1)),
)  # fmt: skip
"""As in the measured runs that the project's notes describe; Shapley on the test set, as there."""

FASHION = Setting(
    data="fashion-mnist", net="cnn", n_rounds=60, alpha=0.15, n_train=5_000, n_test=1_000,
    n_held_out=200,
    local=LocalTraining(batch=4, lr=0.004, momentum=0.9, schedule=ClientSteps(10, 0.1)),
)  # fmt: skip
"""A twelfth of the images and a third of the rounds of the paper, for a CPU; the learning rate is
four times its own, because a client takes a twelfth of the steps in a round."""


def methods(setting: Setting) -> dict[str, tuple[Selector, LocalTraining]]:
    """Name -> who is chosen, and what they do."""
    local, beta = setting.local, setting.alpha / (setting.n_rounds / 2)
    return {
        "random": (RandomSelector(), local),
        "fedemd": (FedEmd(alpha=setting.alpha, beta=beta), local),
        "shapley-weighted": (ShapleyWeighted(), local),
        "tifl": (Tifl(), local),
        "fedfast": (FedFast(), local),
        "fedprox": (RandomSelector(), replace(local, prox=0.1)),
        "power-of-choice": (PowerOfChoice(n_candidates=20), local),
        "oort": (Oort(), local),
        "always": (Always(ids=(MAVERICK,)), local),
        "never": (Never(ids=(MAVERICK,)), local),
    }


def task_of(setting: Setting, seed: int) -> Task:
    """The task of a seed: its images, who holds them, and the network at the start."""
    data = load_images(setting.data, os.environ.get("FEDSEC_DATA"))
    rng = stream(seed, "subset")
    train = _balanced(data.train, setting.n_train, rng)
    test, held_out = data.test, None
    if setting.n_test is not None and setting.n_held_out is not None:
        both = _balanced(data.test, setting.n_test + setting.n_held_out, rng)
        order = rng.permutation(len(both))
        test, held_out = both.subset(order[: setting.n_test]), both.subset(order[setting.n_test :])
    parts = exclusive_mavericks(
        train.y.numpy(), setting.n_clients, (CLASS,), stream(seed, "partition")
    )
    net = make_net(setting.net, ImageData(data.name, train, test, data.classes), seed)
    return Task(net, train, parts.parts, test, len(data.classes), held_out)


def _balanced(images: Images, n: int | None, rng: np.random.Generator) -> Images:
    """`n` images, as many of each class as can be."""
    if n is None:
        return images
    labels = images.y.numpy()
    order = rng.permutation(len(labels))
    place = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        mine = order[labels[order] == label]
        place[mine] = np.arange(len(mine))
    return images.subset(np.sort(order[np.argsort(place[order], kind="stable")][:n]))


def run(setting: Setting, weighting: Weighting, name: str, seed: int) -> Progress:
    """One run to its end."""
    task = task_of(setting, seed)
    selector, local = methods(setting)[name]
    federation = Federation(
        per_round=setting.per_round, local=local, selector=selector, weighting=weighting, seed=seed,
        contribution=Exact() if getattr(selector, "needs_contribution", False) else None,
    )  # fmt: skip
    start = begin(task, federation, state_of(task.net))
    return list(simulate(task, federation, start, setting.n_rounds))[-1]


def curve(setting: Setting, weighting: Weighting, job: tuple[str, int]) -> dict[str, Any]:
    """What a selector's run looked like."""
    torch.set_num_threads(1)
    name, seed = job
    progress = run(setting, weighting, name, seed)
    rounds = progress.rounds
    recall = [float(one.recall[CLASS]) for one in rounds if one.recall is not None]
    return {
        "method": name, "seed": seed,
        "accuracy": [round(one.accuracy, 4) for one in rounds],
        "recall": [round(value, 4) for value in recall],
        "maverick": [int(MAVERICK in one.chosen) for one in rounds],
        "server seconds": sum(
            one.phases.get(phase, 0.0) for one in rounds for phase in ("select", "contribute")
        ),
        "train seconds": sum(one.phases["train"] for one in rounds),
    }  # fmt: skip


def in_parallel(work: Callable[[Any], Any], jobs: Iterable[Any], n: int) -> list[Any]:
    """The jobs' results in order, by `n` processes."""
    jobs = list(jobs)
    found = []
    with ProcessPoolExecutor(n) as pool:
        for job, result in zip(jobs, pool.map(work, jobs), strict=True):
            print(job, flush=True)
            found.append(result)
    return found


def compare(
    setting: Setting, weighting: Weighting, names: Iterable[str], seeds: range, processes: int
) -> list[dict[str, Any]]:
    """A row a method: R@99, accuracy and recall on the way, how often the Maverick took part."""
    jobs = [(name, seed) for name in names for seed in seeds]
    curves = in_parallel(partial(curve, setting, weighting), jobs, processes)
    best = {one["seed"]: max(one["accuracy"]) for one in curves if one["method"] == "random"}
    return [
        _row(name, [one for one in curves if one["method"] == name], best, setting)
        for name in dict.fromkeys(one["method"] for one in curves)
    ]


def _row(
    name: str, curves: list[dict[str, Any]], best: dict[int, float], setting: Setting
) -> dict[str, Any]:
    reached = np.array(
        [rounds_to(np.array(one["accuracy"]), best[one["seed"]]) for one in curves], dtype=float
    )
    at = [setting.n_rounds // 5 - 1, setting.n_rounds // 2 - 1, setting.n_rounds - 1]
    accuracy = np.array([one["accuracy"] for one in curves])
    recall = np.array([one["recall"] for one in curves])
    quarters = np.array([one["maverick"] for one in curves]).reshape(len(curves), 4, -1)
    return {
        "method": name, "seeds": len(curves),
        "R@99": {"mean": float(reached.mean()), "sd": float(reached.std(ddof=1)),
                 "each": reached.tolist(), "not reached": int((reached > setting.n_rounds).sum())},
        "accuracy": _shares(accuracy[:, at]),
        "recall": _shares(recall[:, at]),
        "maverick per round, quarters": quarters.mean(axis=(0, 2)).round(3).tolist(),
        "server seconds": round(float(np.mean([one["server seconds"] for one in curves])), 3),
        "train seconds": round(float(np.mean([one["train seconds"] for one in curves])), 3),
        "curve": np.nanmean(accuracy, axis=0).round(4).tolist(),
    }  # fmt: skip


def _shares(values: np.ndarray) -> dict[str, list[float]]:
    return {
        "mean": values.mean(axis=0).round(4).tolist(),
        "sd": values.std(axis=0, ddof=1).round(4).tolist(),
    }


def valued(setting: Setting, weighting: Weighting, seed: int) -> list[dict[str, Any]]:
    """The Maverick's standing in each round of random selection in which it took part."""
    torch.set_num_threads(1)
    task = task_of(setting, seed)
    rows: list[dict[str, Any]] = []

    def observe(state: Any, updates: Any) -> None:
        clients = [one.client for one in updates]
        if MAVERICK not in clients:
            return
        game = round_game(state, updates, negative_loss(task.net, task.valued_on), weighting)
        rows.append(_standing(game, clients.index(MAVERICK), [one.n for one in updates])
                    | {"round": updates[0].round})  # fmt: skip

    federation = Federation(
        per_round=setting.per_round, local=setting.local, weighting=weighting, seed=seed,
        evaluate_every=setting.n_rounds,
    )  # fmt: skip
    progress = begin(task, federation, state_of(task.net))
    for _ in simulate(task, federation, progress, setting.n_rounds, observe=observe):
        pass
    return rows


def _standing(game: RoundGame, me: int, n: list[int]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shapley, left_out = Exact()(game, rng).values, LeaveOneOut()(game, rng).values
    share = softmax_shares(shapley)
    return {
        "shapley rank": int((shapley < shapley[me]).sum()) + 1,
        "leave-one-out rank": int((left_out < left_out[me]).sum()) + 1,
        "share": float(share[me]),
        "fairness": float(system_fairness(share[None], data_share(np.array(n))[None])),
    }


def contribution(seeds: range, processes: int) -> dict[str, Any]:
    """Rank 1 is the lowest of the five; the mean share of the five is 0.2."""
    third = DIGITS.n_rounds * 3 // 10
    spans = {"first 30 rounds": (1, third), "last 30 rounds": (DIGITS.n_rounds - third + 1, 10**6)}
    found: dict[str, Any] = {}
    for weighting in (by_samples, uniform):
        each = in_parallel(partial(valued, DIGITS, weighting), seeds, processes)
        rows = [row for of_seed in each for row in of_seed]
        found[weighting.__name__.replace("_", " ")] = {
            span: _summary([row for row in rows if first <= row["round"] <= last])
            for span, (first, last) in spans.items()
        }
    return found


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    of = {name: np.array([row[name] for row in rows], dtype=float) for name in rows[0]}
    return {
        "cases": len(rows),
        "shapley lowest": float((of["shapley rank"] == 1).mean()),
        "shapley rank": float(of["shapley rank"].mean()),
        "shapley share": float(of["share"].mean()),
        "leave-one-out rank": float(of["leave-one-out rank"].mean()),
        "fairness": float(of["fairness"].mean()),
    }


def savings(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Per cent of rounds that FedEMD saves against each method, from the means."""
    mean = {row["method"]: row["R@99"]["mean"] for row in rows}
    return {
        name: round(100 * (1 - mean["fedemd"] / value), 1)
        for name, value in mean.items()
        if name != "fedemd"
    }


def markdown(result: dict[str, Any]) -> str:
    """All tables."""
    lines = [
        f"# {result['question']}\n",
        f"*{dated(result)}; {result['machine']['cores']} cores of {result['machine']['cpu']}; "
        f"± is the standard deviation over seeds.*\n",
    ]
    if "digits" in result:
        lines += ["\n## Digits\n", *_table(result["digits"]["rows"], {})]
    for name, part in result.get("fashion", {}).items():
        lines += [f"\n## Fashion-MNIST, averaging {name}\n", *_table(part["rows"], PAPER[name])]
    if "contribution" in result:
        lines += ["\n## The Maverick's standing among the five, digits\n", *_standings(result)]
    return "\n".join(lines) + "\n"


def _table(rows: list[dict[str, Any]], paper: dict[str, float | None]) -> list[str]:
    head = ["selection", "R@99", "not reached", "accuracy % at 1/5, 1/2, end",
            "Maverick's recall there", "Maverick in a round, by quarters"]  # fmt: skip
    head += ["paper's R@99"] if paper else []
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        r = row["R@99"]
        cells = [
            row["method"], f"{r['mean']:.1f} ± {r['sd']:.1f}",
            f"{r['not reached']} of {row['seeds']}",
            " / ".join(f"{100 * value:.1f}" for value in row["accuracy"]["mean"]),
            " / ".join(f"{value:.2f}" for value in row["recall"]["mean"]),
            " ".join(f"{value:.2f}" for value in row["maverick per round, quarters"]),
        ]  # fmt: skip
        if paper:
            known = paper.get(row["method"])
            cells.append("-" if known is None else ">200" if known == 200 else f"{known}")
        lines.append("| " + " | ".join(cells) + " |")
    saved = ", ".join(f"{name} {value} %" for name, value in savings(rows).items())
    return [*lines, "", f"Rounds that FedEMD saves against: {saved}."]


def _standings(result: dict[str, Any]) -> list[str]:
    lines = ["| averaging | rounds | cases | Shapley lowest | mean rank | softmax share |"
             " leave-one-out rank | fairness |", "|---" * 8 + "|"]  # fmt: skip
    for weighting, spans in result["contribution"].items():
        for span, one in spans.items():
            lines.append(
                f"| {weighting} | {span} | {one['cases']} | {100 * one['shapley lowest']:.0f} % |"
                f" {one['shapley rank']:.1f} | {one['shapley share']:.3f} |"
                f" {one['leave-one-out rank']:.1f} | {one['fairness']:.3f} |"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", default=["digits", "contribution", "fashion"])
    parser.add_argument("--seeds", type=int, default=10, help="of digits")
    parser.add_argument("--fashion-seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    path = RESULTS / "mavericks.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    result = before | record(__doc__.strip().splitlines()[0], list(range(given.seeds)))
    result["dates"] = before.get("dates", {}) | dict.fromkeys(given.parts, result.pop("date"))
    seeds = range(given.seeds)
    if "digits" in given.parts:
        rows = compare(DIGITS, by_samples, methods(DIGITS), seeds, given.processes)
        result["digits"] = {"rows": rows, "saved": savings(rows)}
    if "contribution" in given.parts:
        result["contribution"] = contribution(seeds, given.processes)
    if "fashion" in given.parts:
        fashion = {}
        for weighting in (by_samples, uniform):
            name = weighting.__name__.replace("_", " ")
            names = PAPER[name]
            rows = compare(FASHION, weighting, names, range(given.fashion_seeds), given.processes)
            fashion[name] = {"rows": rows, "saved": savings(rows)}
        result["fashion"] = fashion
    write_json(path, result)
    draw(result, {"digits": DIGITS.n_rounds, "fashion": FASHION.n_rounds})
    path.with_suffix(".md").write_text(markdown(result))
    print(markdown(result))


if __name__ == "__main__":
    main()
