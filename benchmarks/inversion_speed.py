"""How fast is an attack here: beside a plain loop, with many restarts, and through local steps?

    python -m benchmarks.inversion_speed [--parts loop restarts layers steps] [--repeats 7]
        [--small]

loop      Inverting Gradients without total variation on the tiny network (two convolutions, ReLU,
          images of 3 x 8 x 8), batches of 1 and 8, beside the loop that one writes by hand for it:
          iterations a CPU second on one thread.
restarts  eight restarts at once beside eight runs one after the other: the same work, CPU seconds.
layers    Inverting Gradients on larger networks and images: with layers made for a second pass
          (`fedsec.core.twice`) beside autograd's own, CPU seconds.
steps     AGIC beside the simulation at eight local steps on Fashion-MNIST, the networks of
          `inversion_quality`: CPU seconds an iteration; and the CPU seconds that each needs for the
          same PSNR, from runs of rising length (the rate falls along the length of each run).

CPU seconds are the smallest of some repeats, taken in turn: what else runs on a machine only adds.
A part that is measured anew replaces that part of the result alone.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.inversion import fedavg
from benchmarks.inversion.clients import (
    drawn,
    images_of,
    measures,
    net_of,
    with_gradient,
    with_steps,
)
from benchmarks.inversion.tiny import N_CLASSES, tiny_net
from benchmarks.machine import RESULTS, ROOT, dated, record, write_json
from fedsec.core.record import Knowledge
from fedsec.core.rng import torch_stream
from fedsec.inversion.attacks import AGIC, InvertingGradients, Simulation
from fedsec.inversion.audit.subject import Subject
from fedsec.inversion.case import Case
from fedsec.inversion.trials import plain_gradient

BATCHES = (1, 8)
N_RESTARTS = 8
STEPS, STEP_BATCHES = 8, (1, 4)
LENGTHS = (25, 50, 100, 200)
DATA = "fashion-mnist"
PARTS = ("loop", "restarts", "layers", "steps")
BARS = {"loop": 0.9, "restarts": 2.5, "steps": 0.4}
LAYERS = (
    ("fashion-mnist", "convnet", False), ("fashion-mnist", "resnet", False),
    ("cifar10", "convnet", True), ("cifar10", "resnet", True),
)  # fmt: skip
LAYER_BATCHES = (1, 8, 32)


def plain(
    net: nn.Module, gradient: list[Tensor], y: Tensor, x: Tensor, n_iterations: int
) -> Tensor:
    """Inverting Gradients by hand: cosine, signed Adam with its steps of the rate, box."""
    x = x.clamp(0, 1).requires_grad_()
    parameters = list(net.parameters())
    wanted = torch.cat([value.reshape(-1) for value in gradient])
    wanted = wanted / wanted.norm()
    adam = torch.optim.Adam([x], lr=0.1)
    schedule = torch.optim.lr_scheduler.MultiStepLR(
        adam, [n_iterations * eighths // 8 for eighths in (3, 5, 7)], 0.1
    )
    for _ in range(n_iterations):
        adam.zero_grad()
        slopes = torch.autograd.grad(cross_entropy(net(x), y), parameters, create_graph=True)
        found = torch.cat([value.reshape(-1) for value in slopes])
        loss = 1 - found @ wanted / found.norm()
        loss.backward(inputs=[x])
        x.grad.sign_()
        adam.step()
        schedule.step()
        with torch.no_grad():
            x.clamp_(0, 1)
    return x.detach()


def in_turn(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """CPU seconds of each run, taken in turn, after one that does not count."""
    took: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            began = time.process_time()
            run()
            if repeat:
                took[name].append(time.process_time() - began)
    return took


def loop(n_iterations: int, repeats: int) -> dict[str, Any]:
    """Iterations a CPU second, ours and by hand."""
    found: dict[str, Any] = {}
    for batch in BATCHES:
        subject = _tiny(batch)
        assert subject.truth is not None
        start = torch.randn(subject.truth.x.shape, generator=torch_stream(0, "start"))
        case = subject.case(subject.facts)
        net = tiny_net("relu").eval()
        gradient, y = list(subject.observed[0].update.tensors.values()), subject.truth.y
        ours = InvertingGradients(iterations=n_iterations, tv=0.0, start=lambda *_, x=start: x)
        runs: dict[str, Callable[[], object]] = {
            "fedsec": lambda a=ours, c=case: a(c, generator=torch_stream(0, "attack")),
            "plain loop": lambda n=net, g=gradient, y=y, x=start: plain(n, g, y, x, n_iterations),
        }  # fmt: skip
        took = in_turn(runs, repeats)
        rates = {name: n_iterations / min(each) for name, each in took.items()}
        found[f"batch {batch}"] = {
            "iterations a CPU second": rates, "CPU seconds": took,
            "ratio": rates["fedsec"] / rates["plain loop"],
        }  # fmt: skip
    return found


def restarts(n_iterations: int, repeats: int) -> dict[str, Any]:
    """Eight at once, and one after the other."""
    found: dict[str, Any] = {}
    for batch in BATCHES:
        subject = _tiny(batch)
        case = subject.case(subject.facts)
        one = InvertingGradients(iterations=n_iterations)
        many = replace(one, restarts=N_RESTARTS)
        runs: dict[str, Callable[[], object]] = {
            "at once": lambda a=many, c=case: a(c, generator=torch_stream(0, "attack")),
            "one after the other": lambda a=one, c=case: [
                a(c, generator=torch_stream(seed, "attack")) for seed in range(N_RESTARTS)
            ],
        }  # fmt: skip
        took = in_turn(runs, repeats)
        found[f"batch {batch}"] = {
            "CPU seconds": took,
            "ratio": min(took["one after the other"]) / min(took["at once"]),
        }
    return found


def layers(n_iterations: int, repeats: int) -> dict[str, Any]:
    """With our layers, and with autograd's own."""
    found: dict[str, Any] = {}
    for name, net, wide in LAYERS:
        data = images_of(name)
        for batch in LAYER_BATCHES:
            images = drawn(data, batch, 0)
            subject = with_gradient(net_of(net, data, 0, wide), images, len(data.classes))
            case = subject.case(subject.facts)
            attack = InvertingGradients(iterations=n_iterations)
            took = in_turn(
                {
                    "ours": lambda a=attack, c=case: a(c, generator=torch_stream(0, "attack")),
                    "autograd's": lambda a=attack, c=case: _with_autograds_layers(a, c),
                },
                repeats,
            )
            what = f"{name}, {'wide ' if wide else ''}{net}, batch {batch}"
            found[what] = {
                "iterations": n_iterations, "CPU seconds": took,
                "ratio": min(took["autograd's"]) / min(took["ours"]),
            }  # fmt: skip
            print(f"{what}: {found[what]['ratio']:.2f}", flush=True)
    return found


