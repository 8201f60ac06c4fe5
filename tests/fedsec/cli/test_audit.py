"""`fedsec audit`, end to end: a Flower run is recorded, and its recording audited."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from fedsec.cli.auditing import cost_of
from fedsec.cli.presets import PRESETS
from fedsec.cli.target import TargetFlags
from fedsec.cli.targets import target_of
from fedsec.core.rng import stream
from fedsec.data.images import ImageData
from fedsec.data.partitions import iid
from fedsec.federated.flower import UpdateTap, read_model, read_updates
from fedsec.federated.local import LocalTraining
from fedsec.federated.simulate import Federation
from fedsec.federated.task import Task
from fedsec.inversion.audit import THREATS
from fedsec.inversion.audit.ladders import LADDERS
from fedsec.inversion.recordings import read_round, recorded_rounds
from fedsec.inversion.true_images import to_arrays
from fedsec.nets import make_net
from tests.fedsec.cli.attacked import MINE, sent_by
from tests.fedsec.cli.commands import done, refused, started
from tests.fedsec.cli.test_help import commands
from tests.fedsec.federated.flower.runs import in_process
from tests.fedsec.inversion.audit.test_page import Page

FILES = {"audit.html", "audit.json", "settings.json"}
SMALL = (
    "--quick", "--iterations", 2, "--clients", 1, "--cost-rounds", 0, "--defence", "top-k",
)  # fmt: skip
TOLD = """
import fedsec.cli.auditing as auditing
from contextlib import contextmanager
from dataclasses import replace
before = auditing.following
@contextmanager
def told(*given):
    with before(*given) as follow:
        yield replace(follow, progress=lambda *_: print("playing", flush=True))
auditing.following = told
"""
PER_CLIENT = 3


@pytest.fixture(scope="module")
def flower_task(digits: ImageData) -> Task:
    """Clients with three images each, and a dense network."""
    n = len(digits.train) // PER_CLIENT
    parts = iid(digits.train.y.numpy(), n, stream(0, "partition")).parts
    return Task(make_net("mlp", digits, 7), digits.train, parts, digits.test, 10)


@pytest.fixture(scope="module")
def recording(flower_task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rounds of a Flower run, by an app, a strategy and a tap."""
    folder = tmp_path_factory.mktemp("flower") / "run"
    federation = Federation(per_round=2, local=LocalTraining(batch=PER_CLIENT, lr=0.05), seed=1)
    in_process(flower_task, federation, 2, lambda grid: UpdateTap(grid, folder))
    return folder


def audited(out: Path, *words: object) -> tuple[dict, Page]:
    """The JSON and the page of an audit."""
    done("audit", "--out", out, *SMALL, *words)
    assert {path.name for path in out.iterdir()} == FILES
    page = Page((out / "audit.html").read_text("utf-8"))
    return json.loads((out / "audit.json").read_text("utf-8")), page


def test_a_recorded_flower_run_is_audited(
    recording: Path, flower_task: Task, tmp_path: Path
) -> None:
    """What a client of the run sent exposes its images: those, and not others, are found."""
    update = next(read_updates(recording))
    images = flower_task.train.subset(flower_task.parts[update.client])
    np.savez(tmp_path / "images.npz", x=to_arrays(images.x), y=images.y.numpy())
    record, page = audited(
        tmp_path / "out", "--recording", recording, "--round", update.round, "--client",
        update.client, "--net", "mlp", "--truth", tmp_path / "images.npz", "--lr", 0.05,
        "--steps", 1, "--batch", PER_CLIENT, "--order", "0,1,2",
    )  # fmt: skip
    assert record["finished"] and record["client"]["images"] == PER_CLIENT
    assert record["client"]["from"] == f"client {update.client}, round 1 of run"
    assert record["client"]["facts"]["labels"] == images.y.tolist()
    by_name = {(one["threat"], one["attack"]): one for one in record["findings"]}
    analytic = by_name["update", "analytic"]
    assert max(analytic["psnr"]) > 40 and any(analytic["exposed"])
    assert record["threats"][0]["verdict"]["level"] in ("exposed", "partly")
    assert by_name["everything", "simulation"]["why_not"] is None
    assert [one["name"] for one in record["curves"]] == ["steps", "batches", "top-k"]
    said = "".join(page.text)
    assert all(one["verdict"]["says"] in said for one in record["threats"])
    assert all(one.startswith("data:image/") for one in page.images)
    command = shlex.split(record["rerun"])
    assert command[:2] == ["fedsec", "audit"] and str(recording) in command
    assert record["rerun"] in said


