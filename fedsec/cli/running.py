"""Trainings one after another, watched by a progress bar and stopped by Ctrl-C between rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event

from fedsec.cli.checkpoints import Checkpoints
from fedsec.cli.experiment import Experiment, Run
from fedsec.cli.log_lines import in_place_of_a_bar
from fedsec.errors import UpdateError
from fedsec.federated.simulate import Progress, simulate
from fedsec.federated.task import Task

Show = Callable[[Run, Progress], None]


@dataclass(frozen=True, eq=False)
class Played:
    """What was played: the runs that are done, and the one that Ctrl-C stopped, if any."""

    done: dict[Run, Progress]
    stopped: tuple[Run, Progress] | None = None


def play_all(
    experiment: Experiment, checkpoints: Checkpoints, interrupted: Event, show: Show
) -> Played:
    """Play all runs, or until interrupted.

    Raises UpdateError, which says what was kept, for an update that is not finite.
    """
    done: dict[Run, Progress] = {}
    for seed in experiment.seeds:
        task = experiment.task(seed)
        for name in experiment.selectors:
            run = Run(name, seed)
            progress = _play(run, task, experiment, checkpoints, interrupted, show)
            if len(progress.rounds) == experiment.n_rounds:
                done[run] = progress
            if interrupted.is_set() and len(done) < len(experiment.runs):
                return Played(done, (run, progress))
    return Played(done)


def _play(
    run: Run, task: Task, experiment: Experiment, checkpoints: Checkpoints, interrupted: Event,
    show: Show,
) -> Progress:  # fmt: skip
    progress = checkpoints.start(run, task)
    if len(progress.rounds) == experiment.n_rounds:
        return progress
    federation = experiment.federation_of(run)
    try:
        for now in simulate(task, federation, progress, experiment.n_rounds):
            progress = now
            show(run, progress)
            checkpoints.keep(run, progress)
            if interrupted.is_set():
                break
    except UpdateError as error:
        checkpoints.keep(run, progress, now=True)
        raise UpdateError(f"{error}; {_kept(checkpoints, run, progress)}") from error
    checkpoints.keep(run, progress, now=True)
    return progress


@contextmanager
def progress_bar(experiment: Experiment, json: bool) -> Iterator[Show]:
    """A function to be called after every round, which shows on stderr how far the run is.

    A bar on a terminal, a line now and then in a log, nothing beside JSON.
    """
    tell = in_place_of_a_bar(json)
    if tell is not None:
        yield lambda run, progress: tell(
            f"{run}: {len(progress.rounds)} of {experiment.n_rounds} rounds; {_found(progress)}"
            .rstrip("; ")
        )  # fmt: skip
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import (
        Progress as Bar,
    )

    bar = Bar(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("rounds"),
        TextColumn("{task.fields[found]}"), TimeElapsedColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    runs = experiment.runs
    task = bar.add_task("", total=experiment.n_rounds, found="", start=False)
    shown: list[Run] = []

    def show(run: Run, progress: Progress) -> None:
        if shown != [run]:
            shown[:] = [run]
            of = f" ({runs.index(run) + 1} of {len(runs)})" if len(runs) > 1 else ""
            bar.reset(task, description=f"{run}{of}", found="")
        bar.update(task, completed=len(progress.rounds))
        if found := _found(progress):
            bar.update(task, found=found)

    with bar:
        yield show


def _found(progress: Progress) -> str:
    """The accuracy, where the last round was evaluated."""
    accuracy = progress.rounds[-1].accuracy
    return "" if accuracy != accuracy else f"accuracy {accuracy:.1%}"


def _kept(checkpoints: Checkpoints, run: Run, progress: Progress) -> str:
    if not progress.rounds or checkpoints.folder is None:
        return "--skip-bad-updates leaves such an update out"
    return (
        f"{checkpoints.folder} has the {len(progress.rounds)} rounds before it: go on with"
        " --resume --skip-bad-updates"
    )
