"""`crowdlearn stream`: votes batch by batch, a line for each, and an expert for what is unsure."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from crowdlearn.cli.exits import INTERRUPTED, first_interrupt, print_json, say
from crowdlearn.cli.options import (
    EXPERT,
    ClassesOption,
    ColumnsOption,
    DropOption,
    ExpertAccuracyOption,
    JsonOption,
    SeedOption,
    SetOption,
    TruthOption,
    VotesArgument,
    classes_of,
    columns_of,
    make_stream,
    source_of,
)
from crowdlearn.errors import SettingsError, VotesError

SAVE_EVERY = 5.0  # seconds
SHOWN = 3  # items of the queue on a line


def stream(
    votes: VotesArgument,
    batch: Annotated[int, typer.Option(min=1, help="Votes a batch.")] = 500,
    method: Annotated[
        str, typer.Option("--method", "-m", help="bcc, idbla, majority, bila or consensus.")
    ] = "bcc",
    state: Annotated[
        str | None,
        typer.Option(
            help="File, or folder, that keeps the stream; it goes on from there where it exists."
        ),
    ] = None,
    truth: TruthOption = None,
    expert: Annotated[
        str | None, typer.Option(help="File with the columns task,label: what an expert knows.")
    ] = None,
    expert_accuracy: ExpertAccuracyOption = None,
    strategy: Annotated[
        str,
        typer.Option(
            help="What comes first in the queue: random, entropy, margin, least-confident, "
            "information, error-reduction."
        ),
    ] = "least-confident",
    ask: Annotated[int, typer.Option(min=0, help="Items the expert answers a batch.")] = 10,
    target: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Count the items that may stop at this mean error."),
    ] = None,
    audit: Annotated[
        str | None,
        typer.Option(
            help="File with the columns task,label of a random sample of items that an expert has "
            "checked: --target then counts what they vouch for. Never learned from."
        ),
    ] = None,
    rescore: Annotated[
        bool,
        typer.Option(help="Settle all items anew whenever the votes have doubled, and at the end."),
    ] = True,
    columns: ColumnsOption = None,
    classes: ClassesOption = None,
    settings: SetOption = None,
    seed: SeedOption = None,
    drop_missing: DropOption = False,
    json: JsonOption = False,
) -> None:
    """Aggregate votes as they come, in the order of their rows.

    Prints a line for each batch: votes and items so far, the error where truth is given, the items
    that an expert should see next with the probability of their label, and milliseconds. With
    --expert, the most urgent items that the file knows are answered after each batch. Ctrl-C
    ends after the batch; with --state the next call goes on from there.
    """
    from crowdlearn.io import read_batches
    from crowdlearn.online import load_stream, save_stream

    chosen = make_stream(method, seed, settings, expert_accuracy)
    urgency = _strategy(strategy)
    about: dict[str, Any] = {"rows": 0, "rescored_at": 0}
    kept = None if state is None else _file_of(state)
    current: Any = None
    if kept is not None and kept.exists():
        current, about = load_stream(kept, chosen)
        _check_classes(kept, current.classes, classes_of(classes))
    names, parts = read_batches(
        source_of(votes), batch, columns=columns_of(columns), classes=classes_of(classes),
        drop_missing=drop_missing, skip=about["rows"],
    )  # fmt: skip
    current = chosen.init(names) if current is None else current
    truths, answers = _labels(truth, names), _labels(expert, names)
    checked = None if audit is None else _labels(audit, names)
    if checked is not None and target is None:
        raise SettingsError("--audit needs --target, the mean error it should vouch for")
    saved = time.monotonic()
    with first_interrupt() as interrupted:
        for part in parts:
            started = time.perf_counter()
            current, _ = chosen.update(current, part)
            current = _answer(chosen, current, answers, ask, urgency)
            about["rows"] += part.n_votes
            if rescore and current.n_votes >= 2 * max(about["rescored_at"], batch):
                current, _ = chosen.rescore(current)
                about["rescored_at"] = current.n_votes
            row = _line(chosen, current, truths, urgency, target, checked)
            _tell(row, 1000 * (time.perf_counter() - started), json)
            if kept is not None and time.monotonic() - saved > SAVE_EVERY:
                save_stream(kept, chosen, current, **about)
                saved = time.monotonic()
            if interrupted.is_set():
                break
    if kept is not None:
        save_stream(kept, chosen, current, **about)
    if interrupted.is_set():
        where = f"; the stream is kept in {state}" if state else ""
        say(f"interrupted after {about['rows']:,} votes{where}", "yellow")
        raise typer.Exit(INTERRUPTED)
    _end(chosen, current, truths, rescore, json)
    for path, known in ((expert, answers), (audit, checked or {})):
        _tell_unknown(path, known, current.items)


def _file_of(state: str) -> Path:
    """The file that keeps the stream: `state` itself, or a file in it where it is a folder."""
    path = Path(state)
    return path / "stream.npz" if state.endswith("/") or path.is_dir() else path


def _check_classes(kept: Path, have: Sequence[str], named: Sequence[str] | None) -> None:
    """Raises VotesError where the classes named are not those that the kept stream began with."""
    if named is not None and list(have[: len(named)]) != list(named):
        raise VotesError(
            f"{kept}: has the classes {', '.join(have)}, not {', '.join(named)}: give the same "
            "classes, or start anew in another place"
        )


def _tell_unknown(path: str | None, known: Mapping[str, str], items: Sequence[str]) -> None:
    """A warning where a file has labels of items that never came."""
    came = set(items)
    missing = [name for name in known if name not in came]
    if missing:
        say(f"{path}: {len(missing):,} items had no votes, the first {missing[0]!r}", "yellow")


def _labels(path: str | None, classes: list[str]) -> dict[str, str]:
    """Item -> label of a file. Raises VotesError for an unknown class or two labels of an item."""
    if path is None:
        return {}
    from crowdlearn.io import read_labels

    return read_labels(path, classes)


def _strategy(name: str) -> Any:
    from crowdlearn.experts import STRATEGIES

    if name not in STRATEGIES:
        raise SettingsError(f"--strategy {name}: choose from {', '.join(STRATEGIES)}")
    return STRATEGIES[name]


def _answer(method: Any, state: Any, answers: Mapping[str, str], ask: int, urgency: Any) -> Any:
    """The expert answers the most urgent of the items it knows and has not answered."""
    if not (answers and ask):
        return state
    from crowdlearn.experts import votes_of
    from crowdlearn.online.queue import queue

    open_items = [i for i in queue(method, state, urgency) if state.items[i] in answers][:ask]
    known = {state.items[i]: answers[state.items[i]] for i in open_items}
    if not known:
        return state
    if EXPERT in getattr(method, "experts", {}):
        return method.update(state, votes_of(EXPERT, known, state.classes))[0]
    return method.update(state, None, known)[0]


def _line(
    method: Any,
    state: Any,
    truths: Mapping[str, str],
    urgency: Any,
    target: float | None,
    audit: Mapping[str, str] | None,
) -> dict[str, Any]:
    """What a batch's line says, milliseconds apart."""
    from crowdlearn.online.queue import answered, error_so_far, n_done, queue

    head = queue(method, state, urgency)[:SHOWN]
    done = {} if target is None else {"done": n_done(state, target, audit)}
    return {
        "votes": state.n_votes,
        "items": len(state.items),
        "answered": int(answered(method, state).sum()),
        **done,
        "error": error_so_far(state, truths),
        "queue": [
            {"task": state.items[i], "confidence": float(state.tau.live[i].max())} for i in head
        ],
    }


