"""`crowdlearn store`: projects in a database; what goes in, what comes out, who may do what."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from crowdlearn.cli.exits import print_json, say
from crowdlearn.cli.options import ClassesOption, ColumnsOption, JsonOption, classes_of, columns_of
from crowdlearn.errors import SettingsError, StoreError

DEFAULT_STORE = "crowdlearn.db"

store = typer.Typer(help="Keep projects in a database.", no_args_is_help=True)

StoreOption = Annotated[
    str,
    typer.Option(
        "--store", "-s", envvar="CROWDLEARN_STORE", metavar="PATH",
        help="The store: a file of SQLite, or a postgresql:// address.",
    ),
]  # fmt: skip
ProjectOption = Annotated[
    str, typer.Option("--project", "-p", help="Name of the project.", show_default=False)
]


@store.command()
def init(
    store: StoreOption = DEFAULT_STORE,
    demo: Annotated[
        bool, typer.Option(help="Put two projects in it that things can be tried on.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Make an empty store."""
    from crowdlearn.service.access import LOCAL
    from crowdlearn.service.demo import add_demo
    from crowdlearn.service.projects import list_projects
    from crowdlearn.store import open_store

    with open_store(store, create=True) as opened:
        if demo:
            with opened.write() as db:
                add_demo(db, LOCAL)
        with opened.read() as db:
            names = [project.name for project in list_projects(db, LOCAL)]
    if json:
        print_json({"store": str(opened), "projects": names})
    else:
        typer.echo(f"{opened}: a store with {len(names)} projects{': ' * bool(names)}"
                   f"{', '.join(names)}")  # fmt: skip


@store.command("list")
def list_all(store: StoreOption = DEFAULT_STORE, json: JsonOption = False) -> None:
    """List the projects of a store. With --json one object a project."""
    from crowdlearn.cli.tables import show
    from crowdlearn.service.access import LOCAL
    from crowdlearn.service.projects import list_projects
    from crowdlearn.store import open_store

    with open_store(store) as opened, opened.read() as db:
        found = list_projects(db, LOCAL)
    if json:
        for project in found:
            print_json(asdict(project))
        return
    rows = [
        (p.name, f"{p.n_items:,}", f"{p.n_votes:,}", f"{p.n_workers:,}", f"{p.n_answers:,}",
         ", ".join(p.classes[:6]) + ("…" if len(p.classes) > 6 else ""))
        for p in found
    ]  # fmt: skip
    show("Projects", ("name", "items", "votes", "workers", "answers", "classes"), rows)


@store.command()
def ingest(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Votes, items, an archive of images, or answers.",
            show_default=False,
        ),
    ],
    project: ProjectOption,
    store: StoreOption = DEFAULT_STORE,
    kind: Annotated[str, typer.Option(help="votes, items or answers.")] = "votes",
    create: Annotated[
        bool, typer.Option(help="Make the project where there is none, with the file's classes.")
    ] = False,
    classes: ClassesOption = None,
    columns: ColumnsOption = None,
    media_root: Annotated[
        str | None, typer.Option(help="Folder of the files that items name in image or audio.")
    ] = None,
    add_classes: Annotated[
        bool, typer.Option(help="Add labels of the file that are no classes of the project yet.")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Only say what would be added.")] = False,
    json: JsonOption = False,
) -> None:
    """Put a file into a project: all of it, or nothing. What is there already is not added twice.

    Votes have the columns task,worker,label; items task and one of text, json, url, image or audio;
    answers task,label.
    """
    from crowdlearn.service.access import LOCAL
    from crowdlearn.service.importing import perform, preview, read_upload
    from crowdlearn.service.projects import create_project, list_projects, read_project
    from crowdlearn.store import open_store

    with open_store(store) as opened:
        with opened.read() as db:
            there = project in [known.name for known in list_projects(db, LOCAL)]
            known = list(read_project(db, LOCAL, project).classes) if there or not create else []
        upload = read_upload(
            file, kind, columns=columns_of(columns), classes=known or classes_of(classes),
            media_root=media_root,
        )  # fmt: skip
        if not there and create:
            known = classes_of(classes) or (
                [] if upload.votes is None else list(upload.votes.classes)
            )
            if not known:
                raise SettingsError("--create needs --classes where the file has no votes")
        elif classes is not None:
            raise SettingsError(
                "--classes names the classes of a new project: give --create with it"
            )
        with opened.write() as db:
            if not there:
                create_project(db, LOCAL, project, known)
            if dry_run:
                found = preview(db, LOCAL, project, upload)
                db.rollback()
            else:
                found = perform(db, LOCAL, project, upload, add_classes=add_classes)
    if json:
        print_json({"file": str(file), "dry_run": dry_run, **asdict(found)})
        return
    if found.problem is not None and dry_run:
        say(f"{file}: {found.problem}", "yellow")
    verb = "would be added" if dry_run else "added"
    typer.echo(
        f"{found.n_rows:,} rows: {found.n_new:,} {verb}, {found.n_known:,} were there already"
        + (f"; {found.n_new_items:,} new items" if found.n_new_items else "")
        + (f"; {found.n_new_workers:,} new workers" if found.n_new_workers else "")
    )