def _with_autograds_layers(attack: InvertingGradients, case: Case) -> None:
    with patch("fedsec.inversion.attack.descended_gradient", lambda: plain_gradient):
        attack(case, generator=torch_stream(0, "attack"))


def steps(
    n_iterations: int, repeats: int, lengths: tuple[int, ...], clients: int
) -> dict[str, Any]:
    """AGIC and the simulation: seconds an iteration, and to equal quality."""
    found: dict[str, Any] = {}
    for net in fedavg.NETS:
        for batch in STEP_BATCHES:
            subjects = [_stepping(net, batch, seed) for seed in range(clients)]
            attacks: dict[str, Callable[[int], Any]] = {
                "agic": lambda n: AGIC(iterations=n),
                "simulation": lambda n: Simulation(iterations=n),
            }
            case = _asked(subjects[0])
            took = in_turn(
                {
                    name: lambda make=make, c=case: make(n_iterations)(
                        c, generator=torch_stream(0, "attack")
                    )
                    for name, make in attacks.items()
                },
                repeats,
            )
            an_iteration = {name: min(each) / n_iterations for name, each in took.items()}
            courses = {
                name: [_course(make(n), subjects) for n in lengths]
                for name, make in attacks.items()
            }
            found[f"{net}, batch {batch}"] = {
                "CPU seconds an iteration": an_iteration,
                "ratio": an_iteration["agic"] / an_iteration["simulation"],
                "courses": courses, "equal quality": equal_quality(courses),
            }  # fmt: skip
            print(f"{net}, batch {batch}: {an_iteration}", flush=True)
    return found