def test_a_recording_reads_as_the_tap_wrote_it(recording: Path, flower_task: Task) -> None:
    updates = list(read_updates(recording))
    assert [(number, client) for number, who in recorded_rounds(recording).items()
            for client in who] == [(one.round, one.client) for one in updates]  # fmt: skip
    for expected in updates:
        sent, found = read_round(recording, expected.round, expected.client, flower_task.net)
        model = read_model(recording, expected.round, expected.client)
        assert_close(sent.parameters, model, rtol=0, atol=0)
        assert_close(found.tensors, expected.tensors, rtol=0, atol=0)
        assert (found.kind, found.n) == ("delta", expected.n)


def test_running_statistics_that_a_tap_was_not_told_of_are_left_out(
    digits: ImageData, tmp_path: Path
) -> None:
    """It recorded them as changes of parameters."""
    parts = iid(digits.train.y.numpy(), 400, stream(0, "partition")).parts
    task = Task(make_net("cnn-bn", digits, 0), digits.train, parts, digits.test, 10)
    in_process(task, Federation(per_round=1, local=LocalTraining(batch=4)), 1,
               lambda grid: UpdateTap(grid, tmp_path / "run"))  # fmt: skip
    ((number, (client,)),) = recorded_rounds(tmp_path / "run").items()
    sent, update = read_round(tmp_path / "run", number, client, task.net)
    assert list(update.tensors) == [name for name, _ in task.net.named_parameters()]
    assert list(sent.buffers) == [name for name, _ in task.net.named_buffers()]


