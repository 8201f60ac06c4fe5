"""`crowdlearn review` and `crowdlearn serve` start what they say, keep what they take, and end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crowdlearn.cli import app
from crowdlearn.service.access import LOCAL
from crowdlearn.service.projects import read_project
from crowdlearn.store import open_store
from tests.services import free_port, wait_for

ROOT = Path(__file__).parents[3]
VOTES = "task,worker,label\na,w,cat\na,v,cat\nb,w,dog\n"


@contextmanager
def running(folder: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command as a process, in a group of its own as a terminal would have it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "crowdlearn", *words], cwd=folder, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.slow
def test_review_keeps_the_file_and_opens_the_app(tmp_path: Path) -> None:
    pytest.importorskip("streamlit")
    (tmp_path / "pets.csv").write_text(VOTES)
    port = free_port()
    with running(tmp_path, "review", "pets.csv", "--no-browser", "--port", str(port)) as process:
        wait_for(f"http://127.0.0.1:{port}/_stcore/health", 120)
        with open_store(tmp_path / "crowdlearn.db") as store, store.read() as db:
            about = read_project(db, LOCAL, "pets")
        assert (about.n_votes, about.classes) == (3, ("cat", "dog"))
        os.killpg(process.pid, signal.SIGINT)  # Ctrl-C reaches both
        assert process.wait(60) in (0, 130)
        said = process.stderr.read() if process.stderr else b""
    assert b"Traceback" not in said


@pytest.mark.slow
def test_serve_answers_and_ends_in_order(tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    open_store(tmp_path / "crowdlearn.db", create=True).close()
    port = free_port()
    with running(tmp_path, "serve", "--port", str(port)) as process:
        wait_for(f"http://127.0.0.1:{port}/readyz", 120)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM)
        said = process.stderr.read() if process.stderr else b""
    assert b'"route": "/readyz"' in said and b"Traceback" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("serve", "--store", "none.db"), "there is no store"),
        (("review", "none.csv", "--store", "s.db"), "none.csv: there is no such file"),
        (("review", "--auth", "king", "--store", "s.db"), "auth 'king'"),
        (("review", "--host", "0.0.0.0", "--store", "s.db"), "let everybody in"),
        (("review", "--columns", "item=x", "--store", "s.db"), "name it"),
    ],
)
def test_bad_calls_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    pytest.importorskip("fastapi")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 2, done.output
    assert said in done.stderr and done.stderr.count("\n") == 1
