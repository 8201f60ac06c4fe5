"""Two projects to try things on: handwritten digits with a simulated crowd, and real votes.

The digits are scikit-learn's copy of the test set of Alpaydin and Kaynak (1998), 8 x 8 pixels.
Their crowd is simulated, and says so everywhere: workers err towards digits that look alike, two
guess, one copies another, one tires. The other project holds the votes of Dawid and Skene (1979).
"""

from __future__ import annotations

import io

import numpy as np
from jaxtyping import Float
from sqlalchemy import Connection

from crowdlearn.datasets import load
from crowdlearn.service.access import Actor
from crowdlearn.service.importing import Upload, perform
from crowdlearn.service.new_items import NewItem, add_items
from crowdlearn.service.projects import Project, create_project
from crowdlearn.votes import Votes

DIGITS, ANESTHESIA = "digits", "anesthesia"
N_WORKERS, VOTES_PER_ITEM = 24, 3
SCALE = 12  # pixels that one pixel of a digit is shown as


def add_demo(db: Connection, actor: Actor, *, n_items: int = 1000, seed: int = 0) -> list[Project]:
    """Make both projects. Raises ConflictError where there are projects of these names."""
    return [_digits(db, actor, n_items, seed), _anesthesia(db, actor)]


def simulated_crowd(images: Float[np.ndarray, "item pixel"], truth: np.ndarray, seed: int) -> Votes:
    """Votes of 24 workers on digits, three an item."""
    rng = np.random.default_rng(seed)
    means = np.stack([images[truth == k].mean(axis=0) for k in range(10)])
    apart = ((means[:, None] - means[None]) ** 2).sum(axis=2)
    alike = np.exp(-apart / np.median(apart[apart > 0]) * 4) * (1 - np.eye(10))
    alike /= alike.sum(axis=1, keepdims=True)
    skill = rng.beta(8, 2.5, N_WORKERS)
    skill[:2] = 0.1  # who guess
    item, worker, label = [], [], []
    said: dict[tuple[int, int], int] = {}
    for i in range(len(truth)):
        chosen = rng.permutation(N_WORKERS)[:VOTES_PER_ITEM]
        if 2 in chosen and 3 not in chosen:
            chosen[np.flatnonzero(chosen != 2)[0]] = 3  # who copies sits beside
        for w in sorted(chosen.tolist()):
            tired = 0.4 * i / len(truth) if w == 4 else 0.0
            right = rng.random() < max(skill[w] - tired, 0.1)
            vote = int(truth[i]) if right else int(rng.choice(10, p=alike[truth[i]]))
            if w == 3 and (i, 2) in said and rng.random() < 0.95:
                vote = said[i, 2]  # copies
            said[i, w] = vote
            item.append(i)
            worker.append(w)
            label.append(vote)
    names = [f"worker-{w + 1:02d}" for w in range(N_WORKERS)]
    return Votes.from_codes(
        np.array(item), np.array(worker), np.array(label),
        items=[f"digit-{i + 1:04d}" for i in range(len(truth))], workers=names,
        classes=[str(k) for k in range(10)],
    )  # fmt: skip


def _digits(db: Connection, actor: Actor, n_items: int, seed: int) -> Project:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "the demo needs scikit-learn: pip install 'crowdlearn[learning]'"
        ) from error
    images, truth = load_digits(return_X_y=True)
    images, truth = images[:n_items], truth[:n_items]
    votes = simulated_crowd(images, truth, seed)
    project = create_project(
        db, actor, DIGITS, votes.classes, simulated=True,
        guideline="Which digit is it? Decide by the shape alone.\n\nThe crowd is **simulated**.",
        settings={"target": 0.05, "redundancy": 4},
    )  # fmt: skip
    names = votes.items.to_pylist()
    add_items(
        db, actor, DIGITS,
        [
            NewItem(name=name, kind="image", content=_png(image))
            for name, image in zip(names, images, strict=True)
        ],
    )  # fmt: skip
    perform(db, actor, DIGITS, Upload("simulated crowd", "votes", votes=votes))
    return project


def _anesthesia(db: Connection, actor: Actor) -> Project:
    votes = load("anesthesia")
    project = create_project(
        db, actor, ANESTHESIA, votes.classes,
        guideline="How fit for a general anaesthetic is the patient, from 1 (fit) to 4?\n\n"
        "Votes of five anaesthetists from Dawid and Skene (1979), Table 1.",
        settings={"redundancy": 7},
    )  # fmt: skip
    perform(db, actor, ANESTHESIA, Upload("anesthesia.csv", "votes", votes=votes))
    return project


def _png(image: Float[np.ndarray, " pixel"]) -> bytes:
    from PIL import Image

    grey = np.kron(255 - image.reshape(8, 8) * 15.9375, np.ones((SCALE, SCALE))).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG", optimize=True)
    return file.getvalue()
