"""Gibbs chains: run side by side, stopped together, resumed exactly, added up as they go.

A story supplies a chain: something that can sweep and that knows its state. Randomness is drawn
from streams named by (seed, chain, sweep, purpose), so a chain that was saved after 300 sweeps and
resumed draws what it would have drawn. Nothing grows with the number of draws but the small
summaries in `Draws`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from crowdlearn.aggregation import Draws, History, OnSweep, Sweep
from crowdlearn.inference.diagnostics import diagnose
from crowdlearn.sweeps.items import first_truths as first_truths
from crowdlearn.sweeps.pool import Pool
from crowdlearn.votes import VoteSet

DRAW_ENTRIES = 1 << 24  # float32 entries that the kept diagonals may take, all chains together
THREADED_WORK = 1 << 19  # votes x classes; below, chains on threads only wait for each other
ENOUGH_RHAT = 1.01  # as Vehtari et al. (2021) recommend
ENOUGH_ESS = 100  # per chain

Streams = Callable[[int], np.random.Generator]
"""Purpose (0 parameters, 1 truths, 2 causes) -> the generator of this sweep."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """The parameters of one sweep."""

    prior: Float[np.ndarray, " class"]
    table: Float[np.ndarray, " cell"]  # flat (worker, label, class)
    log_density: float  # log likelihood of the votes given the parameters, truths summed out
    extras: dict[str, Any] = field(default_factory=dict)  # further parameters to average


@runtime_checkable
class Chain(Protocol):
    def sweep(self, streams: Streams, tally: Any, keep: bool) -> Drawn:
        """Draw parameters, then truths; with `keep` add the truths' posterior to `tally`."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """What the next sweep depends on."""
        ...


