"""What tests and benchmarks talk to: a PostgreSQL server of their own, free ports, HTTP servers.

Nothing here knows pytest, so that a benchmark can use it as well.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

LOOPBACK = "127.0.0.1"
NO_POSTGRESQL = "needs a PostgreSQL server, and there is no initdb: try `make system`"
SECONDS_TO_START = 60.0


def free_port() -> int:
    """A loopback port on which nothing listens now."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return int(listener.getsockname()[1])


def wait_for(url: str, seconds: float) -> None:
    """Return once the URL answers with a status below 500."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never by a proxy
    deadline = time.monotonic() + seconds
    while True:
        try:
            with opener.open(url, timeout=5):
                return
        except urllib.error.HTTPError as error:  # an answer, of status 400 or above
            error.close()
            if error.code < 500:
                return
            seen = f"status {error.code}"
        except OSError as error:
            seen = str(error)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{url} gave no answer in {seconds:g} seconds, last: {seen}")
        time.sleep(0.1)


def postgresql_programs() -> Path | None:
    """The folder with initdb and postgres: of the PATH, else Debian's newest; None if neither."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(folders, key=lambda folder: float(folder.parent.name), default=None)


@contextmanager
def postgresql_server() -> Iterator[str]:
    """A server in a folder of its own that ends with the block; yields its first database's URL."""
    programs = postgresql_programs()
    if programs is None:
        raise FileNotFoundError(NO_POSTGRESQL)
    account = unprivileged_account()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="postgresql-") as name:
        folder, data = Path(name), Path(name) / "data"
        if account:
            os.chown(folder, account["user"], account["group"])
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "crowdlearn", "-A", "trust",
             "--encoding=UTF8", "--locale=C", "--no-sync"],
            cwd=folder, check=True, capture_output=True, **account,
        )  # fmt: skip
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [programs / "postgres", "-D", data, "-p", str(port), "-h", LOOPBACK, "-k", folder],
                cwd=folder, stdout=log, stderr=log, **account,
            )  # fmt: skip
        try:
            wait_for_postgresql(server, port, folder / "log")
            yield f"postgresql+psycopg://crowdlearn@{LOOPBACK}:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)  # a fast shutdown: it ends its clients
            server.wait(timeout=SECONDS_TO_START)


def unprivileged_account() -> dict[str, Any]:
    """Whom to run the server as, since PostgreSQL refuses root; empty where we are not root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    entry = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def wait_for_postgresql(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return once the server takes connections; if it cannot, tell what its log says."""
    import psycopg

    deadline = time.monotonic() + SECONDS_TO_START
    while server.poll() is None and time.monotonic() < deadline:
        try:
            psycopg.connect(host=LOOPBACK, port=port, user="crowdlearn", dbname="postgres").close()
            return
        except psycopg.OperationalError:
            time.sleep(0.1)
    raise RuntimeError(f"PostgreSQL did not start: {log.read_text('utf-8', 'replace')}")


@contextmanager
def fresh_database(server: str) -> Iterator[str]:
    """An empty database on the server, dropped after the block with whoever still uses it."""
    import sqlalchemy

    name = f"test_{uuid4().hex}"
    engine = sqlalchemy.create_engine(
        server, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool
    )
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    try:
        yield sqlalchemy.make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
