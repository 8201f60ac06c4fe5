"""`crowdlearn criticise` says what the library says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from crowdlearn import datasets
from crowdlearn.cli import app
from crowdlearn.criticism import check, loo, posterior_draws
from crowdlearn.io import write_csv

QUICK = ["--draws", "30", "--chains", "4", "--warmup", "20", "--replicates", "30"]


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["criticise", *(str(word) for word in words)])


@pytest.fixture(scope="module")
def votes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("criticise") / "votes.csv"
    write_csv(datasets.load("anesthesia").to_table(), path)
    return path


@pytest.fixture(scope="module")
def found(votes: Path) -> dict:
    done = run(votes, "--story", "bcc", "--story", "dawid-skene", *QUICK, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.slow
def test_json_holds_what_the_library_gives(votes: Path, found: dict) -> None:
    read = datasets.load("anesthesia")
    drawn = posterior_draws("bcc", read, n_warmup=20, n_draws=30)
    left_out = loo(drawn.story, read, drawn.sites, log_density=drawn.log_density)
    assert found["stories"]["bcc"]["loo"]["elpd"] == pytest.approx(left_out.elpd)
    expected = check(drawn.story, read, drawn.sites, n_replicates=30)
    checks = {row["statistic"]: row for row in found["stories"]["bcc"]["checks"]}
    assert set(checks) == set(expected)
    assert checks["pair-agreement"]["p"] == pytest.approx(expected["pair-agreement"].p_all)
    assert found["stories"]["bcc"]["prior"][0]["quantity"] == "accuracy of a worker"
    assert [row["story"] for row in found["ranking"]] in (
        ["bcc", "dawid-skene"],
        ["dawid-skene", "bcc"],
    )


def test_tables_name_misfits_and_advice(votes: Path) -> None:
    done = run(votes, *QUICK)
    assert done.exit_code == 0, done.output
    assert "bcc: before any vote" in done.stdout and "elpd -" in done.stdout
    assert "votes drawn again, against the votes" in done.stdout
    assert "raise n_draws" in done.stderr


def test_bad_words_are_refused_in_one_line(votes: Path) -> None:
    done = run(votes, "--story", "oracle")
    assert done.exit_code == 2 and done.stdout == ""
    assert "story 'oracle' is not one of multinomial" in done.stderr
    assert done.stderr.count("\n") == 1