@store.command("export")
def export_project(
    project: ProjectOption,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.", show_default=False)],
    store: StoreOption = DEFAULT_STORE,
    what: Annotated[str, typer.Option(help="labels, votes, answers or workers.")] = "labels",
    format: Annotated[
        str | None,
        typer.Option(
            help="csv, parquet, jsonl or label-studio; by the file's ending if not given."
        ),
    ] = None,
    raw: Annotated[
        bool, typer.Option(help="Leave texts alone that a spreadsheet takes for formulas.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write what a project knows to a file; first folds what the log has and the labels lack."""
    from crowdlearn.io import new_file
    from crowdlearn.service.access import LOCAL
    from crowdlearn.service.exporting import FORMATS, export, note_export
    from crowdlearn.service.folder import Folder
    from crowdlearn.service.projects import read_project
    from crowdlearn.store import open_store

    endings = {ending: name for name, ending in FORMATS.items()}
    if format is None and out.suffix not in endings:
        raise SettingsError(f"{out}: say --format, one of {', '.join(FORMATS)}")
    chosen = format or endings[out.suffix]
    with open_store(store) as opened:
        with opened.read() as db:
            number = read_project(db, LOCAL, project).id
        folder = Folder(opened)
        try:
            folder.catch_up(number, settle=True)
        finally:
            folder.close()
        with new_file(out) as path, opened.read() as db, path.open("wb") as file:
            n_rows = export(db, LOCAL, project, file, what=what, format=chosen, raw=raw)
        with opened.write() as db:
            note_export(db, LOCAL, project, what, chosen)
    if json:
        print_json({"file": str(out), "rows": n_rows, "what": what, "format": chosen})
    else:
        typer.echo(f"{out}: {n_rows:,} rows")


@store.command("backup")
def backup_store(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="File to write; must be new.")],
    store: StoreOption = DEFAULT_STORE,
    json: JsonOption = False,
) -> None:
    """Copy a whole store to a file while it is in use."""
    from crowdlearn.store import backup, open_store

    with open_store(store) as opened:
        backup(opened, out)
    size = out.stat().st_size
    if json:
        print_json({"file": str(out), "bytes": size})
    else:
        typer.echo(f"{out}: {size:,} bytes")


@store.command("restore")
def restore_store(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What backup wrote.")],
    store: StoreOption = DEFAULT_STORE,
    json: JsonOption = False,
) -> None:
    """Make a store from a backup; there must be none at the place yet."""
    from crowdlearn.store import restore
    from crowdlearn.store.migrate import head, version

    with restore(file, store) as opened:
        found = version(opened)
    if json:
        print_json({"store": str(opened), "schema": found})
        return
    advice = "" if found == head() else "; now run `crowdlearn store upgrade`"
    typer.echo(f"{opened}: restored, schema {found}{advice}")


@store.command("upgrade")
def upgrade_store(store: StoreOption = DEFAULT_STORE, json: JsonOption = False) -> None:
    """Bring a store of an older version to this one, all or nothing. Make a backup first."""
    from crowdlearn.store.database import connect
    from crowdlearn.store.migrate import upgrade, version

    with connect(store) as opened:
        if opened.is_sqlite and not opened.path.exists():
            raise StoreError(f"{opened.path}: there is no store")
        before = version(opened)
        upgrade(opened)
        after = version(opened)
    if json:
        print_json({"store": str(opened), "before": before, "after": after})
    else:
        typer.echo(f"{opened}: schema {before} -> {after}")


@store.command("verify")
def verify_project(
    project: ProjectOption, store: StoreOption = DEFAULT_STORE, json: JsonOption = False
) -> None:
    """Rebuild a project's estimates from its log, and compare them bit for bit. Exit 1 if not."""
    from crowdlearn.service.access import LOCAL
    from crowdlearn.service.verifying import verify
    from crowdlearn.store import open_store

    with open_store(store) as opened, opened.read() as db:
        found = verify(db, LOCAL, project)
    if json:
        print_json(asdict(found))
    else:
        for problem in found.problems[:20]:
            say(problem, "red")
        typer.echo(
            f"{project}: {found.n_votes:,} votes, {found.fold:,} folds: "
            + (f"{len(found.problems):,} differences" if found.problems else "all as the log says")
        )
    if found.problems:
        raise typer.Exit(1)


@store.command("user")
def add_user(
    name: Annotated[str, typer.Argument(help="Name, or e-mail for OpenID Connect.")],
    store: StoreOption = DEFAULT_STORE,
    owner: Annotated[bool, typer.Option(help="May do everything in every project.")] = False,
    openid: Annotated[bool, typer.Option(help="Signs in elsewhere: no password here.")] = False,
    password_stdin: Annotated[
        bool, typer.Option(help="Read the password from standard input.")
    ] = False,
    change: Annotated[bool, typer.Option(help="Give a user who is there a new password.")] = False,
    disable: Annotated[bool, typer.Option(help="Shut the user out; what they said stays.")] = False,
) -> None:
    """Add a user (asks for a password), or change one."""
    from crowdlearn.service import accounts
    from crowdlearn.service.access import LOCAL
    from crowdlearn.store import open_store

    password = None if openid or disable else _password(password_stdin)
    with open_store(store) as opened, opened.write() as db:
        if disable:
            accounts.disable_user(db, LOCAL, name)
        elif change and password is not None:
            accounts.change_password(db, LOCAL, name, password)
        else:
            accounts.add_user(db, LOCAL, name, password, owner=owner)
    typer.echo(f"{name} can {'no longer ' * disable}sign in")


@store.command("member")
def set_member(
    name: Annotated[str, typer.Argument(help="Name of a user.")],
    role: Annotated[str, typer.Argument(help="annotator, tool, reviewer, admin, or none.")],
    project: ProjectOption,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Give a user a role in a project, or take it away."""
    from crowdlearn.service.access import LOCAL
    from crowdlearn.service.accounts import set_member
    from crowdlearn.store import open_store

    with open_store(store) as opened, opened.write() as db:
        set_member(db, LOCAL, project, name, None if role == "none" else role)
    typer.echo(f"{name}: {role} in {project}")


@store.command("key")
def make_key(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    role: Annotated[str, typer.Argument(help="annotator, tool, reviewer or admin.")],
    project: ProjectOption,
    store: StoreOption = DEFAULT_STORE,
    days: Annotated[float | None, typer.Option(help="Days that it lives.")] = None,
    json: JsonOption = False,
) -> None:
    """Make an API key for a project. It is printed this once, and kept only as a hash."""
    from crowdlearn.service.access import LOCAL
    from crowdlearn.service.accounts import make_key
    from crowdlearn.store import open_store

    with open_store(store) as opened, opened.write() as db:
        key, secret = make_key(db, LOCAL, project, name, role, days=days)
    if json:
        print_json({**asdict(key), "key": secret})
    else:
        typer.echo(secret)


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    found: Any = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return str(found)
