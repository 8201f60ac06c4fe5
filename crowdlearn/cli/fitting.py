"""Reading votes and fitting them, with a progress bar, and with Ctrl-C as a request to stop."""

from __future__ import annotations

import inspect
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crowdlearn.cli.exits import first_interrupt
from crowdlearn.cli.options import classes_of, columns_of, make_method, source_of
from crowdlearn.cli.progress import fit_bar
from crowdlearn.errors import SettingsError, VotesWarning

if TYPE_CHECKING:
    from crowdlearn.aggregation import Aggregation, Sweep
    from crowdlearn.votes import Votes, VoteSet


def read(paths: list[str], columns: str | None, classes: str | None, drop_missing: bool) -> Votes:
    """The votes that a command was given. Raises VotesError naming file, row and column."""
    from crowdlearn.io import read_votes

    return read_votes(
        source_of(paths),
        columns=columns_of(columns),
        classes=classes_of(classes),
        drop_missing=drop_missing,
    )


def read_known(path: str | None, votes: Votes) -> Any:
    """Class codes of a truth or gold file, or None where none was named."""
    from crowdlearn.io import read_truth

    return None if path is None else read_truth(path, votes)


def fit_or_stop(
    method: Any,
    votes: VoteSet,
    *,
    gold: Any = None,
    resume: str | None = None,
    history: list[str] | None = None,
    discount: float | None = None,
    progress: bool = False,
) -> tuple[Aggregation, bool]:
    """Fit; whether Ctrl-C was pressed meanwhile, after which the fit holds the state so far.

    `resume` names the folder of an earlier result to go on from, `history` folders of results that
    tell of the workers. Raises SettingsError where the method is no sampler, or has no use for a
    history.
    """
    _warn_of_unread_opinions(method, votes)
    earlier: dict[str, Any] = {} if resume is None else {"resume": _earlier(method, resume)}
    if history or discount is not None:
        earlier["history"] = _history(method, history or [], discount)
    pace = votes.n_votes, getattr(method, "tolerance", None)
    with first_interrupt() as asked, fit_bar(progress, *pace) as show:

        def on_sweep(sweep: Sweep) -> bool:
            show(sweep)
            return asked.is_set()

        fit = method.fit(votes, gold=gold, on_sweep=on_sweep, **earlier)
        return fit, asked.is_set()


def _earlier(method: Any, folder: str) -> Aggregation:
    from crowdlearn.io import load_aggregation

    if "resume" not in inspect.signature(method.fit).parameters:
        raise SettingsError(f"--resume: {method.name} draws nothing that could be added to")
    return load_aggregation(folder)


def _history(method: Any, folders: list[str], discount: float | None) -> Any:
    """What earlier results say of the workers, each vote counting `discount` votes."""
    from crowdlearn.aggregators.worker_history import WorkerHistory
    from crowdlearn.io import load_aggregation

    if not folders:
        raise SettingsError("--discount: there is no --history that it could discount")
    if "history" not in inspect.signature(method.fit).parameters:
        raise SettingsError(
            f"--history: {method.name} has no prior of its workers; bcc, bcc-gibbs and dawid-skene "
            "have"
        )
    share = 1.0 if discount is None else discount
    fits = [load_aggregation(folder) for folder in folders]
    return WorkerHistory.joined([WorkerHistory.from_fit(fit, discount=share) for fit in fits])


def _warn_of_unread_opinions(method: Any, votes: VoteSet) -> None:
    """Say that a method reads of soft votes only the most probable class."""
    from crowdlearn.soft_votes import SoftVotes

    if isinstance(votes, SoftVotes) and not getattr(method, "reads_opinions", False):
        warnings.warn(
            f"{method.name} reads only the most probable class of each vote: --method soft reads "
            "the probabilities",
            VotesWarning,
            stacklevel=2,
        )


def fit_or_load(
    paths: list[str],
    method: str | None,
    *,
    settings: list[str] | None,
    seed: int | None,
    columns: str | None,
    classes: str | None,
    drop_missing: bool,
    progress: bool,
) -> tuple[Aggregation, bool]:
    """The saved result where a folder is named, else a fit; whether Ctrl-C was pressed meanwhile.

    Raises SettingsError where a saved result is to be fitted in another way.
    """
    if len(paths) == 1 and Path(paths[0]).is_dir():
        from crowdlearn.io import load_aggregation

        if method or settings or seed is not None:
            raise SettingsError(
                f"{paths[0]}: is a saved result, fitted already: leave out --method, --set and "
                "--seed, or name the votes"
            )
        return load_aggregation(paths[0]), False
    chosen = make_method(method, {"seed": seed}, settings)
    votes = read(paths, columns, classes, drop_missing)
    return fit_or_stop(chosen, votes, progress=progress)


def watched(json: bool, quiet: bool = False) -> bool:
    """Is somebody at a terminal who wants to see progress?"""
    return sys.stderr.isatty() and not json and not quiet
