"""A training in which every round is a game, and what each client contributed to it in all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from threading import Event
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from fedsec.cli.experiment import Experiment, Run
from fedsec.cli.running import Show
from fedsec.core.functional import state_of
from fedsec.core.rng import stream
from fedsec.federated.contribution import (
    OVER_ROUNDS,
    Contribution,
    Method,
    PlayedRound,
    RoundGame,
    client_fairness,
    contribution_method,
    data_share,
    relative_contribution,
)
from fedsec.federated.contribution.result import half_width
from fedsec.federated.rounds import Round
from fedsec.federated.simulate import Progress, begin, simulate, view_of

EVERYBODY_FIRST = ("comfedsv", "comfedsv-sampled")  # need a round with all clients


@dataclass(frozen=True, eq=False)
class Credited:
    """What came out of one training.

    total      one value for each client of the federation, over all rounds
    rounds     that each client took part in
    fairness   1 - |share of the credit - share of the data|, mean over the rounds that a client
               took part in; NaN for who never did
    overall    the same over all rounds and clients
    stopped    by Ctrl-C, so that the rounds are fewer than asked for
    """

    progress: Progress
    samples: Int[np.ndarray, " client"]
    total: Contribution
    rounds: Int[np.ndarray, " client"]
    fairness: Float[np.ndarray, " client"]
    overall: float
    stopped: bool


@dataclass(frozen=True, eq=False)
class Summary:
    """What came out of all trainings: means over them, and how sure the values are at 95 %.

    With one training `interval` and `standard_error` are the method's, about what it draws, and
    `is_sure` says that it draws nothing. With several they are of the mean, by Student's t.
    """

    samples: Int[np.ndarray, " client"]
    values: Float[np.ndarray, " client"]
    standard_error: Float[np.ndarray, " client"]
    interval: Float[np.ndarray, "client 2"]
    rounds: Float[np.ndarray, " client"]
    fairness: Float[np.ndarray, " client"]
    is_sure: bool


@dataclass(frozen=True, eq=False)
class Once:
    """A method that values each round's game once, whoever asks: the selector, then the sum."""

    name: ClassVar[str] = "once"
    by: Method
    latest: list[tuple[RoundGame, Contribution]] = field(default_factory=list, repr=False)

    def __call__(self, game: RoundGame, rng: np.random.Generator) -> Contribution:
        """What the method says of the game; games before the latest are forgotten."""
        if not self.latest or self.latest[0][0] is not game:
            self.latest[:] = [(game, self.by(game, rng))]
        return self.latest[0][1]


def over_rounds_of(name: str, within: Method) -> Any:
    """The method over rounds of this name; `within` values the rounds where it takes one."""
    takes_one = "within" in {one.name for one in fields(OVER_ROUNDS[name])}
    return contribution_method(name, **({"within": within} if takes_one else {}))


def credit_all(
    experiment: Experiment, over_rounds: str, interrupted: Event, show: Show
) -> dict[Run, Credited]:
    """All trainings, with the same clients in each; those that are whole where interrupted.

    An interrupted one counts only where there is no other.
    """
    found: dict[Run, Credited] = {}
    for run in experiment.runs:
        one = credit(experiment, run, over_rounds, interrupted, show)
        if not one.stopped or not found:
            found[run] = one
        if interrupted.is_set():
            break
    return found


def credit(
    experiment: Experiment, run: Run, over_rounds: str, interrupted: Event, show: Show
) -> Credited:
    """Train, and divide what was gained among the clients.

    Raises what training raises, and SettingsError where a method cannot value a round.
    """
    task = experiment.task(run.seed, clients=experiment.seeds[0])
    settings = experiment.federation_of(run)
    assert settings.contribution is not None
    once = Once(settings.contribution)  # type: ignore[arg-type]
    federation = replace(settings, contribution=once)
    progress = begin(task, federation, state_of(task.net))
    legs = [(federation, experiment.n_rounds)]
    if over_rounds in EVERYBODY_FIRST:
        legs.insert(0, (replace(federation, per_round=task.n_clients), 1))
    fair: list[np.ndarray] = []  # a row a round, NaN for who sent nothing

    def rounds() -> Iterator[PlayedRound]:
        nonlocal progress
        for how, n_rounds in legs:
            for now in simulate(task, how, progress, n_rounds):
                progress = now
                show(run, progress)
                sent, n = _sent(progress.rounds[-1])
                if len(sent):
                    game, found = once.latest[0]
                    fair.append(np.full(task.n_clients, np.nan))
                    shares = relative_contribution(found.values)
                    fair[-1][sent] = client_fairness(shares, data_share(n))
                    yield PlayedRound(game, sent)
                if interrupted.is_set():
                    return

    rng = stream(run.seed, "over rounds")
    total = over_rounds_of(over_rounds, once)(rounds(), task.n_clients, rng)
    return Credited(
        progress=progress,
        samples=task.counts().sum(axis=1),
        total=total,
        rounds=view_of(task, federation, progress).times_chosen(),
        fairness=_mean_known(np.stack(fair)) if fair else np.full(task.n_clients, np.nan),
        overall=float(np.nanmean(fair)) if fair else float("nan"),
        stopped=len(progress.rounds) < experiment.n_rounds,
    )


def summary_of(found: Sequence[Credited]) -> Summary:
    """The trainings together."""
    values = np.stack([one.total.values for one in found])
    if len(found) == 1:
        error, interval = found[0].total.standard_error, found[0].total.interval
    else:
        error = values.std(axis=0, ddof=1) / np.sqrt(len(found))
        width = half_width(error, np.full(values.shape[1], len(found) - 1.0))
        interval = np.stack([values.mean(axis=0) - width, values.mean(axis=0) + width], axis=1)
    return Summary(
        samples=found[0].samples,
        values=values.mean(axis=0),
        standard_error=error,
        interval=interval,
        rounds=np.mean([one.rounds for one in found], axis=0),
        fairness=_mean_known(np.stack([one.fairness for one in found])),
        is_sure=len(found) == 1 and found[0].total.n_permutations == 0,
    )


def _sent(one: Round) -> tuple[Int[np.ndarray, " player"], Int[np.ndarray, " player"]]:
    """The clients whose updates were used, and their numbers of samples."""
    used = ~np.isin(one.chosen, one.refused)
    return one.chosen[used], one.n[used]


def _mean_known(rows: Float[np.ndarray, "row client"]) -> Float[np.ndarray, " client"]:
    """Of each column, without NaN; NaN where there is nothing else."""
    known = np.isfinite(rows)
    total = np.where(known, rows, 0.0).sum(axis=0)
    found = np.full(rows.shape[1], np.nan)
    return np.divide(total, known.sum(axis=0), out=found, where=known.any(axis=0))
