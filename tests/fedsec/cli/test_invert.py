"""What `fedsec invert` does is what the library does; what it is given badly, it names."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from safetensors.torch import load_file, save_file

from fedsec.cli.invert import ATTACKS_SAID, DEFENCES_SAID
from fedsec.core.record import Knowledge, Result, read_results
from fedsec.data.images import ImageData
from fedsec.inversion.attacks import ATTACKS
from fedsec.inversion.true_images import read_truth
from fedsec.metrics.images import psnr
from tests.fedsec.cli.attacked import MINE, Sent, sent_by
from tests.fedsec.cli.commands import done, refused, run, started

FILES = {"results.jsonl", "reconstructions.npz", "pictures.png", "settings.json"}
QUICK = ("--net", "mlp", "--images", 2, "--iterations", 5)
TOLD = """
import fedsec.cli.bars as bars
from contextlib import contextmanager
from dataclasses import replace
before = bars.attack_bar
@contextmanager
def told(*given):
    with before(*given) as watch:
        yield replace(watch, progress=lambda *_: print("playing", flush=True), every=2)
bars.attack_bar = told
"""


def one(*words: object) -> dict[str, Any]:
    """The result of a command, as JSON."""
    found: dict[str, Any] = json.loads(done("invert", *words, "--json").stdout)
    return found


@pytest.fixture
def sent(tmp_path: Path, digits: ImageData) -> Sent:
    return sent_by(tmp_path, digits)


def arrays_in(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "reconstructions.npz") as file:
        return dict(file)


def result_in(folder: Path) -> Result:
    (found,) = read_results(folder / "results.jsonl")
    return found


def test_a_client_that_is_made_is_attacked_scored_and_written(tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = done("invert", *QUICK, "--attack", "agic", "--batch", 1, "--lr", 0.05, "--out", out)
    assert {path.name for path in out.iterdir()} == FILES
    found = result_in(out)
    assert found.what == "invert" and found.settings["attack"] == "agic"
    assert found.settings["iterations"] == found.measures["iterations"] == 5
    assert found.knowledge is not None and found.knowledge.lr == 0.05
    assert found.knowledge.steps == 2 and found.knowledge.order is not None
    assert set(found.measures["guesses"]) == {"mean_image", "random_images", "class_mean_images"}
    arrays = arrays_in(out)
    matched = torch.from_numpy(arrays["x"])[torch.from_numpy(arrays["match_of"])][:, None]
    scores = psnr(matched, torch.from_numpy(arrays["truth"])[:, None]).numpy()
    assert_allclose(scores, arrays["psnr"])
    assert_allclose(np.median(scores), found.measures["psnr_median"])
    assert f"{np.median(scores):.1f}" in said.stdout and f"written to {out}" in said.stdout
    assert f"the attacker {found.knowledge}" in said.stdout
    settings = json.loads((out / "settings.json").read_text())
    assert settings["rerun"] == (
        "fedsec invert --net mlp --images 2 --batch 1 --lr 0.05 --attack agic --iterations 5"
    )


def test_the_same_command_gives_the_same_bits_and_its_files_can_be_truth(tmp_path: Path) -> None:
    for name in ("one", "two"):
        done("invert", *QUICK, "--out", tmp_path / name)
    first, second = (arrays_in(tmp_path / name) for name in ("one", "two"))
    assert np.array_equal(first["x"], second["x"])
    found = read_truth(tmp_path / "one" / "reconstructions.npz", (1, 8, 8), 10)
    assert found.y.tolist() == first["y"].tolist()


def test_what_is_not_known_is_not_told() -> None:
    found = one(*QUICK, "--recover-labels", "--unknown", "lr", "--unknown", "order")
    known = Knowledge(**{key: value for key, value in found["knowledge"].items()})
    assert known == Knowledge(steps=1, batch=2)
    gradient = one(*QUICK, "--algorithm", "fedsgd")["knowledge"]
    assert gradient["lr"] is None and gradient["labels"] is not None


def test_an_update_that_was_sent_is_attacked_without_its_truth(sent: Sent, tmp_path: Path) -> None:
    """The analytic attack finds the image, and so the training image that it is."""
    out = tmp_path / "out"
    said = done("invert", *sent.words, "--net", "mlp", "--attack", "analytic", "--out", out)
    found = result_in(out)
    assert found.measures["scored"] is False and found.knowledge == Knowledge()
    assert "scores need the true images: --truth" in said.stdout
    arrays = arrays_in(out)
    assert_allclose(arrays["x"], sent.images.x[:, 0].numpy(), atol=1e-3)
    assert {path.name for path in out.iterdir()} == FILES
    assert "client-3.safetensors" in found.settings["client"]


def test_with_the_truth_it_is_scored(sent: Sent) -> None:
    found = one(*sent.words, "--net", "mlp", "--attack", "analytic", "--truth", sent.truth)
    assert found["measures"]["psnr_median"] > 50
    assert found["measures"]["share_reidentified"] == found["measures"]["share_exposed"] == 1
    assert found["knowledge"]["labels"] == sent.images.y.tolist()
    label = sent.images.y.tolist()[0]
    told = one(
        *sent.words, "--net", "mlp", "--attack", "idlg", "--iterations", 3, "--labels", label
    )
    assert told["knowledge"]["labels"] == [label]
    hidden = one(*sent.words, "--net", "mlp", "--iterations", 3)
    assert hidden["measures"]["labels"] == [label]  # recovered


def test_parameters_after_training_and_what_is_known_of_it(sent: Sent, tmp_path: Path) -> None:
    path, sent_out = tmp_path / "after.safetensors", load_file(sent.weights)
    change = load_file(sent.update)
    after = {name: value - 0.1 * change[f"tensor:{name}"] for name, value in sent_out.items()}
    save_file(after, path)
    found = one(
        "--update", path, "--weights", sent.weights, "--kind", "weights", "--net", "mlp", "--n", 1,
        "--lr", 0.1, "--steps", 1, "--batch", 1, "--order", "0", "--attack", "simulation",
        "--iterations", 3,
    )  # fmt: skip
    known = found["knowledge"]
    assert (known["lr"], known["steps"], known["batch"], known["order"]) == (0.1, 1, 1, [[0]])


def test_a_network_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: ImageData
) -> None:
    (tmp_path / "my_nets.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    words = ("--model", "my_nets:make_net", "--attack", "analytic", "--images", 1)
    found, again = one(*words), one(*words)
    assert found["settings"]["model"] == "my_nets:make_net"
    assert found["measures"]["psnr_median"] == again["measures"]["psnr_median"] > 50
    for name, said in (
        ("my_nets:one_class", "10 classes need (2, 10)"),
        ("my_nets:broken", "my_nets.py, line 11: ZeroDivisionError: division by zero"),
        ("my_nets:nothing", "nothing in my_nets is not a function"),
        ("my_nets:absent", "absent in my_nets is not there"),
        ("no_nets:make_net", "there is no module 'no_nets'"),
        ("my_nets", "write MODULE:FUNCTION, as mine:make_net"),
        ("my_nets.py:make_net", "is a path: write MODULE:FUNCTION"),
        ("json:dumps", "TypeError"),
        ("builtins:dict", "gave dict, no torch.nn.Module"),
    ):
        assert said in refused("invert", "--model", name, "--attack", "analytic")
    (tmp_path / "bad_nets.py").write_text("def make_net(:")
    assert "bad_nets.py, line 1: SyntaxError" in refused("invert", "--model", "bad_nets:make_net")


def test_defences_and_attackers_who_know_them() -> None:
    words = (*QUICK, "--attack", "inverting-gradients", "--set", "tv=0")
    plain = one(*words)
    both = ("--defence", "relative-noise:scale=0.1", "--defence", "top-k:share=0.05")
    hidden, knowing = one(*words, *both), one(*words, *both, "--adaptive")
    losses = [found["measures"]["loss"] for found in (plain, hidden, knowing)]
    assert len(set(losses)) == 3
    assert [one["is"] for one in hidden["settings"]["defences"]] == ["RelativeNoise", "TopK"]
    assert knowing["settings"]["adaptive"] and not hidden["settings"]["adaptive"]
    one(*words, "--defence", "soteria:share=0.5", "--adaptive")
    one(*words, "--algorithm", "fedsgd", "--defence", "dp-sgd:noise_multiplier=0.1", "--adaptive")
    one(*words, "--defence", "absolute-noise:deviation=0.1,law=laplace")


def test_time_ends_an_attack(tmp_path: Path) -> None:
    found = one("--images", 1, "--attack", "agic", "--seconds", 0.05)
    assert found["measures"]["stopped"] == "time" and found["measures"]["iterations"] < 4800


def test_ctrl_c_keeps_the_best_so_far(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = started(TOLD, "invert", "--images", 1, "--iterations", 10**7, "--out", out)
    assert process.stdout is not None
    for _ in range(3):
        assert process.stdout.readline() == "playing\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "stopping with the best so far" in said and "Traceback" not in said
    assert said.splitlines()[-1].startswith("interrupted after ")
    assert {path.name for path in out.iterdir()} == FILES
    found = result_in(out)
    assert found.measures["stopped"] == "interrupted" and found.measures["iterations"] >= 6
    assert found.measures["psnr_median"] is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


BAD = [
    ("--attack magic", "--attack 'magic' is not one of dlg, idlg"),
    ("--attack idlg", "--attack idlg cannot be used here: idlg rebuilds one image, not 4"),
    ("--attack analytic --net cnn", "cannot be used here: analytic reads images off a first layer"),
    ("--attack analytic --iterations 3", "--iterations has no effect here: analytic has no"),
    ("--attack simulation --unknown lr", "a simulation needs the client's learning rate"),
    ("--attack sme --algorithm fedsgd", "sme is for changes of parameters"),
    ("--iterations 0", "iterations = 0: give at least 1"),
    ("--set tv", "--set 'tv': write NAME=VALUE, as tv=0.01"),
    ("--set tv=much", "--set tv=much: 'much' is not a number"),
    ("--set luck=1", "--set luck: no such setting of inverting-gradients: there are iterations"),
    ("--seconds 0", "--seconds is 0.0: give a number above 0"),
    ("--unknown pixels", "--unknown 'pixels' is not one of labels, lr"),
    ("--net big", "--net 'big' is not one of linear, mlp"),
    ("--net mlp --model a:b", "--net has no effect here"),
    ("--images 0", "--images is 0: give at least 1"),
    ("--images 2000", "a client of 2000 images: digits has 1297"),
    ("--batch 0", "--batch is 0"),
    ("--lr 0", "lr = 0.0: give a learning rate above 0"),
    ("--seed -1", "--seed is -1: give at least 0"),
    ("--algorithm luck", "--algorithm 'luck' is not one of fedavg, fedsgd"),
    ("--algorithm fedsgd --lr 1", "--lr has no effect here: it goes with --algorithm fedavg"),
    ("--device tpu", "--device 'tpu' is not one of auto"),
    ("--defence luck", "--defence 'luck' is not one of clip, gaussian-noise"),
    ("--defence top-k:share", "write NAME:SETTING=VALUE, as top-k:share=0.1"),
    ("--defence top-k:bits=2", "no such setting as 'bits': there are share"),
    ("--defence signs:bits=2", "no such setting as 'bits': there are none"),
    ("--defence top-k:share=2", "top-k: share 2.0 is not in (0, 1]"),
    ("--defence quantise:bits=2.5", "'2.5' is not a whole number"),
    ("--defence absolute-noise:law=cauchy", "law 'cauchy' is not one of gaussian, laplace"),
    ("--defence top-k --defence dp-sgd", "dp-sgd takes the gradient itself: name it first"),
    ("--defence dp-sgd", "DP-SGD is applied here to clients that send one gradient"),
    ("--adaptive", "--adaptive has no effect here: it goes with --defence"),
    ("--n 3", "--n has no effect here: it goes with --update and --recording"),
    ("--kind delta", "--kind has no effect here: it goes with --update"),
    ("--round 1", "--round has no effect here: it goes with --recording"),
    ("--update a.npz", "--update needs the parameters that the client was sent: --weights"),
    ("--update a.pt --weights b.npz", "b.npz: there is no such file"),
    ("--recording nowhere", "holds no recording of updates"),
    ("--recording a --update b.npz --weights c.npz", "--recording has no effect here"),
    ("--recording a --weights b.npz", "--weights has no effect here"),
    ("--weights model.pkl", "a pickle can run code when it is read, so it is refused"),
    ("--data nope", "no image set 'nope'"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "said"), BAD)
def test_what_cannot_be_is_refused(
    words: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused("invert", "--out", tmp_path / "out", *words.split())
    assert not (tmp_path / "out").exists()


SENT = [
    ("--net cnn", "model.safetensors does not fit the network: without 0.bias"),
    ("--net mlp --data mnist-like.npz", "mnist-like.npz: there is no such file"),
    ("--net mlp --kind delta", "says that it is a gradient, and the kind given is delta"),
    ("--net mlp --n 2 --labels 3", "1 labels for 2 images"),
    ("--net mlp --labels ten", "--labels: 'ten' is no class: give 0 to 9, as 3,1,4,1"),
    ("--net mlp --order 0;x", "--order '0;x': write the images of each step"),
    ("--net mlp --n 2 --truth images.npz", "images.npz: 1 images, where the client trained on 2"),
    ("--net mlp --truth model.safetensors", "has no array 'x'"),
    ("--net mlp --images 3", "--images has no effect here: it goes with a client that is made"),
]


@pytest.mark.parametrize(("words", "said"), SENT)
def test_what_does_not_fit_an_update_is_refused(
    words: str, said: str, sent: Sent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused("invert", *sent.words, *words.split())


def test_an_update_that_is_not_finite_names_its_file(sent: Sent, tmp_path: Path) -> None:
    broken = {key.removeprefix("tensor:"): value for key, value in load_file(sent.update).items()}
    name = next(iter(broken))
    broken[name][0] = torch.nan
    save_file(broken, tmp_path / "bad.safetensors")
    line = refused("invert", "--update", tmp_path / "bad.safetensors", "--weights", sent.weights,
                   "--kind", "gradient", "--n", 1, "--net", "mlp")  # fmt: skip
    assert "bad.safetensors: " in line and f"entries of {name!r} are not finite" in line
    del broken[name]
    save_file(broken, tmp_path / "bad.safetensors")
    line = refused("invert", "--update", tmp_path / "bad.safetensors", "--weights", sent.weights,
                   "--kind", "gradient", "--n", 1, "--net", "mlp")  # fmt: skip
    assert f"bad.safetensors does not fit the network: without {name}" in line


def test_images_of_another_form_are_refused(sent: Sent, tmp_path: Path) -> None:
    grey = {f"x_{part}": np.zeros((2, 6, 6), np.uint8) for part in ("train", "test")}
    labels = {f"y_{part}": np.array([0, 9]) for part in ("train", "test")}
    np.savez(tmp_path / "small.npz", **grey, **labels)
    (tmp_path / "my_other_nets.py").write_text(MINE)
    line = refused("invert", *sent.words, "--net", "mlp", "--data", tmp_path / "small.npz")
    assert "model.safetensors: " in line or "images of 1 x 6 x 6" in line


def test_nobody_says_how_many(sent: Sent, tmp_path: Path) -> None:
    tensors = load_file(sent.update)
    save_file({key.removeprefix("tensor:"): value for key, value in tensors.items()},
              tmp_path / "plain.safetensors")  # fmt: skip
    line = refused("invert", "--update", tmp_path / "plain.safetensors", "--weights", sent.weights,
                   "--kind", "gradient", "--net", "mlp")  # fmt: skip
    assert "nobody says how many images the client trained on: give --n" in line


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert "is not empty: choose a new folder" in refused("invert", "--out", tmp_path)
    assert run("invert", "--nope").exit_code == 2


def test_the_help_names_what_the_tables_hold() -> None:
    from fedsec.cli.defending import KINDS

    assert ATTACKS_SAID.split(", ") == list(ATTACKS)
    assert DEFENCES_SAID.split(", ") == list(KINDS)
