"""`fedsec diffusion`: a model is trained, stopped, gone on with, and drawn from."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from typer.models import OptionInfo

from fedsec.cli.diffusing import Training, train_it
from fedsec.cli.diffusion import DiffusionFlags
from fedsec.diffusion.model import load_model
from fedsec.metrics.features import FeatureNet
from tests.fedsec.cli.commands import done, refused, run

QUICK = (
    "--limit", 64, "--steps-of-diffusion", 8, "--width", 8, "--mults", "1,2", "--steps", 5,
    "--batch", 8,
)  # fmt: skip
FLAGS = DiffusionFlags(
    limit=64, steps_of_diffusion=8, width=8, mults="1,2", steps=5, batch=8, device="auto"
)


class After(Event):
    """Asks to stop when it was asked n times."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.left = n

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "t.safetensors"
    done("diffusion", "train", *QUICK, "--out", path)
    return path


def test_the_flags_of_these_tests_are_those_of_quick() -> None:
    assert not any(isinstance(value, OptionInfo) for value in vars(FLAGS).values())
    assert (FLAGS.net, FLAGS.objective, FLAGS.seed) == ("unet", "v", 0)


def test_train_writes_a_model_and_says_so(trained: Path) -> None:
    model = load_model(trained)
    assert (model.schedule.steps, model.shape, model.objective) == (8, (1, 8, 8), "v")
    assert [path.name for path in trained.parent.iterdir()] == ["t.safetensors"]


def test_the_same_command_gives_the_same_model(trained: Path, tmp_path: Path) -> None:
    said = done("diffusion", "train", *QUICK, "--out", tmp_path / "t.safetensors", "--json")
    line = json.loads(said.stdout)
    assert line["what"] == "diffusion train" and line["measures"]["steps"] == 5
    there, here = load_model(trained).net.state_dict(), load_model(tmp_path / "t.safetensors").net
    assert all(torch.equal(value, there[name]) for name, value in here.state_dict().items())


def test_a_stopped_run_goes_on_to_the_same_model(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "t.safetensors"
    training = Training.of(FLAGS, str(out), resume=False)
    _, history = train_it(training, After(3), lambda done, of, what: None)
    assert len(history.loss) == 3
    assert [path.name for path in out.parent.iterdir()] == ["t.checkpoint.safetensors"]
    line = refused("diffusion", "train", *QUICK, "--out", out)
    assert "is of a run that was stopped: --resume goes on from it" in line
    line = refused("diffusion", "train", *QUICK, "--out", out, "--resume", "--lr", "0.5")
    assert "settings.lr is 0.001 there and 0.5 here" in line
    done("diffusion", "train", *QUICK, "--out", out, "--resume")
    assert out.read_bytes() == trained.read_bytes()
    assert [path.name for path in out.parent.iterdir()] == ["t.safetensors"]


def test_ctrl_c_says_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedsec.cli.exits.threading.Event", lambda: After(2))
    found = run("diffusion", "train", *QUICK, "--out", tmp_path / "t.safetensors")
    assert found.exit_code == 130
    assert "interrupted after 2 steps" in found.stderr and "--resume" in found.stderr


def test_sample_writes_images_a_picture_and_settings(trained: Path, tmp_path: Path) -> None:
    words = ("diffusion", "sample", "--model", trained, "--n", 5, "--steps", 4)
    said = done(*words, "--out", tmp_path / "a", "--json")
    assert json.loads(said.stdout)["measures"] == {
        "n": 5, "steps": 4, "fcd": None, "floor": None, "ceiling": None, "precision": None,
        "recall": None, "features": None, "against": None,
    }  # fmt: skip
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "samples.npz", "samples.png", "settings.json",
    }  # fmt: skip
    x = np.load(tmp_path / "a" / "samples.npz")["x"]
    assert x.shape == (5, 8, 8) and 0 <= x.min() and x.max() <= 1
    settings = json.loads((tmp_path / "a" / "settings.json").read_text())
    assert settings["rerun"].startswith("fedsec") and settings["settings"]["steps"] == 4
    assert "written to" in done(*words, "--out", tmp_path / "b").stdout
    assert np.array_equal(np.load(tmp_path / "b" / "samples.npz")["x"], x)


def test_scores_come_with_floor_and_ceiling(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fedsec.metrics import features

    def fewer(images: object, seed: int) -> FeatureNet:
        return train(images, seed, steps=30)  # type: ignore[arg-type]

    train = features.train_features
    monkeypatch.setattr(features, "train_features", fewer)
    words = ("diffusion", "sample", "--model", trained, "--n", 20, "--steps", 2)
    said = done(*words, "--against", "digits", "--out", tmp_path / "a").stdout
    assert all(word in said for word in ("fcd", "floor", "ceiling", "precision", "recall"))
    assert "against 500 test images" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--net odd", "--net 'odd' is not one of unet, diffusers"),
        ("--schedule odd", "--schedule 'odd' is not one of sigmoid, cosine, linear"),
        ("--objective odd", "--objective 'odd' is not one of eps, v, x0"),
        ("--decay odd", "--decay 'odd'"),
        ("--precision odd", "--precision 'odd'"),
        ("--mults 1,x", "--mults '1,x': write whole numbers, as 1,2,4"),
        ("--mults 1,2,4,8,16", "8 x 8: 5 levels halve the height 4 times"),
        ("--width 12", "12 channels do not divide into 8 groups"),
        ("--steps-of-diffusion 0", "--steps-of-diffusion is 0"),
        ("--steps 0", "steps = 0: give at least 1"),
        ("--ema 1", "ema = 1.0: give 0 up to below 1"),
        ("--limit 2000", "--limit is 2000: there are 1297 training images"),
        ("--resume", "is not there: leave out --resume to begin"),
        ("--data nope", "no image set 'nope'"),
        ("--lr 1e30 --steps 3 --width 8", "the loss is"),
    ],
)
def test_training_that_cannot_be_is_refused(words: str, said: str, tmp_path: Path) -> None:
    out = tmp_path / "t.safetensors"
    assert said in refused("diffusion", "train", *words.split(), "--out", out)
    assert not out.exists()


def test_files_that_cannot_be_are_refused(trained: Path, tmp_path: Path) -> None:
    assert "models are .safetensors files" in refused("diffusion", "train", "--out", "t.pt")
    assert "is there already" in refused("diffusion", "train", "--out", trained)
    odd = tmp_path / "odd.safetensors"
    odd.write_bytes(b"odd")
    for words, said in (
        (("--model", odd), "not a safetensors file, or not a whole one"),
        (("--model", tmp_path / "none.safetensors"), "there is no such file"),
        (("--model", trained, "--steps", 9), "--steps is 9: the model has 8: give 1 to 8"),
        (("--model", trained, "--eta", 2), "--eta is 2.0: give 0 up to 1"),
        (("--model", trained, "--n", 0), "--n is 0: give at least 1"),
    ):
        assert said in refused("diffusion", "sample", *words, "--out", tmp_path / "a")
    assert not (tmp_path / "a").exists()
