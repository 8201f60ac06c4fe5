"""How far is a change of parameters from one gradient, as rate times steps grows?

The gap is 1 - cos(gradient of all images at the parameters sent, -change), for the true images. A
smooth network (`lenet-sigmoid`), digits, in double precision: Taylor says that it falls as the
square of rate times steps. And for one step the objectives of AGIC, the simulation and the plain
cosine are one function: the largest difference at random images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.inversion.cells import Key, Row
from benchmarks.inversion.clients import drawn, gradient_at, images_of, net_of, with_steps
from fedsec.core.rng import torch_stream
from fedsec.data.images import Images
from fedsec.inversion.attack import Search, objective
from fedsec.inversion.case import delta_to_gradient
from fedsec.inversion.distances import Distance, as_row, cosine, row_of, weighted_cosine
from fedsec.inversion.layer_weights import uniform
from fedsec.inversion.trials import Trial, at_start, simulated

NET, DATA = "lenet-sigmoid", "digits"
STEPS = (2, 4, 8)
RATES = tuple(float(rate) for rate in 10 ** np.arange(-4, 0.01, 0.5))
SMALL = 0.1  # rate times steps up to which the slope is fitted
FLOOR = 1e-12  # a gap below it is rounding
PICTURE = Path(__file__).parents[2] / "docs" / "images" / "inversion_gap.svg"


def keys(given: Any) -> list[Key]:
    """All cells."""
    clients = range(max(given.clients, given.least))
    return [
        {"steps": steps, "lr": lr, "client": client}
        for steps in (1, *STEPS) for lr in RATES for client in clients
    ]  # fmt: skip


def cell(key: Key) -> Row:
    """One client's gap; of one step, how far the three objectives are apart."""
    data, seed = images_of(DATA), key["client"]
    images = drawn(data, key["steps"], seed)
    images = Images(images.x.double(), images.y)
    net = net_of(NET, data, seed).double()
    subject = with_steps(net, images, len(data.classes), steps=key["steps"], lr=key["lr"])
    mean = delta_to_gradient(subject.observed[0].update, subject.facts)
    row = {"gap": float(cosine(as_row(mean))(row_of(gradient_at(subject.victim, images), mean)))}
    if key["steps"] > 1:
        return row
    case = subject.case(subject.facts)
    ways: list[tuple[Distance, Trial]] = [
        (cosine, at_start),
        (weighted_cosine(uniform(mean)), at_start),
        (cosine, simulated(key["lr"], [(0,)])),
    ]
    x = torch.rand(images.x.shape, generator=torch_stream(seed, "dummy"), dtype=torch.float64)
    values = [
        float(
            objective(case, Search(distance=distance), [trial], images.y, None, 1)({"x": x[None]})
        )
        for distance, trial in ways
    ]
    return row | {"apart": max(values) - min(values)}


def summary(rows: list[Row]) -> dict[str, Any]:
    """Median gap over clients, and the slope in logarithms where rate times steps is small."""
    curves, slopes = {}, {}
    for steps in STEPS:
        points = []
        for lr in RATES:
            gaps = [row["gap"] for row in rows if (row["steps"], row["lr"]) == (steps, lr)]
            low, median, high = np.percentile(gaps, (25, 50, 75))
            points.append({"rate x steps": lr * steps, "gap": float(median),
                           "quartiles": [float(low), float(high)]})  # fmt: skip
        curves[str(steps)] = points
        fit = [p for p in points if p["rate x steps"] <= SMALL and p["gap"] > FLOOR]
        x, y = (np.log([p[name] for p in fit]) for name in ("rate x steps", "gap"))
        slopes[str(steps)] = float(np.polyfit(x, y, 1)[0])
    return {
        "curves": curves, "slopes": slopes,
        "clients": len({row["client"] for row in rows}),
        "one step, objectives apart by at most": max(
            row["apart"] for row in rows if row["steps"] == 1
        ),
    }  # fmt: skip


def draw(found: dict[str, Any], path: Path = PICTURE) -> None:
    """Gap against rate times steps, with a line of slope two."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from fedsec.plots import COLOURS

    figure = Figure(figsize=(6, 3.8), layout="constrained")
    ax = figure.subplots()
    for colour, (steps, points) in zip(COLOURS, found["curves"].items(), strict=False):
        x = [point["rate x steps"] for point in points]
        low, high = zip(*(point["quartiles"] for point in points), strict=True)
        ax.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
        ax.plot(x, [point["gap"] for point in points], "o-", color=colour, markersize=4,
                label=f"{steps} steps")  # fmt: skip
    first = next(iter(found["curves"].values()))[0]
    ends = np.array([first["rate x steps"], SMALL * 10])
    line = first["gap"] * (ends / ends[0]) ** 2
    ax.plot(ends, line, "--", color="grey", label="slope 2")
    ax.set(xscale="log", yscale="log", xlabel="learning rate x local steps",
           ylabel="1 - cos(gradient, change)")  # fmt: skip
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    with rc_context({"svg.hashsalt": "inversion gap"}):
        figure.savefig(path, metadata={"Date": None})
