"""What `aggregate` and `shards fit` share: coded votes to a folder with the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from crowdlearn.cli.exits import INTERRUPTED, print_json, say
from crowdlearn.cli.fitting import fit_or_stop, watched
from crowdlearn.cli.options import classes_of, columns_of, source_of
from crowdlearn.cli.progress import coding_bar
from crowdlearn.errors import SettingsError


def fit_files(
    paths: list[str], method: Any, out: str | None, *, device: str, coded: str | None,
    memory: int | None, actors: int | None, checkpoint: str | None, columns: str | None,
    classes: str | None, drop_missing: bool, gold: str | None, json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Code the votes of files, or take those coded before, then `fit_coded`."""
    from crowdlearn.output import check_folder
    from crowdlearn.shards.kept import coded_votes

    if out is None:
        raise SettingsError(
            "--out: results of coded votes are written, not shown: name a new folder"
        )
    check_folder(out)
    with coding_bar(watched(json, quiet)) as tell:
        found = coded_votes(
            source_of(paths), coded, beside=Path(out).expanduser().resolve().parent,
            columns=columns_of(columns), classes=classes_of(classes), drop_missing=drop_missing,
            device=device, memory=memory, n_actors=actors, checkpoint=checkpoint, progress=tell,
        )  # fmt: skip
    try:
        if found.reused and not quiet:
            say(f"{found.votes.folder}: coded before of the same votes: used again")
        fit_coded(found.votes, method, out, gold=gold, json=json, quiet=quiet)
    finally:
        found.remove()


def fit_coded(
    votes: Any, method: Any, out: str, *, gold: str | None = None, json: bool, quiet: bool
) -> None:
    """Fit, write the result, and say how it went. After Ctrl-C exits with 130."""
    from crowdlearn.io import read_labels

    known = None if gold is None else read_labels(gold, votes.classes)
    found: Any
    found, interrupted = fit_or_stop(method, votes, gold=known, progress=watched(json, quiet))
    found.save(out)
    summary = found.summary()
    if json:
        print_json(summary | {"out": out})
    elif not quiet:
        state = "converged" if summary["converged"] else "not converged"
        typer.echo(
            f"{found.method}: {summary['n_sweeps']:,} sweeps, {state}, {found.seconds:.1f} s;"
            f" expected error {summary['expected_error']:.2%}; written to {out}"
        )
    if interrupted:
        say(f"interrupted: the result after {summary['n_sweeps']:,} sweeps was written", "yellow")
        raise typer.Exit(INTERRUPTED)
