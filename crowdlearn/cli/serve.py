"""`crowdlearn serve` and `crowdlearn review`: the same projects for programs and for people."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crowdlearn.cli.exits import INTERRUPTED, say
from crowdlearn.cli.options import ClassesOption, ColumnsOption, classes_of, columns_of
from crowdlearn.cli.store import DEFAULT_STORE, StoreOption
from crowdlearn.errors import SettingsError

if TYPE_CHECKING:
    from crowdlearn.store import Store

GRACE = 20  # seconds that requests may take to finish when the service is told to stop


def serve(
    store: StoreOption = DEFAULT_STORE,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8321,
    rate: Annotated[
        float, typer.Option(min=0.1, help="Requests a second that one key may make.")
    ] = 100.0,
    proxy: Annotated[
        str | None,
        typer.Option(help="Address of a reverse proxy whose X-Forwarded headers are believed."),
    ] = None,
) -> None:
    """Serve projects to programs: votes in, posteriors and the next item out (HTTP, OpenAPI).

    The schema is at /openapi.json. Make a key with `crowdlearn store key`. SIGTERM and Ctrl-C let
    requests finish. The log has a line of JSON for every request.
    """
    import logging

    try:
        from crowdlearn.service.api import create_app
        from crowdlearn.service.api import serve as run
    except ImportError as error:
        if "crowdlearn[" in str(error):
            raise
        raise ImportError("the service needs FastAPI: pip install 'crowdlearn[service]'") from error
    from crowdlearn.store import open_store

    logging.basicConfig(format="%(message)s", level=logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with open_store(store) as opened:
        app = create_app(opened, requests_per_second=rate, burst=max(int(2 * rate), 1))
        say(f"the service of {opened} is at http://{host}:{port}; Ctrl-C ends it")
        run(app, host=host, port=port, patience=GRACE, proxy=proxy)


def review(
    votes: Annotated[
        Path | None,
        typer.Argument(
            metavar="[VOTES]",
            help="File of votes to review, as `store ingest` reads it.",
            show_default=False,
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    project: Annotated[
        str | None,
        typer.Option("--project", "-p", help="Project to open.", show_default="the file's name"),
    ] = None,
    columns: ColumnsOption = None,
    classes: ClassesOption = None,
    auth: Annotated[
        str, typer.Option(help="Who may come in: none (on this machine), password or oidc.")
    ] = "none",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8322,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
) -> None:
    """Review votes in a browser: what is contested, who is reliable, what to decide next.

    Everything is kept in the store, also when the app ends. A file of votes that is given again
    adds what is new.
    """
    from apps.review.run import command
    from crowdlearn.store import open_store

    if votes is None and (columns is not None or classes is not None):
        raise SettingsError("--columns and --classes describe a file of votes: name it")
    with open_store(store, create=True) as opened:
        if votes is not None:
            project = project or votes.name.split(".")[0]
            _ingest(opened, votes, project, columns_of(columns), classes_of(classes))
    arguments, environment = command(
        store, auth=auth, port=port, host=host, project=project, headless=not browser
    )
    say(f"the review app is at http://{host}:{port}; Ctrl-C ends it; all is kept in {opened}")
    process = subprocess.Popen(arguments, env=os.environ | environment)
    try:
        sys.exit(process.wait())
    except KeyboardInterrupt:
        process.wait()
        raise typer.Exit(INTERRUPTED) from None


def _ingest(
    opened: Store,
    votes: Path,
    project: str,
    columns: dict[str, str] | None,
    classes: list[str] | None,
) -> None:
    from crowdlearn.service.access import LOCAL
    from crowdlearn.service.importing import perform, read_upload
    from crowdlearn.service.projects import create_project, list_projects

    with opened.read() as db:
        there = {known.name: known.classes for known in list_projects(db, LOCAL)}
    upload = read_upload(votes, "votes", columns=columns, classes=there.get(project, classes))
    assert upload.votes is not None, "the upload is of votes"
    with opened.write() as db:
        if project not in there:
            create_project(db, LOCAL, project, classes or upload.votes.classes)
        done = perform(db, LOCAL, project, upload)
    say(f"{votes}: {done.n_new:,} votes added, {done.n_known:,} were there already")
