"""From noisy crowd to classifier, chunk by chunk: aggregate, ask an expert about a few, retrain.

For each chunk: the stream aggregates its votes; the strategy scores its items by posterior and
classifier; the expert answers the most urgent within the budget; the labels join the pool, and the
classifier is trained on all of it. Whenever the votes have doubled, all items are settled anew and
the pool's labels follow (`resettle`).

Younesian, Hong, Ghiassi, Birke and Chen (2020), End-to-end learning from noisy crowd to supervised
machine learning models, arXiv 2011.06833; the steps are reconstructed from its abstract and from
QActor (2021). The paper settles every chunk once: `resettle=False`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import xlogy

from crowdlearn.errors import SettingsError, VotesError
from crowdlearn.experts.belief import Belief
from crowdlearn.experts.budget import Budget, DynamicBudget
from crowdlearn.experts.diversity import alike_by_features, choose
from crowdlearn.experts.imperfect import votes_of
from crowdlearn.experts.strategies import strategy
from crowdlearn.learning.classifiers import Classifier, FittedClassifier, classifier
from crowdlearn.learning.expert import Expert
from crowdlearn.learning.feature_aware import FeatureAware, FeatureAwareFit, check_features
from crowdlearn.online import stream
from crowdlearn.votes import Votes

LEAST = 1e-12  # probability of a class that a classifier rules out


@dataclass(eq=False)
class PipelineState:
    """Stream, pool and classifier so far; consumed by a step."""

    stream: Any
    budget: Budget | DynamicBudget | None = None
    names: list[str] = field(default_factory=list)
    features: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))  # (item, feature)
    target: np.ndarray = field(
        default_factory=lambda: np.empty((0, 0))
    )  # (item, class), trained on
    answers: dict[str, str] = field(default_factory=dict)  # the expert's
    classifier: FittedClassifier | None = None
    loss: float | None = None  # of the classifier on the pool, nats an item
    n_steps: int = 0
    n_settled: int = 0  # votes, when all items were last settled anew
    _rows: dict[str, int] = field(default_factory=dict, init=False, repr=False)

    @property
    def asked(self) -> list[str]:
        """Items that the expert was asked about, in order."""
        return list(self.answers)

    def row(self, name: str) -> int:
        """The place of an item in the pool."""
        while len(self._rows) < len(self.names):
            self._rows[self.names[len(self._rows)]] = len(self._rows)
        return self._rows[name]

    def append(self, names: list[str], features: np.ndarray, target: np.ndarray) -> None:
        """New items of the pool."""
        old = len(self.names) > 0
        self.names += names
        self.features = np.concatenate([self.features, features]) if old else features
        self.target = np.concatenate([self.target, target]) if old else target

    def labels(self) -> np.ndarray:
        """Class codes of all items of the pool, as they are settled."""
        return np.asarray(self.target.argmax(axis=1))


@dataclass(frozen=True, eq=False)
class Step:
    """What a chunk brought: its items' posterior before the expert, and who was asked."""

    items: tuple[str, ...]
    posterior: Float[np.ndarray, "item class"]
    asked: tuple[str, ...]
    answers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class NoisyCrowdPipeline:
    """Settings. `budget` is the share of the items the expert may be asked about, or a `Budget`, or
    a `DynamicBudget`, which follows the classifier's loss on the pool; it is never exceeded.

    With `feedback` answers are clamped in the stream and teach it the workers. Where the expert may
    err, `expert_worker` is its name: answers are then votes of that worker, whose prior
    `stream(experts=...)` sets, and labels are what the posterior makes of them. With `soft` the
    classifier trains on posteriors, else on labels. `alike_within` is the distance of features up
    to which items of a chunk count as near copies, of which one is asked about first. The first
    chunk has no classifier: its scores are those of the posterior alone.
    Raises SettingsError for a share outside 0 to 1, an unknown strategy or a distance of 0 or less.
    """

    aggregator: Any = field(default_factory=lambda: stream("bcc"))
    classifier: Classifier = field(default_factory=lambda: classifier("svm"))
    budget: float | Budget | DynamicBudget = 0.10
    strategy: str = "cent"
    feedback: bool = True
    expert_worker: str | None = None
    resettle: bool = True
    soft: bool = False
    alike_within: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.budget, int | float) and not 0 <= self.budget <= 1:
            raise SettingsError(f"budget is a share of the items, 0 to 1, not {self.budget!r}")
        if self.alike_within is not None and not self.alike_within > 0:
            raise SettingsError(f"alike_within must be above 0, not {self.alike_within!r}")
        strategy(self.strategy)

    def init(self, classes: Iterable[str]) -> PipelineState:
        """An empty pool. All classes must be named: the classifier needs them."""
        kept = None if isinstance(self.budget, int | float) else self.budget
        return PipelineState(self.aggregator.init(classes), kept)

    def step(
        self,
        state: PipelineState,
        votes: Votes,
        features: Float[np.ndarray, "item feature"],
        expert: Expert | None = None,
    ) -> tuple[PipelineState, Step]:
        """Fold in a chunk of new items; row i of `features` is item i of `votes.items`.

        The expert is asked about items that it knows, and not at all where there is none.
        Raises VotesError for features that do not fit, items that came before, and classes that
        were not named; the state is then untouched.
        """
        features = check_features(votes, features)
        names = self._new_names(state, votes)
        state.stream, update = self.aggregator.update(state.stream, votes)
        place = {name: row for row, name in enumerate(update.items.to_pylist())}
        rows = [place[name] for name in names]
        posterior = update.posterior[rows]
        chosen = [names[i] for i in self._choose(state, votes, features, posterior, expert)]
        answers = expert.ask(chosen) if expert is not None else {}
        state.append(names, features, self._target(posterior, update.labels[rows]))
        state.answers |= answers
        self._fold_in(state, answers)
        if self.resettle and state.stream.n_votes >= 2 * state.n_settled:
            self._settle_anew(state, first=state.n_steps == 0)
        state.n_steps += 1
        self._train(state)
        return state, Step(tuple(names), posterior, tuple(chosen), answers)

    def finish(self, state: PipelineState) -> PipelineState:
        """All items settled anew by the stream, as after a doubling, and the classifier trained.

        Where that has just been done nothing changes.
        """
        if state.n_settled < state.stream.n_votes:
            self._settle_anew(state)
            self._train(state)
        return state

    def settle(self, state: PipelineState, method: FeatureAware | None = None) -> FeatureAwareFit:
        """All votes, features and expert answers so far, settled together.

        Better than what the chunks left, as every chunk was settled before the later ones were
        there. The state stays as it is.
        """
        votes: Votes = state.stream.votes()
        rows = [state.row(name) for name in votes.items.to_pylist()]
        features = state.features[rows]
        gold = state.answers if self.expert_worker is None else None
        return (method or FeatureAware()).fit(votes, features, gold=gold)

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
        said = None if state.classifier is None else state.classifier.predict_proba(features)
        counts = np.ones((votes.n_workers, posterior.shape[1], posterior.shape[1]))
        if hasattr(self.aggregator, "worker_counts"):
            place = {name: w for w, name in enumerate(state.stream.workers)}
            rows = [place[str(name)] for name in votes.workers.to_pylist()]
            counts = self.aggregator.worker_counts(state.stream)[rows]
        belief = Belief(posterior, counts, self._recoded(state, votes), said)
        rng = np.random.default_rng([self.seed, state.n_steps])
        urgency = strategy(self.strategy)(belief, rng)
        known = np.array([str(name) in expert.truth for name in votes.items.to_pylist()])
        near = self.alike_within
        chosen: list[int] = choose(
            np.where(known, urgency, -np.inf),
            self._allowed(state, len(posterior)),
            None if near is None else alike_by_features(features, near),
        ).tolist()
        return chosen

    def _allowed(self, state: PipelineState, n: int) -> int:
        """How many of the next `n` items may be asked about."""
        if state.budget is not None:
            return state.budget.affordable(n, state.loss)
        assert isinstance(self.budget, int | float)
        return int(self.budget * (len(state.names) + n) + 1e-9) - len(state.answers)

    def _recoded(self, state: PipelineState, votes: Votes) -> Votes:
        """The chunk's votes in the pipeline's classes."""
        classes = self.classes_of(state)
        code = np.array([classes.index(name) for name in votes.classes], dtype=np.int32)
        return Votes.from_codes(
            votes.item, votes.worker, code[votes.label],
            items=votes.items, workers=votes.workers, classes=classes,
        )  # fmt: skip

    def _fold_in(self, state: PipelineState, answers: Mapping[str, str]) -> None:
        """The expert's answers go to the stream and to the pool."""
        if state.budget is not None:
            state.budget = state.budget.after(len(answers), state.loss)
        if self.expert_worker is not None and answers:
            said = votes_of(self.expert_worker, answers, self.classes_of(state))
            state.stream, update = self.aggregator.update(state.stream, said)
            rows = [state.row(name) for name in update.items.to_pylist()]
            state.target[rows] = self._target(update.posterior, update.labels)
        elif self.feedback and answers:
            state.stream, _ = self.aggregator.update(state.stream, None, answers)
        self._keep_answers(state)

    def _keep_answers(self, state: PipelineState) -> None:
        """The answers of an expert who never errs are the labels of the pool."""
        if self.expert_worker is None:
            classes = self.classes_of(state)
            known = [classes.index(label) for label in state.answers.values()]
            state.target[[state.row(name) for name in state.answers]] = np.eye(len(classes))[known]

    def _settle_anew(self, state: PipelineState, first: bool = False) -> None:
        """Labels from all votes so far; a `first` chunk has just been settled so."""
        if not first:
            state.stream, fit = self.aggregator.rescore(state.stream)
            rows = [state.row(name) for name in fit.votes.items.to_pylist()]
            state.target[rows] = self._target(fit.posterior, fit.labels)
            self._keep_answers(state)
        state.n_settled = state.stream.n_votes

    def _train(self, state: PipelineState) -> None:
        """A classifier of the pool, and its loss there."""
        state.classifier = self.classifier.fit(state.features, state.target)
        said = state.classifier.predict_proba(state.features)
        state.loss = float(-xlogy(state.target, np.maximum(said, LEAST)).sum(axis=1).mean())

    def _target(self, posterior: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """What the classifier trains on: posteriors, or labels as the stream picked them."""
        return posterior.copy() if self.soft else np.asarray(np.eye(posterior.shape[1])[labels])
