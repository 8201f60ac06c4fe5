"""How the tests of the command line call it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner, Result

import fedsec
from fedsec.cli import app

ROOT = Path(fedsec.__file__).parents[1]
QUICK = (
    "--net", "linear", "--clients", "10", "--per-round", "3", "--rounds", "4", "--epochs", "1",
    "--batch", "16",
)  # fmt: skip


def run(*words: object) -> Result:
    """A command in this process."""
    return CliRunner().invoke(app, [str(word) for word in words])


def done(*words: object) -> Result:
    """A command that is to succeed."""
    found = run(*words)
    assert found.exit_code == 0, (found.output, found.exception)
    return found


def refused(*words: object) -> str:
    """The one line on stderr of a command that is refused, and prints nothing else."""
    found = run(*words)
    assert found.exit_code == 2, (found.output, found.exception)
    assert found.stdout == ""
    assert found.stderr.count("\n") == 1, found.stderr
    return found.stderr.rstrip("\n")


def started(before: str, *words: object) -> subprocess.Popen[str]:
    """A command in a process of its own, after some lines of Python."""
    script = f"{before}\nfrom fedsec.cli import main\nmain()"
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
