"""MACE: a vote is the truth, or its worker is spamming and says whatever they like to say.

Story       truth[i] ~ Uniform over the classes
            honesty[w] ~ Beta(honest, spam)
            guess[w] ~ Dirichlet(guess_count, ...)              what w says when spamming
            spams[v] ~ Bernoulli(1 - honesty[worker[v]])
            label[v] = truth[item[v]] unless spams[v], else ~ Categorical(guess[worker[v]])
Inference   Variational Bayes with truths and spamming kept joint: the sum over both is exact, so
            a sweep is one pass over the votes. The evidence lower bound never falls. One start from
            the vote shares, the others random; the one with the best bound is kept.
Paper       Hovy, Berg-Kirkpatrick, Vaswani and Hovy (2013), Learning whom to trust with MACE,
            NAACL-HLT, with its priors (Beta 1/2, Dirichlet 10) and ten restarts.
Departures  The first start is the vote shares, where all of the paper's are random; sweeps go on
            until nothing moves, where the paper takes 50 (`max_sweeps=50`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from scipy.special import digamma, gammaln

from crowdlearn.aggregation import Aggregation, History, Interval, OnSweep, Sweep
from crowdlearn.aggregators.outcome import beta_interval, by_truth, clamped, conclude
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.gold import gold_codes
from crowdlearn.inference.starts import Start, soft_majority
from crowdlearn.inference.sweeping import sweep_until_still
from crowdlearn.predictors import ProductPredictor
from crowdlearn.sweeps import Sums, sweeper
from crowdlearn.votes import Votes

START_NOISE = 0.5  # by how much a random start may raise a count of one, as in the authors' program


@dataclass(frozen=True, kw_only=True)
class Mace:
    """Settings of MACE by variational Bayes; the restarts draw, so results depend on `seed`."""

    name: ClassVar[str] = "mace"
    random: ClassVar[bool] = True

    honest: float = 0.5
    spam: float = 0.5
    guess_count: float = 10.0
    n_restarts: int = 10
    start: Start = soft_majority
    max_sweeps: int = 1000
    tolerance: float = 1e-6
    seed: int = 0
    device: str = "auto"
    n_threads: int = 0

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(
        self, votes: Votes, *, gold: Any = None, on_sweep: OnSweep | None = None
    ) -> Aggregation:
        """Variational posteriors of honesty, guesses and truths."""
        started = time.perf_counter()
        known = gold_codes(votes, gold)
        home = sweeper(votes, known, device=self.device, n_threads=self.n_threads)
        said = votes_per_label(votes)
        best: _Fit | None = None
        for restart in range(self.n_restarts):
            rng = np.random.default_rng([self.seed, restart])
            if restart == 0:
                first = shared_habits(home, clamped(self.start(votes, rng), known), said)
            else:
                first = random_habits(home, said, rng)
            fit = self._ascend(home, said, first, _within(on_sweep, self, restart))
            if best is None or fit.history.bound[-1] > best.history.bound[-1]:
                best = fit
            if fit.history.stopped:
                break
        assert best is not None
        return self._result(votes, known, best, started)

    def _beta(self) -> Float[np.ndarray, " 2"]:
        return np.array([self.honest, self.spam], dtype=np.float64)

    def _ascend(self, home: Any, said: Any, first: Habits, on_sweep: OnSweep | None) -> _Fit:
        uniform = np.full(home.votes.n_classes, 1 / home.votes.n_classes)
        posterior = home.posterior()

        def step(state: tuple[Habits, Any]) -> tuple[tuple[Habits, Any], float, float]:
            expected, divergence = state[0].expected(self._beta(), self.guess_count)
            table = expected.table().astype(home.dtype)
            sums = home.product(uniform, table, posterior)
            counted = expected.counted(sums, said)
            return (counted, table), sums.bound - divergence, sums.change

        first_state: tuple[Habits, Any] = (first, None)
        (counted, table), history = sweep_until_still(
            step,
            first_state,
            max_sweeps=self.max_sweeps,
            tolerance=self.tolerance,
            bound_name="evidence lower bound",
            on_sweep=on_sweep,
        )
        return _Fit(home.read(posterior), counted, table, history)

    def _result(self, votes: Votes, known: np.ndarray, best: _Fit, started: float) -> Aggregation:
        prior = np.full(votes.n_classes, 1 / votes.n_classes)
        honesty = best.counted.honesty + self._beta()
        guess = best.counted.guess + self.guess_count
        mean = Habits(_shares(honesty), _shares(guess))
        return conclude(
            self,
            votes,
            gold=known,
            posterior=best.posterior,
            prior=prior,
            confusion=by_truth(mean.table(), votes),
            worker_accuracy=accuracy(honesty, guess, prior),
            history=best.history,
            predictor=ProductPredictor(
                prior,
                best.table.reshape(votes.n_workers, votes.n_classes, votes.n_classes),
                np.arange(votes.n_classes),
            ),
            started=started,
        )


@dataclass(frozen=True, eq=False)
class Habits:
    """What the workers do: as probabilities, or as expected counts of their votes."""

    honesty: Float[np.ndarray, "worker 2"]  # honest, spamming
    guess: Float[np.ndarray, "worker label"]  # of the spamming votes

    def table(self) -> Float[np.ndarray, " cell"]:
        """Probability of each label given each truth, flat (worker, label, class)."""
        spam = (self.honesty[:, 1:] * self.guess)[:, :, None]
        honest = self.honesty[:, 0, None, None] * np.eye(self.guess.shape[1])
        return (honest + spam).ravel()

    def counted(self, sums: Sums, said: Float[np.ndarray, "worker label"]) -> Habits:
        """Expected counts of the votes, shared between honesty and spam by these habits."""
        n_workers, n_classes = said.shape
        right = np.einsum("wkk->wk", sums.counts.reshape(n_workers, n_classes, n_classes))
        spam = self.honesty[:, 1:] * self.guess
        honest = right * self.honesty[:, :1] / (self.honesty[:, :1] + spam)
        guess = np.maximum(said - honest, 0)
        return Habits(np.stack([honest.sum(axis=1), guess.sum(axis=1)], axis=1), guess)

    def expected(self, beta: Float[np.ndarray, " 2"], guess_count: float) -> tuple[Habits, float]:
        """exp E ln of the habits with these counts, and their divergence from the prior, nats."""
        honesty, honesty_divergence = _expected_rows(self.honesty, beta)
        guess, divergence = _expected_rows(
            self.guess, np.full(self.guess.shape[1], float(guess_count))
        )
        return Habits(honesty, guess), honesty_divergence + divergence


def votes_per_label(votes: Votes) -> Float[np.ndarray, "worker label"]:
    """How often each worker says each label."""
    cell = votes.worker.astype(np.int64) * votes.n_classes + votes.label
    counts = np.bincount(cell, minlength=votes.n_workers * votes.n_classes)
    return counts.reshape(votes.n_workers, votes.n_classes).astype(np.float64)


def shared_habits(
    home: Any,
    posterior: Float[np.ndarray, "item class"],
    said: Float[np.ndarray, "worker label"],
) -> Habits:
    """Counts where `posterior` is the truth, and everybody is honest half of the time."""
    even = Habits(np.full((len(said), 2), 1 / 2), np.full(said.shape, 1 / said.shape[1]))
    return even.counted(home.counts(home.posterior(posterior)), said)


def random_habits(
    home: Any, said: Float[np.ndarray, "worker label"], rng: np.random.Generator
) -> Habits:
    """Counts after one pass with habits drawn about even ones."""
    honesty = _shares(1 + START_NOISE * rng.random((len(said), 2)))
    guess = _shares(1 + START_NOISE * rng.random(said.shape))
    drawn = Habits(honesty, guess)
    uniform = np.full(said.shape[1], 1 / said.shape[1])
    sums = home.product(uniform, drawn.table().astype(home.dtype), home.posterior())
    return drawn.counted(sums, said)


def accuracy(
    honesty: Float[np.ndarray, "worker 2"],
    guess: Float[np.ndarray, "worker label"],
    prior: Float[np.ndarray, " class"],
) -> Interval:
    """Accuracy of workers with these Beta and Dirichlet parameters.

    1 - accuracy = P(spams) * P(the spam is wrong), independent of each other: mean and variance are
    exact, the interval is the Beta with these moments.
    """
    size, total = honesty.sum(axis=1), guess.sum(axis=1)
    spams = honesty[:, 1] / size
    spams_squared = spams * (honesty[:, 1] + 1) / (size + 1)
    lucky = guess @ prior / total
    lucky_squared = (guess @ prior**2 + (guess @ prior) ** 2) / (total * (total + 1))
    wrong = spams * (1 - lucky)
    wrong_squared = spams_squared * (1 - 2 * lucky + lucky_squared)
    return beta_interval(1 - wrong, np.maximum(wrong_squared - wrong**2, 0))


@dataclass(frozen=True, eq=False)
class _Fit:
    """Where one restart ended."""

    posterior: Float[np.ndarray, "item class"]
    counted: Habits
    table: Float[np.ndarray, " cell"]
    history: History


def _shares(counts: Float[np.ndarray, "row entry"]) -> Float[np.ndarray, "row entry"]:
    return counts / counts.sum(axis=1, keepdims=True)


def _expected_rows(
    counts: Float[np.ndarray, "row entry"], before: Float[np.ndarray, " entry"]
) -> tuple[Float[np.ndarray, "row entry"], float]:
    """exp E ln of rows ~ Dirichlet(before + counts), and the divergence of all from the prior."""
    after = counts + before
    total = after.sum(axis=1)
    logs = digamma(after) - digamma(total)[:, None]
    divergence = (gammaln(total) - gammaln(before.sum())).sum()
    divergence += (gammaln(before) - gammaln(after) + counts * logs).sum()
    return np.exp(logs), float(divergence)


def _within(on_sweep: OnSweep | None, method: Mace, restart: int) -> OnSweep | None:
    """`on_sweep` told of sweeps over all restarts."""
    if on_sweep is None:
        return None
    before, of = restart * method.max_sweeps, method.n_restarts * method.max_sweeps
    return lambda sweep: on_sweep(Sweep(before + sweep.number, of, sweep.change, sweep.bound))
