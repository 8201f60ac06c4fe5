"""What a run of the pipeline needs around it: chunks of items, scores so far, labels on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from crowdlearn.experts.belief import StreamBelief
from crowdlearn.experts.diversity import choose
from crowdlearn.experts.strategies import strategy
from crowdlearn.learning.files import FeatureTable
from crowdlearn.learning.pipeline import NoisyCrowdPipeline, PipelineState
from crowdlearn.output import write_csv
from crowdlearn.votes import Votes

Row = tuple[str, str, float, str]


def chunks(votes: Votes, table: FeatureTable, size: int) -> Iterator[tuple[Votes, np.ndarray]]:
    """Votes and features of `size` items at a time; items without a vote are left out."""
    features = table.of(votes)
    voted = np.flatnonzero(votes.votes_per_item > 0)
    for first in range(0, len(voted), size):
        keep = np.zeros(votes.n_items, dtype=np.bool_)
        keep[voted[first : first + size]] = True
        yield votes.only_items(keep), features[keep]


def label_error_of(
    state: PipelineState, classes: Sequence[str], truths: Mapping[str, str]
) -> float | None:
    """Share of wrong labels in the pool among items with truth; None where none has."""
    labels = state.labels()
    wrong = [
        classes[labels[row]] != truths[name]
        for row, name in enumerate(state.names)
        if name in truths
    ]
    return float(np.mean(wrong)) if wrong else None


def accuracy_on_test(
    state: PipelineState, classes: Sequence[str], table: FeatureTable
) -> float | None:
    """Share of test items that the classifier gets right; None without test items."""
    if table.test_features is None or state.classifier is None:
        return None
    said = state.classifier.predict_proba(table.test_features).argmax(axis=1)
    right = [classes[k] == label for k, label in zip(said, table.test_labels, strict=True)]
    return float(np.mean(right))


def label_rows(method: NoisyCrowdPipeline, state: PipelineState) -> list[Row]:
    """Name, label, confidence and who settled it (expert or crowd), as the stream has it now."""
    classes, asked = method.classes_of(state), state.answers
    place = {name: row for row, name in enumerate(state.stream.items)}
    posterior, labels = state.stream.posterior(), state.labels()
    return [
        (
            name,
            classes[labels[row]],
            1.0
            if name in asked and method.expert_worker is None
            else float(posterior[place[name], labels[row]]),
            "expert" if name in asked else "crowd",
        )
        for row, name in enumerate(state.names)
    ]


def write_labels(path: Path, rows: Sequence[Row]) -> None:
    """A CSV with the columns task, label, confidence, source; whole or not at all."""
    names = ("task", "label", "confidence", "source")
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    write_csv(pa.table(columns), path)


def to_ask(method: NoisyCrowdPipeline, state: PipelineState) -> list[str]:
    """The items that an expert should see next, the budget's worth, most urgent first."""
    said = None
    if state.classifier is not None:
        rows = [state.row(name) for name in state.stream.items]
        said = state.classifier.predict_proba(state.features[rows])
    belief = StreamBelief(method.aggregator, state.stream, said)
    urgency = strategy(method.strategy)(belief, np.random.default_rng(method.seed))
    n_items, budget = len(state.names), method.budget
    if isinstance(budget, int | float):
        n_asked = int(budget * n_items + 1e-9)
    else:
        n_asked = budget.affordable(n_items)
    chosen = choose(urgency, n_asked)
    return [state.stream.items[i] for i in chosen]
