"""The layouts in which public sets lie at their sources, each as one reader to plain rows.

A reader takes the paths of a set's files and gives its votes (item, worker, label) and its truths
(item, label), all strings, in the order of the files.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

Votes = list[tuple[str, str, str]]
Truths = list[tuple[str, str]]


def snow(paths: Sequence[Path]) -> tuple[Votes, Truths]:
    """Tab-separated, one vote a line with the gold answer beside it (Snow and others 2008)."""
    rows = _table(paths[0], "\t")
    votes = [(row["orig_id"], row["!amt_worker_ids"], row["response"]) for row in rows]
    return votes, _once([(row["orig_id"], row["gold"]) for row in rows])


def survey(paths: Sequence[Path]) -> tuple[Votes, Truths]:
    """Two files: question,worker,answer and question,truth (Zheng and others 2017)."""
    answers, truths = (_table(path) for path in paths)
    votes = [(row["question"], row["worker"], row["answer"]) for row in answers]
    return votes, [(row["question"], row["truth"]) for row in truths]


def scale(paths: Sequence[Path]) -> tuple[Votes, Truths]:
    """Two files: item,worker,label and item,truth."""
    labels, truths = (_table(path) for path in paths)
    votes = [(row["item"], row["worker"], row["label"]) for row in labels]
    return votes, [(row["item"], row["truth"]) for row in truths]


def scale_with_truth(paths: Sequence[Path]) -> tuple[Votes, Truths]:
    """As `scale`, only the items that have truth."""
    votes, truths = scale(paths)
    known = {item for item, _ in truths}
    return [vote for vote in votes if vote[0] in known], truths


def toolkit(paths: Sequence[Path]) -> tuple[Votes, Truths]:
    """No header; worker, item, label, truth and sometimes seconds (ActiveCrowdToolkit)."""
    with open(paths[0], encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    votes = [(row[1], row[0], row[2]) for row in rows]
    return votes, _once([(row[1], row[3]) for row in rows])


def matrix(paths: Sequence[Path]) -> tuple[Votes, Truths]:
    """Numbers and blanks: an item a row, a worker a column, -1 for no vote; then the truths."""
    answers = np.loadtxt(paths[0], ndmin=2).astype(int)
    truths = np.loadtxt(paths[1], ndmin=1).astype(int)
    item, worker = np.nonzero(answers >= 0)
    columns = (item, worker, answers[item, worker])
    votes = [(str(i), str(w), str(k)) for i, w, k in zip(*columns, strict=True)]
    return votes, [(str(i), str(k)) for i, k in enumerate(truths)]


def one_hot(paths: Sequence[Path]) -> tuple[Votes, Truths]:
    """An .npz: `user_labels` (item, worker * class) of ones and zeros, and `true_labels`."""
    with np.load(paths[0], allow_pickle=False) as file:
        n_classes = int(file["category_num"])
        cells = file["user_labels"].reshape(len(file["user_labels"]), -1, n_classes)
        truths = file["true_labels"].ravel().astype(int)
    item, worker, label = np.nonzero(cells > 0)
    columns = (item, worker, label)
    votes = [(str(i), str(w), str(k)) for i, w, k in zip(*columns, strict=True)]
    return votes, [(str(i), str(k)) for i, k in enumerate(truths)]


def lewidi(paths: Sequence[Path]) -> tuple[Votes, Truths]:
    """JSON by item number, `annotators` and `annotations` in two comma-separated strings."""
    votes = []
    for path in paths:
        part = path.stem.rsplit("_", 1)[-1]
        for number, item in json.loads(path.read_text(encoding="utf-8")).items():
            given = zip(item["annotators"].split(","), item["annotations"].split(","), strict=True)
            votes += [(f"{part}_{number}", who.strip(), what.strip()) for who, what in given]
    return votes, []


def popquorn(paths: Sequence[Path]) -> tuple[Votes, Truths]:
    """One vote a line, the label written as a real number."""
    rows = _table(paths[0])
    return [
        (row["instance_id"], row["user_id"], str(int(float(row["offensiveness"])))) for row in rows
    ], []


LAYOUTS: dict[str, Callable[[Sequence[Path]], tuple[Votes, Truths]]] = {
    "snow": snow,
    "survey": survey,
    "scale": scale,
    "scale-with-truth": scale_with_truth,
    "toolkit": toolkit,
    "matrix": matrix,
    "one-hot": one_hot,
    "lewidi": lewidi,
    "popquorn": popquorn,
}


def _table(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def _once(truths: Truths) -> Truths:
    """Each pair once, in order of first appearance."""
    return list(dict.fromkeys(truths))
