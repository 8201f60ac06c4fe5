"""A backup of a whole store while it is in use, and a store made from one.

SQLite     One file, taken by SQLite's own online backup; checked before it takes its name.
PostgreSQL `pg_dump` and `pg_restore`, which must be on the PATH.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

from crowdlearn.errors import StoreError
from crowdlearn.output import new_file
from crowdlearn.store.database import Store, connect
from crowdlearn.store.migrate import version


def backup(store: Store, path: str | Path) -> Path:
    """Write the store as of now to a file that must not exist yet.

    Raises StoreError where it exists, or the copy cannot be made; nothing is then left behind.
    """
    target = Path(path)
    if target.exists():
        raise StoreError(f"{target}: exists already; give a new name")
    with new_file(target) as file:
        if store.is_sqlite:
            _copy(store.path, file)
        else:
            _run(["pg_dump", "--format=custom", f"--file={file}", *_place(store)], store)
    return target


def restore(path: str | Path, address: str | Path) -> Store:
    """Make a store from a backup at an address where there is none, and open it.

    A backup of an older version may be restored; it must then be upgraded. Raises StoreError where
    there is a store already, or the file is no backup.
    """
    source = Path(path)
    if not source.exists():
        raise StoreError(f"{source}: there is no such file")
    store = connect(address)
    if store.is_sqlite:
        if store.path.exists():
            raise StoreError(f"{store.path}: exists already; give a new name")
        _check_sqlite(source)
        with new_file(store.path) as file:
            _copy(source, file)
    else:
        if version(store) is not None:
            raise StoreError(f"{store}: is a store already; give an empty database")
        _run(["pg_restore", "--exit-on-error", "--single-transaction", "--no-owner", *_place(store),
              str(source)], store)  # fmt: skip
    if version(store) is None:
        raise StoreError(f"{source}: is no backup of a store")
    return store


def _copy(source: Path, target: Path) -> None:
    """SQLite's online backup, then its integrity check."""
    reader = sqlite3.connect(source.resolve().as_uri() + "?mode=ro", uri=True)
    writer = sqlite3.connect(target)
    try:
        reader.backup(writer, pages=2000, sleep=0.001)
        found = writer.execute("PRAGMA quick_check").fetchone()[0]
        writer.execute("PRAGMA journal_mode=delete")
    except sqlite3.Error as error:
        raise StoreError(f"{source}: cannot be copied: {error}") from error
    finally:
        reader.close()
        writer.close()
    if found != "ok":
        raise StoreError(f"{source}: the copy is damaged: {found}")


def _check_sqlite(source: Path) -> None:
    with source.open("rb") as file:
        if file.read(16) != b"SQLite format 3\x00":
            raise StoreError(f"{source}: is no backup of a SQLite store")


def _place(store: Store) -> list[str]:
    url = store.engine.url
    given = {"--host": url.host, "--port": url.port, "--username": url.username}
    return [f"{flag}={value}" for flag, value in given.items() if value] + [
        f"--dbname={url.database}"
    ]


def _run(command: list[str], store: Store) -> None:
    program = shutil.which(command[0])
    if program is None:
        raise StoreError(f"{command[0]} is not on the PATH: install PostgreSQL's client programs")
    password = store.engine.url.password
    secret = {} if password is None else {"PGPASSWORD": str(password)}
    done = subprocess.run(
        [program, *command[1:]], env=os.environ | secret, capture_output=True, text=True
    )
    if done.returncode:
        raise StoreError(f"{command[0]}: {done.stderr.strip().splitlines()[-1]}")
