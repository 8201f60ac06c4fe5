"""Rows of pictures: the true images, what each attack made of them, and what guesses look like."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fedsec.data.images import Images
from fedsec.inversion.audit.findings import Finding
from fedsec.inversion.audit.run import Audit
from fedsec.inversion.scores import mean_image

MOST = 12  # images that are shown


@dataclass(frozen=True)
class Cell:
    """A picture: its address, and what stands below it. `mark` for an exposed image."""

    source: str | None
    text: str = ""
    alt: str = ""
    mark: bool = False


@dataclass(frozen=True)
class Row:
    """Pictures beside a name."""

    name: str
    cells: tuple[Cell, ...]
    note: str = ""
    strong: bool = False


def rows_of(audit: Audit, threat: str) -> tuple[Row, ...]:
    """The pictures of a threat model: strongest attack first; truth and guesses around them."""
    ran = [one for one in audit.findings if one.threat == threat and one.found is not None]
    if audit.subject.truth is None:
        return tuple(row for one in ran for row in _without_truth(one, audit.data.train, audit))
    ran.sort(key=lambda one: one.strength, reverse=True)
    truth = audit.subject.truth
    names = audit.data.classes
    labelled = audit.subject.facts.labels is not None
    first = Row(
        "True images",
        tuple(
            Cell(png(x), names[int(y)] if labelled else "", f"true image {place + 1}")
            for place, (x, y) in enumerate(zip(truth.x[:MOST], truth.y[:MOST], strict=True))
        ),
        strong=True,
    )
    return (first, *(_matched(one) for one in ran), _guess(audit))


def png(image: Float[Tensor, "channel height width"]) -> str:
    """The image as a data: address, pixel for pixel."""
    from PIL import Image

    levels = (image.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    pixels = levels[0] if len(levels) == 1 else np.moveaxis(levels[:3], 0, 2)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _matched(one: Finding) -> Row:
    """What an attack made of each true image, in their order."""
    assert one.found is not None and one.scores is not None and one.exposed is not None
    cells = []
    for place, (at, db) in enumerate(zip(one.scores.match_of, one.scores.psnr, strict=True)):
        if place == MOST:
            break
        hit = bool(one.exposed[place])
        what = f"{one.attack}, image {place + 1}: {db:.1f} dB{', exposed' if hit else ''}"
        cells.append(
            Cell(png(one.found.x[int(at)]), f"{db:.1f}", what, hit)
            if at >= 0
            else Cell(None, "–", f"{one.attack} has none for image {place + 1}")
        )
    return Row(one.attack, tuple(cells), _note(one))


def _guess(audit: Audit) -> Row:
    """The mean image, which needs no update."""
    scores = audit.guesses["mean_image"]
    source = png(mean_image(audit.ground.population, 1)[0])
    cells = tuple(Cell(source, f"{db:.1f}", "the mean image") for db in scores.psnr[:MOST])
    return Row("Mean image", cells, "no update needed")


def _without_truth(one: Finding, population: Images, audit: Audit) -> tuple[Row, Row]:
    assert one.found is not None and one.nearest is not None
    names, labels = audit.data.classes, one.found.labels
    made, near = [], []
    for place, x in enumerate(one.found.x[:MOST]):
        said = "" if labels is None else names[int(labels[place])]
        made.append(Cell(png(x), said, f"{one.attack}, reconstruction {place + 1}"))
        at = int(one.nearest[place])
        near.append(
            Cell(png(population.x[at]), f"no. {at}", f"training image {at}, the nearest")
        )  # fmt: skip
    return (
        Row(one.attack, tuple(made), f"loss {one.found.loss:.3g}"),
        Row("nearest", tuple(near), f"to {one.attack}"),
    )


def _note(one: Finding) -> str:
    assert one.found is not None
    return "" if one.found.stopped == "done" else one.found.stopped