def test_several_rounds_and_no_truth(
    recording: Path, flower_task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (client,) = recorded_rounds(recording)[1][:1]
    model = recording / "round-0001" / "model.safetensors"
    for number in (1, 2):  # as if the client had been in both
        place = tmp_path / "run" / f"round-{number:04d}"
        place.mkdir(parents=True)
        (place / "model.safetensors").write_bytes(model.read_bytes())
        update = recording / "round-0001" / f"client-{client}.safetensors"
        (place / update.name).write_bytes(update.read_bytes())
    record, page = audited(
        tmp_path / "out", "--recording", tmp_path / "run", "--round", 1, "--round", 2, "--net",
        "mlp", "--threat", "update", "--attack", "agic", "--attack", "analytic", "--clients", 0,
    )  # fmt: skip
    assert record["client"]["rounds"] == [1, 2] and record["client"]["truth"] is False
    assert [one["verdict"]["level"] for one in record["threats"]] == ["unknown"]
    nearest = {one["attack"]: one["nearest"] for one in record["findings"]}
    held = set(flower_task.parts[client].tolist())
    assert held & set(nearest["analytic"])  # the neighbour of an exact image is itself
    assert "nothing is scored" in "".join(page.text) and record["curves"] == []


def test_hostile_names_are_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: ImageData
) -> None:
    (tmp_path / "audited_nets.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    scope: dict[str, Callable] = {}
    exec(MINE, scope)  # the same network, with parameters of its own
    sent = sent_by(tmp_path, digits, scope["make_net"]())
    hostile = sent.update.with_name("<script>alert(1)</script> & 'x'.safetensors".replace("/", "_"))
    sent.update.rename(hostile)
    record, page = audited(
        tmp_path / "out", "--model", "audited_nets:make_net", "--update", hostile, "--weights",
        sent.weights, "--truth", sent.truth, "--threat", "update", "--attack", "analytic",
        "--clients", 0,
    )  # fmt: skip
    assert "<script>" in record["client"]["from"] and record["client"]["from"] in "".join(page.text)
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert record["threats"][0]["verdict"]["level"] == "exposed"
    assert record["model"]["name"] == "audited_nets:make_net"


def test_the_json_on_the_screen_is_that_of_the_file(tmp_path: Path) -> None:
    words = ("--net", "mlp", "--images", 1, "--algorithm", "fedsgd", "--threat", "update",
             "--attack", "analytic", "--clients", 0)  # fmt: skip
    out = tmp_path / "out"
    shown = json.loads(done("audit", *words, "--json", "--out", out).stdout)
    assert shown == json.loads((out / "audit.json").read_text("utf-8"))
    said = done("audit", *words, "--out", tmp_path / "again").stdout
    assert "exposed  Server reads the update: The one image can be rebuilt by analytic" in said
    assert "without an update: " in said and f"written to {tmp_path / 'again'}" in said


def test_ctrl_c_writes_what_is_done(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = started(
        TOLD, "audit", "--net", "mlp", "--images", 1, "--attack", "analytic", "--attack", "agic",
        "--iterations", 10**7, "--out", out,
    )  # fmt: skip
    assert process.stdout is not None
    for _ in range(4):
        assert process.stdout.readline() == "playing\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == "interrupted: the report has what was done so far"
    record = json.loads((out / "audit.json").read_text("utf-8"))
    assert record["finished"] is False and "analytic" in {
        one["attack"] for one in record["findings"]
    }
    assert "This audit is not finished" in (out / "audit.html").read_text("utf-8")


BAD = [
    ("--threat god", "--threat 'god' is not one of update, labels"),
    ("--attack magic", "--attack 'magic' is not one of dlg"),
    ("--defence luck", "--defence 'luck' is not one of noise, top-k"),
    ("--iterations 0", "--iterations is 0: give at least 1"),
    ("--clients -1", "--clients is -1: give at least 0"),
    ("--cost-rounds -1", "--cost-rounds is -1: give at least 0"),
    ("--seconds -1", "--seconds is -1.0: give a number above 0"),
    ("--update a.pth --weights b.bin", "a pickle can run code"),
    ("--recording nowhere", "holds no recording of updates"),
    ("--model nowhere:make", "there is no module 'nowhere'"),
]


@pytest.mark.parametrize(("words", "said"), BAD)
def test_what_cannot_be_is_refused(
    words: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused("audit", *words.split())
    assert list(tmp_path.iterdir()) == []


def test_a_client_that_was_not_recorded_is_refused(recording: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out", "--net", "mlp")
    line = refused("audit", "--recording", recording, "--client", 999, "--round", 1, *out)
    assert "has no client 999 in round 1: clients " in line
    line = refused("audit", "--recording", recording, "--round", 9, *out)
    assert "in round 9: rounds 1, 2 are recorded" in line
    line = refused("audit", "--recording", recording, *out[:2], "--net", "cnn")
    assert "model.safetensors does not fit the network" in line


def test_a_time_that_is_too_short_leaves_parts_out(tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = done("audit", "--net", "mlp", "--images", 1, "--threat", "update", "--attack", "agic",
                 "--attack", "dlg", "--clients", 0, "--seconds", 1e-9, "--out", out)  # fmt: skip
    assert found.stderr.startswith("time was short: 2 parts were left out, and 0 attacks ended")
    record = json.loads((out / "audit.json").read_text("utf-8"))
    assert record["findings"] == [] and len(record["left_out"]) == 2 and not record["finished"]
    assert "No attack was run." in (out / "audit.html").read_text("utf-8")


def test_the_cost_is_measured_in_a_federation_of_the_same_network(digits: ImageData) -> None:
    flags = TargetFlags(net="linear", images=1, seed=3, device="cpu")
    cost = cost_of(target_of(flags), 3)
    assert cost.task.n_clients == 20 and sum(cost.task.counts().sum(1)) == len(digits.train)
    preset = PRESETS["digits"]
    assert cost.federation.local == LocalTraining(
        epochs=preset.epochs, batch=preset.batch, lr=preset.lr, momentum=preset.momentum
    )
    plain = cost.accuracy(None, 1, 1)
    hidden = cost.accuracy(LADDERS["noise"].make(10.0), 1, 1)
    assert plain.shape == (1,) and plain[0] > hidden[0]


def test_the_help_names_what_the_tables_hold() -> None:
    said = {one.name: getattr(one, "help", "") for one in commands()["audit"].params}
    assert all(name in said["threat"] for name in THREATS)
    assert all(name in said["defence"] for name in LADDERS)