@dataclass(eq=False)
class Kept:
    """Sums over the kept draws of one or more chains."""

    n: int
    tally: Any  # (item, class)
    prior: Float[np.ndarray, " class"]
    table: Float[np.ndarray, " cell"]
    accuracy: Float[np.ndarray, " worker"]
    accuracy_squared: Float[np.ndarray, " worker"]
    extras: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def nothing(cls, votes: VoteSet, tally: Any = None) -> Kept:
        n_cells = votes.n_workers * votes.n_classes**2
        return cls(
            n=0,
            tally=np.zeros((votes.n_items, votes.n_classes)) if tally is None else tally,
            prior=np.zeros(votes.n_classes),
            table=np.zeros(n_cells),
            accuracy=np.zeros(votes.n_workers),
            accuracy_squared=np.zeros(votes.n_workers),
        )

    def add(self, drawn: Drawn, accuracy: Float[np.ndarray, " worker"]) -> None:
        self.n += 1
        self.prior += drawn.prior
        self.table += drawn.table
        self.accuracy += accuracy
        self.accuracy_squared += accuracy**2
        for name, value in drawn.extras.items():
            self.extras[name] = self.extras.get(name, 0.0) + value

    def merge(self, other: Kept) -> None:
        self.n += other.n
        for name in ("tally", "prior", "table", "accuracy", "accuracy_squared"):
            setattr(self, name, operator.iadd(getattr(self, name), getattr(other, name)))
        for name, value in other.extras.items():
            self.extras[name] = self.extras.get(name, 0.0) + value

    def to_arrays(self) -> dict[str, np.ndarray]:
        names = ("n", "tally", "prior", "table", "accuracy", "accuracy_squared")
        return {f"kept_{n}": np.asarray(getattr(self, n)) for n in names} | {
            f"kept_extra_{name}": value for name, value in self.extras.items()
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Kept:
        plain = {k[5:]: v for k, v in arrays.items() if k[:5] == "kept_" and k[5:11] != "extra_"}
        extras = {k[11:]: v.copy() for k, v in arrays.items() if k.startswith("kept_extra_")}
        return cls(n=int(plain.pop("n")), extras=extras, **{k: v.copy() for k, v in plain.items()})


@dataclass(frozen=True, eq=False)
class Run:
    """All chains, added up."""

    kept: Kept
    draws: Draws
    history: History
    sampler: dict[str, np.ndarray]  # resumes the run
    problems: tuple[str, ...]  # what `mixing_problems` found; not looked for if stopped


def run_chains(
    chains: Sequence[Chain],
    votes: VoteSet,
    *,
    seed: int,
    n_warmup: int,
    n_draws: int,
    n_threads: int,
    on_sweep: OnSweep | None,
    before: tuple[dict[str, np.ndarray], Draws, History] | None = None,
    tally: Callable[[], Any] | None = None,
) -> Run:
    """Sweep every chain `n_warmup + n_draws` times, keeping the last `n_draws`.

    The chains go in step. `on_sweep` hears of the first, and returning True stops all after this
    sweep (in the warm-up, after one kept draw). With `before` (sampler, draws and history of an
    earlier run, to whose state the chains were set) there is no warm-up and the new draws are
    added. `tally` makes zeros for each item and class, where these are not here; such a run cannot
    be gone on with.
    """
    done = int(before[0]["n_sweeps"]) if before else 0
    n_warmup = 0 if before else n_warmup
    earlier = before[1].prior.shape[1] if before else 0
    n_kept = len(chains) * (earlier + n_draws)
    tracked = before[1].tracked if before else tracked_workers(votes, n_kept)
    zeros = tally or (lambda: None)
    recorders = [_Recorder.of(votes, tracked, n_draws, zeros()) for _ in chains]
    large = votes.n_votes * votes.n_classes >= THREADED_WORK
    pool = Pool(n_threads if large and tally is None else 1)
    bound: list[float] = []
    stopped = False

    def one(index: int, number: int, keep: bool) -> float:
        streams = sweep_streams(seed, index, done + number)
        drawn = chains[index].sweep(streams, recorders[index].kept.tally, keep)
        if keep:
            recorders[index].record(drawn)
        return drawn.log_density

    for number in range(n_warmup + n_draws):
        keep = number >= n_warmup or stopped
        bound.append(pool.run(one, [(index, number, keep) for index in range(len(chains))])[0])
        if on_sweep is not None and not stopped:
            at = Sweep(number + 1, n_warmup + n_draws, math.nan, bound[-1])
            stopped = bool(on_sweep(at))
        if stopped and keep:
            break
    draws = _stacked(recorders, tracked)
    kept = Kept.from_arrays(before[0]) if before else Kept.nothing(votes, zeros())
    for recorder in recorders:
        kept.merge(recorder.kept)
    if before:
        draws = _joined(before[1], draws)
        bound = [*before[2].bound, *bound]
    sampler = {} if tally is not None else _state(chains, kept, len(bound))
    problems = () if stopped else mixing_problems(draws)
    history = History(
        bound=np.array(bound),
        change=np.full(len(bound), math.nan),
        bound_name="log likelihood",
        converged=not (stopped or problems),
        stopped=stopped,
    )
    return Run(kept, draws, history, sampler, problems)


def _state(chains: Sequence[Chain], kept: Kept, n_sweeps: int) -> dict[str, np.ndarray]:
    """What resuming needs."""
    states = [chain.state() for chain in chains]
    sampler = {name: np.stack([state[name] for state in states]) for name in states[0]}
    return sampler | kept.to_arrays() | {"n_sweeps": np.array(n_sweeps)}


@dataclass(eq=False)
class _Recorder:
    """What one chain leaves behind as it goes."""

    kept: Kept
    tracked: Int[np.ndarray, " tracked"]
    diagonal: Float[np.ndarray, "draw tracked class"]
    prior: Float[np.ndarray, "draw class"]
    log_density: Float[np.ndarray, " draw"]

    @classmethod
    def of(
        cls, votes: VoteSet, tracked: Int[np.ndarray, " tracked"], n_draws: int, tally: Any = None
    ) -> _Recorder:
        return cls(
            kept=Kept.nothing(votes, tally),
            tracked=tracked,
            diagonal=np.empty((n_draws, len(tracked), votes.n_classes), dtype=np.float32),
            prior=np.empty((n_draws, votes.n_classes)),
            log_density=np.empty(n_draws),
        )

    def record(self, drawn: Drawn) -> None:
        n_classes = len(drawn.prior)
        diagonal = np.einsum("wkk->wk", drawn.table.reshape(-1, n_classes, n_classes))
        at = self.kept.n
        self.diagonal[at] = diagonal[self.tracked]
        self.prior[at] = drawn.prior
        self.log_density[at] = drawn.log_density
        self.kept.add(drawn, diagonal @ drawn.prior)


def _stacked(recorders: Sequence[_Recorder], tracked: Int[np.ndarray, " tracked"]) -> Draws:
    """The draws of all chains, which kept equally many."""
    n = recorders[0].kept.n
    return Draws(
        log_density=np.stack([r.log_density[:n] for r in recorders]),
        prior=np.stack([r.prior[:n] for r in recorders]),
        diagonal=np.stack([r.diagonal[:n] for r in recorders]),
        tracked=tracked,
    )


def sweep_streams(seed: int, chain: int, sweep: int) -> Streams:
    """The generators of one sweep of one chain."""
    return lambda purpose: np.random.default_rng([seed, chain, sweep, purpose])


def tracked_workers(votes: VoteSet, n_draws: int) -> Int[np.ndarray, " tracked"]:
    """The workers whose diagonals are kept: all, or the busiest that fit."""
    most = max(DRAW_ENTRIES // max(n_draws * votes.n_classes, 1), 1)
    if votes.n_workers <= most:
        return np.arange(votes.n_workers)
    return np.sort(np.argsort(-votes.votes_per_worker, kind="stable")[:most])


def _joined(first: Draws, second: Draws) -> Draws:
    return Draws(
        log_density=np.concatenate([first.log_density, second.log_density], axis=1),
        prior=np.concatenate([first.prior, second.prior], axis=1),
        diagonal=np.concatenate([first.diagonal, second.diagonal], axis=1),
        tracked=first.tracked,
    )


def mixing_problems(draws: Draws) -> tuple[str, ...]:
    """What is wrong with the chains, in words that say what would do; empty if nothing is."""
    n_chains, n_draws = draws.log_density.shape
    values = np.concatenate(
        [
            draws.log_density[:, :, None],
            draws.prior,
            draws.diagonal.reshape(n_chains, n_draws, -1),
        ],
        axis=2,
    )
    rhats, *sizes = diagnose(values)
    worst, least = float(np.max(rhats)), float(np.min(sizes))
    if math.isnan(worst):
        return (
            f"{n_draws} draws a chain are too few to tell whether the chains mixed: at least 4",
        )
    problems = []
    if worst > ENOUGH_RHAT:
        problems.append(
            f"chains disagree (largest R-hat {worst:.3f}, wanted below {ENOUGH_RHAT}): "
            "raise n_warmup and n_draws, or resume this fit"
        )
    if least < ENOUGH_ESS * n_chains:
        problems.append(
            f"few independent draws (smallest effective sample size {least:.0f}, wanted "
            f"{ENOUGH_ESS * n_chains}): raise n_draws, or resume this fit"
        )
    return tuple(problems)
