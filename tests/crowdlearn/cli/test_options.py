"""Flags of `bayes` become settings of the engine, or hyperparameters of the story."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import crowdlearn
from crowdlearn.aggregators.bayes import Bayes
from crowdlearn.aggregators.engines import Cavi, Nuts, engine_of
from crowdlearn.cli import app
from crowdlearn.cli.options import make_method
from crowdlearn.errors import SettingsError

VOTES = Path(crowdlearn.__file__).parent / "data" / "anesthesia.csv"


def test_settings_find_their_place() -> None:
    flags = {"story": "idbla", "inference": "nuts", "seed": 3, "device": None, "tolerance": None}
    made = make_method(None, flags, ["n_draws=200", "easy=4", "n_threads=2", "target-accept=0.9"])
    assert isinstance(made, Bayes) and made.story == "idbla" and made.seed == 3
    assert engine_of(made.inference) == Nuts(n_draws=200, target_accept=0.9)
    assert made.parameters == {"easy": 4} and made.n_threads == 2
    assert engine_of(make_method("bayes", {}, None).inference) == Nuts()
    swept = make_method("bayes", {"story": "bcc", "inference": "cavi", "max_sweeps": 7}, None)
    assert engine_of(swept.inference) == Cavi(max_sweeps=7)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(SettingsError, match="bcc has no setting 'story'"):
        make_method("bcc", {"story": "bcc"}, None)
    with pytest.raises(SettingsError, match="'nutz' is not one of nuts"):
        make_method("bayes", {"inference": "nutz"}, None)
    with pytest.raises(SettingsError, match="n_draws=many.*not a whole number"):
        make_method("bayes", {}, ["n_draws=many"])
    with pytest.raises(SettingsError, match="wings=many.*not a number"):
        make_method("bayes", {}, ["wings=many"])


def test_the_command_fits_a_story() -> None:
    words = ["aggregate", str(VOTES), "--story", "bcc", "--inference", "cavi"]
    done = CliRunner().invoke(app, [*words, "--set", "diagonal=3", "--json"])
    assert done.exit_code == 0, done.output
    settings = json.loads(done.stdout)["settings"]
    assert settings["parameters"] == {"diagonal": 3} and settings["inference"]["name"] == "cavi"
    refused = CliRunner().invoke(app, [*words[:4], "--set", "wings=3"])
    assert refused.exit_code == 2
