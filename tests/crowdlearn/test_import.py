"""Importing is cheap: nothing heavy is loaded before it is asked for."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import crowdlearn

ROOT = Path(crowdlearn.__file__).parents[1]
HEAVY = ("numba", "scipy", "matplotlib", "jax", "torch", "ray", "pandas", "sklearn")


def loaded_after(code: str, names: tuple[str, ...]) -> list[str]:
    """Which of `names` are loaded in a fresh Python after `code`."""
    asked = f"{code}\nimport sys\nprint(*[n for n in {names!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout.splitlines()[-1].split()


def test_import_loads_nothing_heavy():
    assert loaded_after("import crowdlearn", HEAVY) == []


def test_help_loads_nothing_heavy():
    code = """
from typer.testing import CliRunner
from crowdlearn.cli import app
for words in (["--help"], ["aggregate", "--help"], ["compare", "--help"]):
    assert CliRunner().invoke(app, words).exit_code == 0
"""
    assert loaded_after(code, (*HEAVY, "numpy", "pyarrow", "jinja2")) == []


def test_reading_votes_needs_neither_pictures_nor_frames():
    code = "from crowdlearn import read_votes, Votes"
    assert loaded_after(code, ("matplotlib", "jax", "torch", "ray", "pandas", "sklearn")) == []


def test_drawing_leaves_pyplot_alone():
    code = """
from crowdlearn import plots
made, (ax,) = plots.figure(3, 3)
plots.confusion(ax, __import__("numpy").eye(2), ["a", "b"], "w")
plots.to_svg(made)
"""
    assert loaded_after(code, ("matplotlib.pyplot", "jax", "pandas")) == []


def test_every_public_name_is_there():
    for name in crowdlearn.__all__:
        assert getattr(crowdlearn, name) is not None
    assert set(crowdlearn.__all__) <= set(dir(crowdlearn))


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'agregator'"):
        crowdlearn.agregator  # noqa: B018


def test_version_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert crowdlearn.__version__ == project["version"]


def test_the_package_says_it_is_typed():
    assert (Path(crowdlearn.__file__).parent / "py.typed").exists()


def test_shell_completion_answers():
    code = "import sys; sys.argv = ['crowdlearn']; from crowdlearn.cli import main; main()"
    asked = {
        "_CROWDLEARN_COMPLETE": "complete_bash",
        "COMP_WORDS": "crowdlearn agg",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **asked},
    )
    assert done.stdout.split() == ["aggregate"]
