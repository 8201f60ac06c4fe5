"""BCC and IDBLA on a stream: each batch is settled by variational Bayes, then added to the counts.

Story       That of `aggregators/bcc.py`, or of `aggregators/idbla.py`.
Inference   An update takes the items that the batch touches out of the expected counts, settles
            their posteriors by coordinate ascent against all the rest, and puts them back. New
            items start at their vote shares, old ones where they stand. With one batch of
            everything this is the batch fit; `rescore` runs it over all items at the end.
            `forget` below 1 lets counts fade by this factor a batch, for workers who drift.
Source      Our design: incremental mean field (Neal and Hinton, 1998) with exact removal of what a
            batch revisits; with one visit an item it is the streaming form of Broderick et al.
            (2013).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from scipy.special import digamma

from crowdlearn.aggregation import Aggregation, History
from crowdlearn.aggregators.bcc import dirichlet_prior
from crowdlearn.aggregators.outcome import conclude, dirichlet_accuracy, pick_labels
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.errors import SettingsError
from crowdlearn.online.kernels import settle, settle_difficulty
from crowdlearn.online.ledger import Touched
from crowdlearn.online.rows import Rows
from crowdlearn.online.state import StreamState, Update, empty_ledger
from crowdlearn.predictors import MixturePredictor, ProductPredictor
from crowdlearn.votes import Votes

SMALLEST = 1e-50  # of the scale of faded counts, before they are written out
KEPT = ("counts", "prior", "guessed", "weight", "missed", "unit")


@dataclass(eq=False)
class VbState(StreamState):
    """Expected counts of all items, in units of `scale`; `weight` is what each vote gave them."""

    counts: Rows = field(
        default_factory=lambda: Rows.of(np.float64, 0, 0)
    )  # [worker, label, class]
    prior: Rows = field(default_factory=lambda: Rows.of(np.float64))  # [class], of the items
    guessed: Rows = field(default_factory=lambda: Rows.of(np.float64))  # [label]
    weight: Rows = field(default_factory=lambda: Rows.of(np.float64, 0))  # [vote, class]
    missed: Rows = field(default_factory=lambda: Rows.of(np.float64))  # [vote], as counted: guesses
    unit: Rows = field(default_factory=lambda: Rows.of(np.float64))  # by item: 1 / scale, or 0
    scale: float = 1.0

    def grow(self) -> None:
        super().grow()
        known = self.ledger
        self.counts.widen(known.n_classes, known.n_classes)
        self.counts.grow(known.n_workers)
        self.weight.widen(known.n_classes)
        self.weight.grow(known.n_votes)
        self.missed.grow(known.n_votes)
        self.unit.grow(known.n_items)
        self.prior.grow(known.n_classes)
        self.guessed.grow(known.n_classes)

    def fade(self, factor: float) -> None:
        """Multiply all counts."""
        self.scale *= factor
        if self.scale < SMALLEST:
            for rows in (self.counts, self.prior, self.guessed, self.unit):
                rows.data *= self.scale
            self.scale = 1.0

    def add(self, touched: Touched, sign: float) -> None:
        """Put the touched items into the counts (`sign` 1) or take them out (-1)."""
        unit = sign * self.unit.live[touched.item]
        each = unit[touched.owner][:, None] * self.weight.live[touched.vote]
        np.add.at(self.counts.data, (touched.worker, touched.label), each)
        tau = self.tau.live[touched.item]
        self.prior.data[: tau.shape[1]] += unit @ tau
        guesses = unit[touched.owner] * self.missed.live[touched.vote]
        np.add.at(self.guessed.data, touched.label, guesses)

    def arrays(self) -> dict[str, np.ndarray]:
        rows = {name: getattr(self, name).live for name in KEPT}
        return super().arrays() | rows | {"scale": np.array(self.scale)}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        super().restore(arrays)
        for name in KEPT:
            setattr(self, name, Rows(arrays[name], len(arrays[name])))
        self.scale = float(arrays["scale"])


@dataclass(frozen=True, kw_only=True)
class StreamingBcc:
    """Settings of streaming BCC. `experts` maps worker names to prior (right, wrong) counts."""

    name: ClassVar[str] = "bcc"

    prior_count: float = 1.0
    off_diagonal: float = 1.0
    diagonal: float = 2.0
    forget: float = 1.0
    max_sweeps: int = 20
    tolerance: float = 1e-4
    experts: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self)
        if not 0 < self.forget <= 1:
            raise SettingsError(f"forget must be above 0 and at most 1, not {self.forget!r}")
        for name, counts in self.experts.items():
            if len(counts) != 2 or min(counts) <= 0:
                raise SettingsError(
                    f"experts: {name!r} has {counts!r}, where two positive counts are needed: "
                    "right and wrong answers, as (95.0, 5.0)"
                )

    def init(self, classes: Iterable[str] = ()) -> VbState:
        """An empty stream; classes not named come with the votes."""
        return VbState(empty_ledger(classes))

    def begin(
        self, classes: Iterable[str], votes: Votes, answers: Mapping[str, str | None] | None = None
    ) -> VbState:
        """A stream that has all these votes and answers already, settled together."""
        state = self.init(classes)
        state.ledger.add(votes, answers or {})
        state.grow()
        state.n_updates = 1
        self.settle_anew(state)
        return state

    def update(
        self,
        state: VbState,
        votes: Votes | None = None,
        answers: Mapping[str, str | None] | None = None,
    ) -> tuple[VbState, Update]:
        """Fold a batch of votes, and of gold answers (item -> class), into the stream.

        None as an answer takes an earlier one back: the item then starts anew from its votes.
        `state` must not be used afterwards. Raises VotesError for an answer on an unknown item or
        class; the state is then untouched.
        """
        touched = state.ledger.add(votes, answers or {})
        state.grow()
        self._take_out(state, [name for name, label in (answers or {}).items() if label is None])
        state.fade(self.forget)
        state.n_updates += 1
        rng = np.random.default_rng([self.seed, state.n_updates])
        sweeps, _ = self._settle(state, touched, self.max_sweeps, self.tolerance)
        posterior = state.tau.live[touched.item]
        return state, Update(
            items=state.ledger.names(touched.item),
            posterior=posterior,
            labels=pick_labels(posterior, rng),
            classes=state.classes,
            codes=touched.item,
            sweeps=sweeps,
        )

    def rescore(
        self, state: VbState, *, max_sweeps: int = 1000, tolerance: float = 1e-6
    ) -> tuple[VbState, Aggregation]:
        """Settle all items anew from their vote shares: the result of a batch fit of all votes.

        It does not depend on how the votes were batched. Faded counts are counted in full again.
        """
        started = time.perf_counter()
        sweeps, change = self.settle_anew(state, max_sweeps=max_sweeps, tolerance=tolerance)
        return state, self.result(state, sweeps, change, change <= tolerance, started)

    def settle_anew(
        self, state: VbState, *, max_sweeps: int = 1000, tolerance: float = 1e-6
    ) -> tuple[int, float]:
        """`rescore` in place, without its Aggregation: sweeps done, and the last change."""
        everything = state.ledger.touched(np.arange(state.ledger.n_items))
        state.add(everything, -1.0)
        state.unit.data[:] = 0.0
        state.scale = 1.0
        return self._settle(state, everything, max_sweeps, tolerance)

    def worker_counts(self, state: VbState) -> Float[np.ndarray, "worker class class"]:
        """Dirichlet parameters of the workers' rows [worker, truth, label], the prior included."""
        alpha = np.maximum(state.counts.live * state.scale, 0) + self._extra(state, state.workers)
        return np.ascontiguousarray(alpha.transpose(0, 2, 1))

    def result(
        self,
        state: VbState,
        sweeps: int = 0,
        change: float = 0.0,
        converged: bool = True,
        started: float | None = None,
    ) -> Aggregation:
        """The stream as it stands, as every method gives its results. Costs by the history."""
        votes, alpha = state.votes(), self.worker_counts(state)
        in_class = np.maximum(state.prior.live * state.scale, 0) + self.prior_count
        prior = in_class / in_class.sum()
        return conclude(
            self,
            votes,
            gold=state.ledger.gold.live.copy(),
            posterior=state.posterior(),
            prior=prior,
            confusion=alpha / alpha.sum(axis=2, keepdims=True),
            worker_accuracy=dirichlet_accuracy(alpha.transpose(0, 2, 1), prior),
            history=History(
                bound=np.full(max(sweeps, 1), np.nan),
                change=np.full(max(sweeps, 1), change),
                bound_name="none on a stream",
                converged=converged,
            ),
            predictor=self._predictor(state, alpha, in_class),
            started=time.perf_counter() if started is None else started,
        )

    def _settle(
        self, state: VbState, touched: Touched, max_sweeps: int, tolerance: float
    ) -> tuple[int, float]:
        """Take the touched items out, settle them, put them back."""
        state.add(touched, -1.0)
        tau, weight = self._start(state, touched)
        names = [state.ledger.worker_names[w] for w in touched.rows.tolist()]
        base = np.maximum(state.counts.live[touched.rows] * state.scale, 0)
        base += self._extra(state, names)
        prior = np.maximum(state.prior.live * state.scale, 0) + self.prior_count
        sweeps, change = self._kernel(
            state, touched, base, prior, tau, weight, max_sweeps, tolerance
        )
        state.tau.data[touched.item], state.weight.data[touched.vote] = tau, weight
        state.missed.data[touched.vote] = np.maximum(1 - weight.sum(axis=1), 0)
        state.unit.data[touched.item] = 1 / state.scale
        state.add(touched, 1.0)
        return sweeps, change

    def _take_out(self, state: VbState, names: list[str]) -> None:
        """Make these items as if they were new."""
        codes = np.array([state.ledger.item_codes[name] for name in names], dtype=np.int64)
        state.add(state.ledger.touched(codes), -1.0)
        state.unit.data[codes] = 0.0

    def _start(self, state: VbState, touched: Touched) -> tuple[np.ndarray, np.ndarray]:
        """Posteriors to begin with, and what they make of the votes."""
        tau, owner = state.tau.live[touched.item], touched.owner
        new = state.unit.live[touched.item] == 0
        n_items, n_classes = tau.shape
        cell = owner * n_classes + touched.label
        shares = np.bincount(cell, minlength=tau.size).reshape(tau.shape).astype(np.float64)
        totals = shares.sum(axis=1, keepdims=True)
        shares = np.where(totals > 0, shares / np.maximum(totals, 1), 1 / n_classes)
        tau = np.where(new[:, None], shares, tau)
        known = np.flatnonzero(touched.gold >= 0)
        tau[known] = np.eye(n_classes)[touched.gold[known]]
        return tau, tau[owner]

    def _kernel(
        self,
        state: VbState,
        touched: Touched,
        base: np.ndarray,
        prior: np.ndarray,
        tau: np.ndarray,
        weight: np.ndarray,
        max_sweeps: int,
        tolerance: float,
    ) -> tuple[int, float]:
        return settle(
            touched.offsets, touched.row, touched.label, touched.gold, base, prior, tau, weight,
            max_sweeps, tolerance,
        )  # fmt: skip

    def _extra(self, state: VbState, names: list[str]) -> Float[np.ndarray, "worker label class"]:
        """Prior Dirichlet parameters of these workers."""
        n = state.ledger.n_classes
        extra = np.broadcast_to(
            dirichlet_prior(n, self.off_diagonal, self.diagonal), (len(names), n, n)
        )
        if self.experts:
            extra = extra.copy()
            for place, name in enumerate(names):
                if name in self.experts:
                    right, wrong = self.experts[name]
                    extra[place] = dirichlet_prior(n, wrong / (n - 1), right)
        return extra

    def _predictor(self, state: VbState, alpha: np.ndarray, in_class: np.ndarray) -> Any:
        table = np.exp(digamma(alpha) - digamma(alpha.sum(axis=2, keepdims=True)))
        prior = np.exp(digamma(in_class) - digamma(in_class.sum()))
        return ProductPredictor(prior, table.transpose(0, 2, 1).copy(), np.arange(len(prior)))


