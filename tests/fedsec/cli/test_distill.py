"""What `fedsec distill` does is what the library does; what it is given badly, it names."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from fedsec.cli.distill_options import METHODS
from fedsec.data.images import ImageData
from fedsec.diffusion.consistency_model import ConsistencyModel, load_student
from fedsec.diffusion.model import new_model, save_model
from fedsec.diffusion.schedule import noise_schedule
from fedsec.diffusion.single_fold import SingleFold, distill
from fedsec.diffusion.students import RELEASED
from fedsec.diffusion.subsequence import leading
from fedsec.diffusion.train import TrainSettings
from tests.fedsec.cli.commands import done, refused, run

SMALL = {"kind": "unet", "channels": 1, "width": 8, "mults": [1, 2], "groups": 4}
QUICK = ("--train-steps", 6, "--batch", 4, "--compare", 4)


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """Untrained, of 16 steps, for digits."""
    path = tmp_path / "teacher.safetensors"
    save_model(path, new_model(SMALL, (1, 8, 8), schedule=noise_schedule("sigmoid", 16), seed=3))
    return path


def one(*words: object) -> dict[str, Any]:
    """The result of a command, as JSON."""
    found: dict[str, Any] = json.loads(done("distill", *words, "--json").stdout)
    return found


@pytest.mark.parametrize("method", METHODS)
def test_every_method_writes_a_student(method: str, teacher: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.safetensors"
    found = one("--teacher", teacher, "--steps", 4, "--method", method, "--out", out, *QUICK)
    student = load_student(out)
    assert isinstance(student, ConsistencyModel) == method.startswith("consistency")
    assert student.sample(2, steps=4, generator=torch.Generator()).shape == (2, 1, 8, 8)
    if method.startswith("consistency"):
        sampled = done(
            "diffusion", "sample", "--model", out, "--n", 2, "--out", tmp_path / "drawn", "--json"
        )
        assert json.loads(sampled.stdout)["measures"]["steps"] == 1
        shutil.rmtree(tmp_path / "drawn")
    measures = found["measures"]
    assert (measures["steps"], measures["student_steps"], measures["teacher_steps"]) == (6, 4, 16)
    assert measures["mse_to_teacher"] >= 0 and measures["mse_of_teacher_in_few_steps"] >= 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "s.safetensors", "teacher.safetensors"
    ]  # fmt: skip


def test_sfddm_is_the_librarys(teacher: Path, tmp_path: Path, digits: ImageData) -> None:
    out = tmp_path / "s.safetensors"
    done("distill", "--teacher", teacher, "--steps", 4, "--out", out, *QUICK)
    expected, _ = distill(
        load_student(teacher), leading(16, 4), digits.train.x,
        TrainSettings(steps=6, batch=4, **RELEASED), SingleFold(),
    )  # fmt: skip
    found = load_student(out)
    assert torch.equal(found.schedule.alpha_bar, expected.schedule.alpha_bar)
    for name, value in found.net.state_dict().items():
        assert torch.equal(value, expected.net.state_dict()[name])


def test_steps_of_ones_own_and_the_teachers_numbers(teacher: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.safetensors"
    found = one("--teacher", teacher, "--indices", "0,3,9", "--start", "teacher", "--time-index",
                "phi", "--out", out, *QUICK)  # fmt: skip
    assert found["measures"]["indices"] == [0, 3, 9]
    assert found["measures"]["loss"] == 0
    student = load_student(out)
    assert student.time_map is not None and student.time_map.tolist() == [0, 3, 9]
    measures = found["measures"]
    assert measures["mse_to_teacher"] == measures["mse_of_teacher_in_few_steps"]


def test_the_table_stands_beside_the_teacher(teacher: Path, tmp_path: Path) -> None:
    said = done("distill", "--teacher", teacher, "--steps", 4, "--out",
                tmp_path / "s.safetensors", *QUICK).stdout  # fmt: skip
    assert "teacher, as many steps" in said and "from 16 steps" in said
    alone = done("distill", "--teacher", teacher, "--steps", 4, "--out",
                 tmp_path / "t.safetensors", *QUICK[:-1], 0).stdout  # fmt: skip
    assert "teacher, as many steps" not in alone


@pytest.mark.parametrize("method", ["sfddm", "progressive"])
def test_ctrl_c_keeps_a_checkpoint_that_resume_goes_on_from(
    method: str, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("distill", "--teacher", teacher, "--steps", 4, "--method", method,
             "--train-steps", 48, "--batch", 4, "--compare", 0)  # fmt: skip
    whole, out = tmp_path / "whole.safetensors", tmp_path / "s.safetensors"
    done(*words, "--out", whole)

    @contextmanager
    def pressing(*_: object) -> Iterator[Any]:
        yield lambda done, of, what: os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr("fedsec.cli.bars.moving_bar", pressing)
        stopped = run(*words, "--out", out)
    assert stopped.exit_code == 130 and "interrupted after 20 steps" in stopped.stderr
    assert not out.exists() and (tmp_path / "s.checkpoint").is_dir()
    assert "--resume goes on from it" in refused(*words, "--out", out)
    other = refused(*words, "--out", out, "--resume", "--lr", 0.5)
    assert "settings.lr is 0.0002 there and 0.5 here" in other
    done(*words, "--out", out, "--resume")
    assert not (tmp_path / "s.checkpoint").exists()
    expected, found = load_student(whole), load_student(out)
    for name, value in found.net.state_dict().items():
        assert torch.equal(value, expected.net.state_dict()[name])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--method odd", "--method 'odd' is not one of sfddm, progressive"),
        ("--steps 17", "--steps is 17: the teacher has 16: give 1 to 16"),
        ("--steps 0", "--steps is 0"),
        ("--indices 0,4,4", "must increase"),
        ("--indices 0,16", "index 16 is no step of the teacher"),
        ("--indices 0,x", "--indices '0,x': write whole numbers"),
        ("--indices 0,4 --sequence trailing", "--sequence has no effect here"),
        ("--sequence odd", "--sequence 'odd' is not one of leading, trailing, linspace"),
        ("--sequence trailing --method progressive", "--sequence has no effect here"),
        ("--steps 3 --method progressive", "does not lead to 3: give one of 8, 4, 2, 1"),
        ("--steps 4 --method progressive --train-steps 1", "--train-steps is 1: give at least 2"),
        ("--start teacher --method scratch", "--start has no effect here: it goes with"),
        ("--start odd", "start 'odd' is not one of random, teacher"),
        ("--time-index odd", "time_index 'odd' is not one of k, phi"),
        ("--posterior", "posterior goes with distance 'mse'"),
        ("--train-steps 0", "--train-steps is 0"),
        ("--batch 0", "batch = 0"),
        ("--lr 0", "lr = 0.0"),
        ("--decay odd", "--decay 'odd' is not one of"),
        ("--limit 9999", "--limit is 9999: there are 1297 training images"),
        ("--out s.bin", "--out s.bin: models are .safetensors files"),
        ("--resume", "is not there: leave out --resume"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    words: str, said: str, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused("distill", "--teacher", teacher, *words.split())
    assert [path.name for path in tmp_path.iterdir()] == ["teacher.safetensors"]


def test_teachers_that_cannot_teach_are_named(teacher: Path, tmp_path: Path) -> None:
    assert "there is no such file" in refused("distill", "--teacher", tmp_path / "none")
    end = tmp_path / "c.safetensors"
    done("distill", "--teacher", teacher, "--method", "consistency", "--out", end, *QUICK)
    assert "is a consistency model" in refused("distill", "--teacher", end)
    noise = tmp_path / "eps.safetensors"
    save_model(noise, new_model(SMALL, (1, 8, 8), objective="eps"))
    words = ("distill", "--teacher", noise, "--method", "progressive", "--steps", 4)
    assert "answers v or x0" in refused(*words, "--out", tmp_path / "p.safetensors")
    assert not (tmp_path / "p.checkpoint").exists()
