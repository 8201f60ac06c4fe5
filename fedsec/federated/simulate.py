"""Federated training on one machine, as a fold over rounds.

`begin` gives the start, `play` one more round, `simulate` all of them. A `Federation` (the
settings) and the `Progress` so far are all that a round depends on: a run that is saved and resumed
is bit-equal to one that was never interrupted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int

from fedsec.core.functional import State
from fedsec.core.record import Update, all_finite
from fedsec.core.rng import stream, torch_stream
from fedsec.errors import SettingsError, UpdateError
from fedsec.federated.aggregate import Weighting, apply_updates, by_samples
from fedsec.federated.contribution import Contribution, RoundGame, negative_loss, round_game
from fedsec.federated.engines import Engine, Local, Trained, engine_for
from fedsec.federated.local import LocalTraining, Plan, server_rate
from fedsec.federated.loss import CrossEntropy
from fedsec.federated.privacy import Defence, apply_defences
from fedsec.federated.rounds import Probe, Round, Selector, View, checked_choice
from fedsec.federated.selectors import RandomSelector
from fedsec.federated.task import Task

Observer = Callable[[State, Sequence[Update]], None]
"""Sees what an honest but curious server sees: the model sent out, and every update."""


@dataclass(frozen=True, kw_only=True)
class Federation:
    """How a federation trains.

    per_round         clients chosen in a round, K
    local             what they do
    selector          who is chosen
    weighting         of the updates in the mean
    defences          applied by each client to its update, in this order
    contribution      measures what each chosen client contributed, on `task.valued_on`
    engine            how the clients are trained; None takes the faster one
    evaluate_every    rounds between evaluations; the last round of a run is always evaluated
    skip_bad_updates  leave an update that is not finite out, and go on
    seed              of every stream of randomness
    """

    per_round: int
    local: Local = field(default_factory=LocalTraining)
    selector: Selector = field(default_factory=RandomSelector)
    weighting: Weighting = by_samples
    defences: tuple[Defence, ...] = ()
    contribution: Callable[[RoundGame, np.random.Generator], Contribution] | None = None
    engine: Engine | None = None
    evaluate_every: int = 1
    skip_bad_updates: bool = False
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Progress:
    """The global model after the rounds so far."""

    state: State
    rounds: tuple[Round, ...] = ()


def begin(task: Task, federation: Federation, state: State) -> Progress:
    """The start of a run. Raises SettingsError where settings do not fit the task."""
    if not 1 <= federation.per_round <= task.n_clients:
        raise SettingsError(
            f"{federation.per_round} clients a round of {task.n_clients}: choose 1 to"
            f" {task.n_clients}"
        )
    if not isinstance(task.loss, CrossEntropy):
        _refuse_classifiers_own(federation)
    if federation.evaluate_every < 1:
        raise SettingsError(f"evaluate_every = {federation.evaluate_every}: give at least 1")
    if getattr(federation.selector, "needs_contribution", False) and not federation.contribution:
        raise SettingsError(
            f"{type(federation.selector).__name__} selects by contribution: say how to measure it"
        )
    return Progress(state.to(task.train.x.device))


def _refuse_classifiers_own(federation: Federation) -> None:
    """Raises SettingsError for what is made for cross-entropy, where a task has another loss."""
    if federation.engine is not None:
        raise SettingsError(
            "an engine of one's own descends cross-entropy, and the task has another loss: leave"
            " engine out"
        )
    if federation.contribution is not None:
        raise SettingsError(
            "contributions are measured here by cross-entropy, and the task has another loss:"
            " leave contribution out"
        )


def simulate(
    task: Task,
    federation: Federation,
    progress: Progress,
    n_rounds: int,
    *,
    observe: Observer | None = None,
) -> Iterator[Progress]:
    """Play until `n_rounds` rounds are played in all; gives the progress after each round."""
    for number in range(len(progress.rounds) + 1, n_rounds + 1):
        last = number == n_rounds
        progress = play(task, federation, progress, observe=observe, evaluated=last or None)
        yield progress


def play(
    task: Task,
    federation: Federation,
    progress: Progress,
    *,
    observe: Observer | None = None,
    evaluated: bool | None = None,
) -> Progress:
    """One more round.

    Raises UpdateError, which names client and round, for an update that is not finite (unless
    `skip_bad_updates`), and SettingsError for a choice that is none.
    """
    number = len(progress.rounds) + 1
    phases: dict[str, float] = {}
    view = view_of(task, federation, progress)
    with _timed(phases, "select"):
        chosen, probed = _choose(task, federation, progress, view)
    with _timed(phases, "train"):
        trained = _train(task, federation, progress, chosen, view.times_chosen())
        updates, refused = _received(trained, federation)
    with _timed(phases, "aggregate"):
        state, updates, refused = _aggregated(progress.state, updates, refused, federation, number)
    if observe is not None:
        observe(progress.state, updates)
    with _timed(phases, "contribute"):
        values = _contributions(task, federation, progress, updates, chosen)
    accuracy, recall = float("nan"), None
    if evaluated or (evaluated is None and number % federation.evaluate_every == 0):
        with _timed(phases, "evaluate"):
            found = task.loss.evaluate(task.net, state, task.test)
            accuracy, recall = found.accuracy, found.recall if len(found.recall) else None
    this = Round(
        number=number, chosen=chosen, contribution=values, probed=probed, refused=refused,
        n=np.array([one.update.n for one in trained]),
        loss=np.array([one.loss for one in trained]),
        loss_rms=np.array([one.loss_rms for one in trained]),
        seconds=np.array([one.seconds for one in trained]),
        accuracy=accuracy, recall=recall, phases=phases,
    )  # fmt: skip
    return Progress(state, (*progress.rounds, this))


def view_of(task: Task, federation: Federation, progress: Progress) -> View:
    """What the selector may see before the next round; nothing is probed yet."""
    return View(
        number=len(progress.rounds) + 1, per_round=federation.per_round, counts=task.counts(),
        rounds=progress.rounds,
    )  # fmt: skip


def _choose(
    task: Task, federation: Federation, progress: Progress, view: View
) -> tuple[Int[np.ndarray, " chosen"], dict[int, Probe]]:
    probed: dict[int, Probe] = {}

    def probe(ids: Int[np.ndarray, " some"]) -> list[Probe]:
        for client in map(int, ids):
            if client not in probed:
                mine = task.train.subset(task.parts[client])
                found = task.loss.evaluate(task.net, progress.state, mine)
                probed[client] = Probe(found.loss, found.accuracy)
        return [probed[int(client)] for client in ids]

    view = replace(view, probe=probe)
    rng = stream(federation.seed, "select", view.number)
    return checked_choice(federation.selector(view, rng), view), probed


def _train(
    task: Task,
    federation: Federation,
    progress: Progress,
    chosen: Int[np.ndarray, " chosen"],
    times: Int[np.ndarray, " client"],
) -> list[Trained]:
    number = len(progress.rounds) + 1
    plans = [
        Plan(federation.local, task.parts[k], federation.seed, number, k, int(times[k]))
        for k in chosen.tolist()
    ]
    engine = federation.engine or engine_for(task.net, task.loss)
    return engine(task.net, progress.state, task.train, plans, federation.local, number)


def _received(
    trained: Sequence[Trained], federation: Federation
) -> tuple[list[Update], tuple[int, ...]]:
    """The updates that arrive, after the clients' defences; and who was refused.

    Defences may hide an entry that is not finite, so updates are looked at before. Without
    defences their mean tells, which is quicker (`_aggregated`).
    """
    arrived = [one.update for one in trained]
    if not federation.defences:
        return arrived, ()
    sent, refused = _finite(arrived, federation)
    updates = []
    for update in sent:
        generator = torch_stream(
            federation.seed, "defence", update.round, update.client, _device(update)
        )
        updates.append(apply_defences(update, federation.defences, generator))
    return updates, refused


def _aggregated(
    state: State, updates: list[Update], refused: tuple[int, ...], federation: Federation,
    number: int,
) -> tuple[State, list[Update], tuple[int, ...]]:  # fmt: skip
    """The next model, the updates it is made of, and who was refused.

    An entry that is not finite in one update is not finite in their mean: only then each is asked.
    """
    lr = server_rate(federation.local, number)
    found = apply_updates(state, updates, federation.weighting, lr)
    if all_finite([*found.parameters.values(), *found.buffers.values()]):
        return found, updates, refused
    kept, more = _finite(updates, federation)
    if more:
        found = apply_updates(state, kept, federation.weighting, lr)
    return found, kept, refused + more


def _finite(
    updates: Sequence[Update], federation: Federation
) -> tuple[list[Update], tuple[int, ...]]:
    """The updates that are finite, and whose are not; one that is not raises UpdateError unless
    `skip_bad_updates`."""
    kept, refused = [], []
    for one in updates:
        try:
            kept.append(one.checked())
        except UpdateError:
            if not federation.skip_bad_updates:
                raise
            refused.append(one.client)
    return kept, tuple(refused)


def _device(update: Update) -> torch.device:
    return next(iter(update.tensors.values())).device


def _contributions(
    task: Task, federation: Federation, progress: Progress, updates: Sequence[Update],
    chosen: Int[np.ndarray, " chosen"],
) -> Float[np.ndarray, " chosen"] | None:  # fmt: skip
    if federation.contribution is None:
        return None
    values = np.zeros(len(chosen))
    if updates:
        utility = negative_loss(task.net, task.valued_on)
        game = round_game(progress.state, updates, utility, federation.weighting)
        rng = stream(federation.seed, "contribution", len(progress.rounds) + 1)
        found = dict(
            zip(
                (one.client for one in updates),
                federation.contribution(game, rng).values,
                strict=True,
            )
        )
        values = np.array([found.get(int(client), 0.0) for client in chosen])
    return values


@contextmanager
def _timed(phases: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    phases[name] = time.perf_counter() - started
