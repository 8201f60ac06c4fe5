"""`fedsec invert` and `fedsec audit` with --victim diffusion."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedsec.cli.diffusion_target import SMALL, as_gradient
from fedsec.cli.invert import DIFFUSION_SAID
from fedsec.core.record import read_results
from fedsec.core.rng import stream
from fedsec.data.images import ImageData
from fedsec.data.partitions import iid
from fedsec.diffusion.model import new_model, save_model
from fedsec.errors import SettingsError
from fedsec.federated.denoising import DenoisingLoss
from fedsec.federated.flower import UpdateTap
from fedsec.federated.local import FullGradient, Plan
from fedsec.federated.simulate import Federation
from fedsec.federated.task import Task
from fedsec.inversion.attacks import DIFFUSION_ATTACKS
from fedsec.inversion.audit import Recipe, make_diffusion_client
from fedsec.inversion.denoiser import victim_of
from fedsec.inversion.true_images import to_arrays
from tests.fedsec.cli.commands import done, refused
from tests.fedsec.federated.flower.runs import in_process

DIFFUSION = ("--victim", "diffusion")
QUICK = (*DIFFUSION, "--iterations", 4)
PLUS = ("--restarts", 1, "--set", "polish=0")


def one(*words: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done("invert", *words, "--json").stdout)
    return found


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, new_model({**SMALL, "channels": 1, "mults": [1, 2]}, (1, 8, 8), seed=3))
    return path


def test_private_steps_are_found_and_written(tmp_path: Path) -> None:
    """The command of the documentation; the attacker is told nothing."""
    out = tmp_path / "out"
    said = done("invert", *QUICK, *PLUS, "--method", "gidm+", "--t", 6, "--out", out)
    (found,) = read_results(out / "results.jsonl")
    assert found.settings["attack"] == "gidm+" and found.measures["t"] == [6]
    assert found.measures["share_t"] == 1.0 and found.knowledge is not None
    assert found.knowledge.t is None and found.knowledge.noise is None
    assert "time steps: 6; they were 6" in said.stdout
    assert "no trained model (--prior), so pixels alone were looked for" in said.stdout
    with np.load(out / "reconstructions.npz") as arrays:
        assert arrays["t"].tolist() == [6] and arrays["phase_pixels"].shape == (1, 8, 8)


def test_known_steps_and_noise_are_told(model_file: Path) -> None:
    found = one(*QUICK, "--attack", "gidm", "--weights", model_file, "--images", 2, "--t", "3,9")
    assert found["knowledge"]["t"] == [3, 9] and found["knowledge"]["noise"] is True
    assert found["measures"]["t"] == [3, 9] and found["settings"]["attack"] == "gidm"
    found = one(*QUICK, "--attack", "dlg", "--drawn-by", "client")
    assert found["knowledge"]["t"] is None and len(found["measures"]["t"]) == 1


def test_a_rule_for_steps_can_be_named() -> None:
    found = one(*QUICK, *PLUS, "--set", "times=searched", "--set", "probe=1")
    assert found["settings"]["times"] == "searched" and len(found["measures"]["t"]) == 1


def test_defences_apply() -> None:
    found = one(*QUICK, "--attack", "pixels", "--defence", "top-k:share=0.5", "--adaptive")
    assert found["settings"]["defences"][0]["is"] == "TopK" and found["settings"]["adaptive"]


def test_an_update_that_was_sent_is_attacked(
    model_file: Path, tmp_path: Path, digits: ImageData
) -> None:
    from fedsec.diffusion.model import load_model

    model = load_model(model_file)
    subject = make_diffusion_client(
        victim_of(model), digits, Recipe(images=2, local=FullGradient()), 3, t=(2, 11)
    )
    subject.observed[0].update.save(tmp_path / "update.safetensors")
    assert subject.truth is not None and subject.noise is not None
    np.savez(tmp_path / "truth.npz", x=to_arrays(subject.truth.x))
    np.savez(tmp_path / "noise.npz", eps=subject.noise.numpy())
    sent = (
        "--update", tmp_path / "update.safetensors", "--weights", model_file, "--truth",
        tmp_path / "truth.npz",
    )  # fmt: skip
    private = one(*QUICK, *PLUS, *sent)
    assert private["measures"]["t"] == [2, 11] and private["measures"]["scored"]
    known = one(*QUICK, *sent, "--attack", "pixels", "--t", "2,11", "--noise",
                tmp_path / "noise.npz")  # fmt: skip
    assert known["knowledge"]["noise"] is True
    np.savez(tmp_path / "wrong.npz", eps=np.zeros((3, 1, 8, 8)))
    line = refused("invert", *QUICK, *sent, "--attack", "pixels", "--noise", tmp_path / "wrong.npz")
    assert "wrong.npz: eps has shape (3, 1, 8, 8)" in line
    change = replace(subject.observed[0].update, kind="delta")
    with pytest.raises(SettingsError, match="give --lr"):
        as_gradient(change, None)
    assert torch.equal(
        next(iter(as_gradient(change, 0.5).tensors.values())),
        next(iter(change.tensors.values())) / -0.5,
    )


def test_a_recorded_flower_run_of_a_diffusion_model_shows_its_steps(
    tmp_path: Path, digits: ImageData
) -> None:
    model = new_model({**SMALL, "channels": 1}, (1, 8, 8), seed=0)
    parts = iid(digits.train.y.numpy(), 10, stream(0, "partition")).parts
    task = Task(
        model.net, digits.train, tuple(part[:1] for part in parts), digits.test, 10,
        loss=DenoisingLoss.of(model),
    )  # fmt: skip
    federation = Federation(per_round=2, local=FullGradient(lr=0.5), seed=6)
    in_process(task, federation, 1, lambda grid: UpdateTap(grid, tmp_path / "run"))
    found = one(*QUICK, *PLUS, "--recording", tmp_path / "run", "--lr", 0.5)
    client = int(found["settings"]["client"].split(",")[0].removeprefix("client "))
    plan = Plan(FullGradient(), task.parts[client], 6, 1, client, 0)
    assert isinstance(task.loss, DenoisingLoss)
    assert found["measures"]["t"] == task.loss.noise_of(plan, (1, 8, 8))[0].tolist()


def test_an_audit_has_both_threat_models(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done(
        "audit",
        *DIFFUSION,
        "--quick",
        "--iterations",
        4,
        "--restarts",
        1,
        "--clients",
        0,
        "--out",
        out,
    )
    record = json.loads((out / "audit.json").read_text("utf-8"))
    assert [one["name"] for one in record["threats"]] == ["private-noise", "known-noise"]
    by_name = {(one["threat"], one["attack"]): one for one in record["findings"]}
    assert "needs a trained diffusion model" in by_name["known-noise", "gidm"]["why_not"]
    assert by_name["private-noise", "gidm+"]["t"] == record["client"]["facts"]["t"]


BAD = [
    ("invert --victim magic", "--victim 'magic' is not one of classifier, diffusion"),
    ("invert --t 3", "--t has no effect here: it goes with --victim diffusion"),
    ("invert --drawn-by client", "--drawn-by has no effect here"),
    ("invert --victim diffusion --drawn-by me", "--drawn-by 'me' is not one of server, client"),
    ("invert --victim diffusion --attack agic", "--attack 'agic' is not one of gidm, gidm-latent"),
    ("invert --victim diffusion --net cnn", "--net has no effect here"),
    ("invert --victim diffusion --lr 1", "--lr has no effect here"),
    ("invert --victim diffusion --algorithm fedavg", "attacked by one gradient: fedsgd"),
    ("invert --victim diffusion --t 16", "the model has steps 0 to 15"),
    ("invert --victim diffusion --t x", "--t 'x': write whole numbers, as 3,7"),
    ("invert --victim diffusion --t 1,2", "--t has 2 time steps for 1 images"),
    ("invert --victim diffusion --noise a.npz", "--noise has no effect here"),
    ("invert --victim diffusion --attack gidm", "needs a trained diffusion model"),
    ("invert --victim diffusion --set times=luck", "--set times 'luck' is not one of read-off"),
    ("invert --victim diffusion --prior no.safetensors", "there is no such file"),
    ("invert --victim diffusion --defence soteria", "a diffusion model has none"),
    ("audit --victim diffusion --threat labels", "--threat 'labels' is not one of private-noise"),
    ("audit --victim diffusion --cost-rounds 3", "--cost-rounds has no effect here"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "said"), BAD)
def test_what_cannot_be_is_refused(words: str, said: str, tmp_path: Path) -> None:
    assert said in refused(*words.split(), "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_of_other_images_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "colour.safetensors"
    save_model(path, new_model({**SMALL, "channels": 3}, (3, 8, 8)))
    line = refused("invert", *DIFFUSION, "--prior", path)
    assert "a model of images of 3 x 8 x 8, and the data set's are 1 x 8 x 8" in line


def test_the_help_names_what_the_table_holds() -> None:
    assert DIFFUSION_SAID.split(", ") == list(DIFFUSION_ATTACKS)