def equal_quality(courses: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """The highest mean PSNR that both reach, what each needs for it, and what each reaches."""
    highest = {name: max(point["psnr"] for point in course) for name, course in courses.items()}
    level = min(highest.values())
    needed = {
        f"CPU seconds, {name}": next(point["seconds"] for point in course if point["psnr"] >= level)
        for name, course in courses.items()
    }
    return {"PSNR, dB": level, **needed, **{f"highest, {name}": of for name, of in highest.items()}}


def _course(attack: Any, subjects: list[Subject]) -> dict[str, float]:
    psnr, began = [], time.process_time()
    for seed, subject in enumerate(subjects):
        assert subject.truth is not None
        found = attack(_asked(subject), generator=torch_stream(seed, "attack"))
        psnr += measures(found.x, subject.truth.x)["psnr"]
    return {
        "iterations": attack.iterations, "psnr": float(np.mean(psnr)),
        "seconds": (time.process_time() - began) / len(subjects),
    }  # fmt: skip


def _tiny(batch: int) -> Subject:
    images = drawn(images_of("digits in colour"), batch, 0)
    return with_gradient(tiny_net("relu"), images, N_CLASSES)


def _stepping(net: str, batch: int, seed: int) -> Subject:
    data = images_of(DATA)
    images = drawn(data, STEPS * batch, seed)
    made = net_of(net, data, seed)
    return with_steps(made, images, len(data.classes), steps=STEPS, lr=fedavg.LR)


def _asked(subject: Subject) -> Any:
    facts = subject.facts
    assert facts.labels is not None
    return subject.case(
        Knowledge(labels=tuple(sorted(facts.labels)), lr=facts.lr, steps=facts.steps,
                  batch=facts.batch)
    )  # fmt: skip


def markdown(result: dict[str, Any]) -> str:
    """All figures."""
    lines = [
        f"# {result['question']}\n",
        f"*{dated(result)}; one thread of {result['machine']['cpu']}; the smallest"
        f" of {min(result['repeats'].values())} repeats or more.*\n",
        "| what | batch | fedsec | beside it | ratio | bar |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for batch, of in result.get("loop", {}).items():
        rates = of["iterations a CPU second"]
        lines.append(
            f"| iterations a CPU second, beside a plain loop | {batch.split()[1]} |"
            f" {rates['fedsec']:.0f} | {rates['plain loop']:.0f} | {of['ratio']:.2f} |"
            f" at least {BARS['loop']} |"
        )
    for batch, of in result.get("restarts", {}).items():
        took = {name: min(each) for name, each in of["CPU seconds"].items()}
        lines.append(
            f"| CPU s of {N_RESTARTS} restarts at once, beside one after the other |"
            f" {batch.split()[1]} | {took['at once']:.2f} | {took['one after the other']:.2f} |"
            f" {of['ratio']:.2f} | at least {BARS['restarts']} |"
        )
    if "layers" in result:
        lines += [
            "",
            "| images and network | images at once | CPU ms an iteration | with autograd's own"
            " layers | times as fast |",
            "|---" * 5 + "|",
        ]
    for what, of in result.get("layers", {}).items():
        ours, theirs = (1000 * min(each) / of["iterations"] for each in of["CPU seconds"].values())
        network, _, batch = what.rpartition(", batch ")
        lines.append(f"| {network} | {batch} | {ours:.1f} | {theirs:.1f} | {of['ratio']:.2f} |")
    if "steps" not in result:
        return "\n".join(lines) + "\n"
    lines += [
        "", f"**{STEPS} local steps, {DATA}**", "",
        "| net, images in a step | AGIC, CPU ms an iteration | simulation | ratio (at most"
        f" {BARS['steps']}) | PSNR that both reach, dB | CPU s of AGIC | of the simulation |"
        " highest PSNR of AGIC | of the simulation |",
        "|---" * 9 + "|",
    ]  # fmt: skip
    for name, of in result["steps"].items():
        took, equal = of["CPU seconds an iteration"], of["equal quality"]
        lines.append(
            f"| {name} | {1000 * took['agic']:.1f} | {1000 * took['simulation']:.1f} |"
            f" {of['ratio']:.2f} | {equal['PSNR, dB']:.1f} | {equal['CPU seconds, agic']:.1f} |"
            f" {equal['CPU seconds, simulation']:.1f} | {equal['highest, agic']:.1f} |"
            f" {equal['highest, simulation']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--iterations", type=int, default=200, help="of loop and restarts")
    parser.add_argument("--step-iterations", type=int, default=20, help="of steps, timed")
    parser.add_argument("--layer-iterations", type=int, default=5, help="of layers")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--clients", type=int, default=2, help="of steps, to equal quality")
    parser.add_argument("--small", action="store_true", help="a rehearsal into build/benchmarks")
    given = parser.parse_args()
    lengths, folder = LENGTHS, RESULTS
    if given.small:
        given.iterations, given.step_iterations, given.repeats, given.clients = 20, 2, 1, 1
        given.layer_iterations = 1
        lengths, folder = (2, 4), ROOT / "build" / "benchmarks"
    torch.set_num_threads(1)
    measured: dict[str, Callable[[], Any]] = {
        "loop": lambda: loop(given.iterations, given.repeats),
        "restarts": lambda: restarts(given.iterations, given.repeats),
        "layers": lambda: layers(given.layer_iterations, given.repeats),
        "steps": lambda: steps(given.step_iterations, given.repeats, lengths, given.clients),
    }
    path = folder / "inversion_speed.json"
    head = record(__doc__.strip().splitlines()[0], list(range(given.clients)))
    date = head.pop("date")
    for name in given.parts:
        found = measured[name]()
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        result = before | head | {name: found}
        for what, value in (("dates", date), ("repeats", given.repeats)):
            result[what] = before.get(what, {}) | {name: value}
        write_json(path, result)
        path.with_suffix(".md").write_text(markdown(result), encoding="utf-8")
    print(path.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
