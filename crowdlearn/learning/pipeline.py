"""From noisy crowd to classifier, chunk by chunk: aggregate, ask an expert about a few, retrain.

For each chunk: the stream aggregates its votes; the strategy scores its items by posterior and
classifier; the expert answers the most urgent within the budget; the labels join the pool, and the
classifier is trained on all of it. Younesian, Hong, Ghiassi, Birke and Chen (2020), End-to-end
learning from noisy crowd to supervised machine learning models, arXiv 2011.06833; the steps are
reconstructed from its abstract and from QActor (2021).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from crowdlearn.errors import SettingsError, VotesError
from crowdlearn.experts.belief import Belief
from crowdlearn.experts.diversity import choose
from crowdlearn.experts.strategies import strategy
from crowdlearn.learning.classifiers import Classifier, FittedClassifier, svm
from crowdlearn.learning.feature_aware import FeatureAware, FeatureAwareFit, check_features
from crowdlearn.online import stream
from crowdlearn.votes import Votes


@dataclass
class Expert:
    """Answers from known labels (item -> class), wrong with probability `error`; counts calls.

    A wrong answer is one of the other `classes`, drawn evenly.
    """

    truth: Mapping[str, str]
    classes: tuple[str, ...] = ()
    error: float = 0.0
    seed: int = 0
    n_calls: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if not 0 <= self.error <= 1:
            raise SettingsError(f"the error of an expert is from 0 to 1, not {self.error!r}")
        if self.error and len(self.classes) < 2:
            raise SettingsError("an expert who errs needs classes to choose from")
        self._rng = np.random.default_rng(self.seed)

    def ask(self, names: Iterable[str]) -> dict[str, str]:
        """The answers. Raises VotesError for an item that the expert does not know."""
        found: dict[str, str] = {}
        for name in names:
            if name not in self.truth:
                raise VotesError(f"the expert has no answer for item {name!r}")
            self.n_calls += 1
            found[name] = self.truth[name]
            if self.error and self._rng.random() < self.error:
                others = [c for c in self.classes if c != found[name]]
                found[name] = others[int(self._rng.integers(len(others)))]
        return found


@dataclass(eq=False)
class PipelineState:
    """Stream, pool and classifier so far; consumed by a step."""

    stream: Any
    names: list[str] = field(default_factory=list)
    features: list[np.ndarray] = field(default_factory=list)  # one array a chunk
    target: list[np.ndarray] = field(default_factory=list)  # soft or one-hot, one array a chunk
    answers: dict[str, str] = field(default_factory=dict)  # the expert's
    classifier: FittedClassifier | None = None
    n_steps: int = 0

    @property
    def asked(self) -> list[str]:
        """Items that the expert was asked about, in order."""
        return list(self.answers)

    def labels(self) -> np.ndarray:
        """Class codes of all items of the pool, as they were settled."""
        return np.concatenate([rows.argmax(axis=1) for rows in self.target])


@dataclass(frozen=True, eq=False)
class Step:
    """What a chunk brought: its items' posterior before the expert, and who was asked."""

    items: tuple[str, ...]
    posterior: Float[np.ndarray, "item class"]
    asked: tuple[str, ...]
    answers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class NoisyCrowdPipeline:
    """Settings. `budget` is the share of items the expert may be asked about, never exceeded.

    With `feedback` answers are clamped in the stream and teach it the workers; with `soft` the
    classifier trains on posteriors, else on labels. The first chunk has no classifier: its scores
    are those of the posterior alone.
    """

    aggregator: Any = field(default_factory=lambda: stream("bcc"))
    classifier: Classifier = field(default_factory=svm)
    budget: float = 0.10
    strategy: str = "cent"
    feedback: bool = True
    soft: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.budget <= 1:
            raise SettingsError(f"budget is a share of the items, 0 to 1, not {self.budget!r}")
        strategy(self.strategy)

    def init(self, classes: Iterable[str]) -> PipelineState:
        """An empty pool. All classes must be named: the classifier needs them."""
        return PipelineState(self.aggregator.init(classes))

    def step(
        self,
        state: PipelineState,
        votes: Votes,
        features: Float[np.ndarray, "item feature"],
        expert: Expert | None = None,
    ) -> tuple[PipelineState, Step]:
        """Fold in a chunk of new items; row i of `features` is item i of `votes.items`.

        Raises VotesError for features that do not fit, items that came before, and classes that
        were not named; the state is then untouched.
        """
        features = check_features(votes, features)
        names = self._new_names(state, votes)
        state.stream, update = self.aggregator.update(state.stream, votes)
        place = {name: row for row, name in enumerate(update.items.to_pylist())}
        posterior = update.posterior[[place[name] for name in names]]
        chosen = [names[i] for i in self._choose(state, votes, features, posterior, expert)]
        answers = expert.ask(chosen) if expert is not None else {}
        target = posterior.copy() if self.soft else self._hard(update, place, names)
        classes = self.classes_of(state)
        for row, name in enumerate(names):
            if name in answers:
                target[row] = np.eye(len(classes))[classes.index(answers[name])]
        if self.feedback and answers:
            state.stream, _ = self.aggregator.update(state.stream, None, answers)
        state.names += names
        state.features.append(features)
        state.target.append(target)
        state.answers |= answers
        state.n_steps += 1
        state.classifier = self.classifier.fit(
            np.concatenate(state.features), np.concatenate(state.target)
        )
        return state, Step(tuple(names), posterior, tuple(chosen), answers)

    def settle(self, state: PipelineState, method: FeatureAware | None = None) -> FeatureAwareFit:
        """All votes, features and expert answers so far, settled together.

        Better than what the chunks left, as every chunk was settled before the later ones were
        there. The state stays as it is.
        """
        votes: Votes = state.stream.votes()
        row_of = {name: row for row, name in enumerate(state.names)}
        rows = [row_of[name] for name in votes.items.to_pylist()]
        features = np.concatenate(state.features)[rows]
        return (method or FeatureAware()).fit(votes, features, gold=state.answers)

    def classes_of(self, state: PipelineState) -> tuple[str, ...]:
        """The classes, in the order of posteriors and codes."""
        classes: tuple[str, ...] = state.stream.classes
        return classes

    def _new_names(self, state: PipelineState, votes: Votes) -> list[str]:
        names: list[str] = [str(name) for name in votes.items.to_pylist()]
        known = set(state.names)
        for name in names:
            if name in known:
                raise VotesError(
                    f"item {name!r} came in an earlier chunk: give all its votes at once"
                )
        strange = [c for c in votes.classes if c not in self.classes_of(state)]
        if strange:
            raise VotesError(f"class {strange[0]!r} was not named at the start of the pipeline")
        if (votes.votes_per_item == 0).any():
            name = names[int(np.argmin(votes.votes_per_item))]
            raise VotesError(f"item {name!r} has no vote: leave it out of the chunk")
        return names

    def _choose(
        self, state: PipelineState, votes: Votes, features: np.ndarray,
        posterior: np.ndarray, expert: Expert | None,
    ) -> list[int]:  # fmt: skip
        """Rows of the chunk to ask about. The budget counts over all chunks."""
        if expert is None:
            return []
        allowed = int(self.budget * (len(state.names) + len(posterior)) + 1e-9) - len(state.asked)
        said = None if state.classifier is None else state.classifier.predict_proba(features)
        counts = np.ones((votes.n_workers, posterior.shape[1], posterior.shape[1]))
        if hasattr(self.aggregator, "worker_counts"):
            place = {name: w for w, name in enumerate(state.stream.workers)}
            rows = [place[str(name)] for name in votes.workers.to_pylist()]
            counts = self.aggregator.worker_counts(state.stream)[rows]
        belief = Belief(posterior, counts, self._recoded(state, votes), said)
        rng = np.random.default_rng([self.seed, state.n_steps])
        chosen: list[int] = choose(strategy(self.strategy)(belief, rng), allowed).tolist()
        return chosen

    def _recoded(self, state: PipelineState, votes: Votes) -> Votes:
        """The chunk's votes in the pipeline's classes."""
        classes = self.classes_of(state)
        code = np.array([classes.index(name) for name in votes.classes], dtype=np.int32)
        return Votes.from_codes(
            votes.item, votes.worker, code[votes.label],
            items=votes.items, workers=votes.workers, classes=classes,
        )  # fmt: skip

    def _hard(self, update: Any, place: Mapping[str, int], names: list[str]) -> np.ndarray:
        """One-hot labels as the stream picked them, ties drawn."""
        labels = update.labels[[place[name] for name in names]]
        return np.asarray(np.eye(update.posterior.shape[1])[labels])