def _tell(row: dict[str, Any], milliseconds: float, json: bool) -> None:
    """One line for a batch."""
    if json:
        print_json(row | {"milliseconds": milliseconds})
        return
    error = "" if row["error"] is None else f"  error {row['error']:.1%}"
    answered = f"  answered {row['answered']:,}" if row["answered"] else ""
    done = f"  done {row['done']:,}" if "done" in row else ""
    shown = ", ".join(f"{at['task']} ({at['confidence']:.2f})" for at in row["queue"])
    typer.echo(
        f"votes {row['votes']:,}  items {row['items']:,}{answered}{done}{error}  next {shown}  "
        f"{milliseconds:.0f} ms"
    )


def _end(method: Any, state: Any, truths: Mapping[str, str], rescore: bool, json: bool) -> None:
    """What all votes together say."""
    if not (rescore and state.n_votes):
        return
    fit = method.rescore(state)[1]
    found = _settled(fit, truths)
    if json:
        print_json({"rescored": True, "votes": fit.votes.n_votes, "error": found})
    else:
        said = "" if found is None else f": error {found:.1%}"
        typer.echo(f"all {fit.votes.n_votes:,} votes settled together{said}")


def _settled(fit: Any, truths: Mapping[str, str]) -> float | None:
    """Error of an Aggregation among the items with truth."""
    from crowdlearn.evaluation import error_of_names

    return error_of_names(fit.votes.items.to_pylist(), fit.posterior, fit.votes.classes, truths)
