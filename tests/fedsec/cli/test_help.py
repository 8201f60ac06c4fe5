"""Every command explains itself, at once, and misspelt words end in one line."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import click
import pytest
from typer.main import get_command

from fedsec import __version__
from fedsec.cli import app
from fedsec.cli.flags import Flags
from fedsec.federated.contribution import CONTRIBUTIONS, OVER_ROUNDS
from fedsec.federated.selectors import SELECTORS
from fedsec.nets import NETS
from tests.fedsec.cli.commands import ROOT, done, refused, run

CHEAP = """
import sys
from typer.testing import CliRunner
from fedsec.cli import app
for words in (["--help"], ["train", "--help"], ["contribution", "--help"], ["data", "--help"]):
    assert CliRunner().invoke(app, words).exit_code == 0
print(*({"torch", "numpy", "sklearn", "matplotlib", "pyarrow", "scipy"} & set(sys.modules)))
"""


def commands(group: Any = None, name: str = "") -> dict[str, Any]:
    """Every command below the group, by its words."""
    found = {}
    for sub, command in (group or get_command(app)).commands.items():
        words = f"{name} {sub}".strip()
        found[words] = command
        if hasattr(command, "commands"):
            found |= commands(command, words)
    return found


def test_help_imports_nothing_heavy() -> None:
    found = subprocess.run(
        [sys.executable, "-c", CHEAP], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == []


@pytest.mark.parametrize("name", commands())
def test_every_command_and_option_says_what_it_does(name: str) -> None:
    found = done(*name.split(), "--help")
    command = commands()[name]
    assert command.help and command.help.split("\n")[0].endswith(".")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.name}"
            assert parameter.opts[0] in found.stdout


def test_the_help_names_what_the_tables_hold() -> None:
    for command in (commands()["train"], commands()["contribution"]):
        said = {parameter.name: getattr(parameter, "help", "") for parameter in command.params}
        assert all(name in said["select"] for name in SELECTORS)
        assert all(name in said["net"] for name in NETS)
    assert all(name in said["method"] for name in CONTRIBUTIONS)
    assert all(name in said["over_rounds"] for name in OVER_ROUNDS)


def test_shared_options_are_those_of_flags() -> None:
    names = set(Flags.__dataclass_fields__)
    assert names <= {parameter.name for parameter in commands()["train"].params}
    assert names <= {parameter.name for parameter in commands()["contribution"].params}


def test_every_command_is_on_the_page() -> None:
    page = (ROOT / "docs" / "fedsec-cli.md").read_text("utf-8")
    for name in commands():
        assert f"# fedsec {name}\n" in page


def test_version() -> None:
    assert done("--version").stdout == f"fedsec {__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("trian",), "No such command 'trian'"),
        (("train", "--nope"), "No such option '--nope'"),
        (("train", "--rounds", "many"), "'many' is not a valid integer"),
        (("train", "digits"), "unexpected extra argument"),
        (("data", "show"), "Missing argument 'NAME'"),
    ],
)
def test_misspelt_words_end_in_one_line(words: tuple[str, ...], said: str) -> None:
    line = refused(*words)
    assert said in line and line.endswith("--help")


def test_a_bug_is_not_dressed_up_as_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("fedsec.cli.experiment.experiment_of", broken)
    assert isinstance(run("train").exception, ZeroDivisionError)