@dataclass(frozen=True, kw_only=True)
class StreamingIdbla(StreamingBcc):
    """Settings of streaming IDBLA: on a hard item a vote may be a guess.

    In an update a worker starts out twice as likely right as wrong (`diagonal` 2), where the batch
    form starts flat: with the few votes of a first batch the flat prior lets guesses swallow a
    class. `rescore`, which has all votes, takes the batch form's `settled_diagonal`.
    """

    name: ClassVar[str] = "idbla"

    settled_diagonal: float = 1.0

    easy: float = 9.0
    hard: float = 1.0
    guess_count: float = 1.0

    def rescore(
        self, state: VbState, *, max_sweeps: int = 1000, tolerance: float = 1e-6
    ) -> tuple[VbState, Aggregation]:
        settled = replace(self, diagonal=self.settled_diagonal)
        return super(StreamingIdbla, settled).rescore(
            state, max_sweeps=max_sweeps, tolerance=tolerance
        )

    def settle_anew(
        self, state: VbState, *, max_sweeps: int = 1000, tolerance: float = 1e-6
    ) -> tuple[int, float]:
        settled = replace(self, diagonal=self.settled_diagonal)
        return super(StreamingIdbla, settled).settle_anew(
            state, max_sweeps=max_sweeps, tolerance=tolerance
        )

    def _start(self, state: VbState, touched: Touched) -> tuple[np.ndarray, np.ndarray]:
        tau, weight = super()._start(state, touched)
        seen = state.unit.live[touched.item][touched.owner] > 0
        kept = state.weight.live[touched.vote]
        easiness = self.easy / (self.easy + self.hard)
        # A vote that has come since the item was settled has neither weight.
        fresh = kept.sum(axis=1) + state.missed.live[touched.vote] == 0
        return tau, np.where((seen & ~fresh)[:, None], kept, easiness * weight)

    def _kernel(
        self,
        state: VbState,
        touched: Touched,
        base: np.ndarray,
        prior: np.ndarray,
        tau: np.ndarray,
        weight: np.ndarray,
        max_sweeps: int,
        tolerance: float,
    ) -> tuple[int, float]:
        guess = np.maximum(state.guessed.live * state.scale, 0) + self.guess_count
        return settle_difficulty(
            touched.offsets, touched.row, touched.label, touched.gold, base, prior, tau, weight,
            max_sweeps, tolerance, guess, np.array([self.easy, self.hard]),
        )  # fmt: skip

    def _predictor(self, state: VbState, alpha: np.ndarray, in_class: np.ndarray) -> Any:
        plain = super()._predictor(state, alpha, in_class)
        guess = np.maximum(state.guessed.live * state.scale, 0) + self.guess_count
        log_guess = digamma(guess) - digamma(guess.sum())
        beta = np.array([self.easy, self.hard])
        return MixturePredictor(plain.prior, plain.likelihood, np.exp(log_guess), beta)
