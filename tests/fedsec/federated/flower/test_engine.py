"""A real `flwr run` on Ray repeats the run in this process, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

from fedsec.core.functional import state_of
from fedsec.errors import FedsecError, SettingsError
from fedsec.federated.flower import QUIET, engine, read_updates, run_in_process, run_project
from fedsec.federated.selectors import FedEmd
from fedsec.federated.simulate import Federation
from tests.fedsec.federated.flower.runs import simulated

ROOT = Path(__file__).parents[4]
PROJECT = Path(__file__).with_name("project")
RUN = """
import json, sys
from fedsec.federated.flower import run_project
print(run_project(**json.loads(sys.argv[1])))
"""
APART = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


def apart() -> list[str]:
    """What to put before a command to run it in a network of its own, where that can be made."""
    can = bool(shutil.which("unshare") and shutil.which("ip"))
    return (
        APART
        if can and not subprocess.run([*APART, "true"], capture_output=True).returncode
        else []
    )


def carrying(entry: str) -> list[str]:
    """The command lines of processes with this in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if entry.encode() in (path / "environ").read_bytes().split(b"\0"):
                found.append((path / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """For temporary files: Ray's sockets need a short path."""
    with TemporaryDirectory(prefix="f", dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.slow
def test_fed_emd_on_ray_is_fed_emd_in_this_process_and_nothing_stays(
    tmp_path: Path, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, home = tmp_path / "project", tmp_path / "home"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("__pycache__"))
    outs = [tmp_path / "ray", tmp_path / "here"]
    for folder in (home, *outs):
        folder.mkdir()
    entry = f"FEDSEC_TEST={secrets.token_hex(8)}"
    name, mark = entry.split("=")
    settings = {
        "folder": str(project), "n_clients": 6, "n_workers": 2, "timeout": 400.0,
        "run_config": {"out": str(outs[0]), "rounds": 3},
    }  # fmt: skip
    done = subprocess.run(
        [*apart(), sys.executable, "-c", RUN, json.dumps(settings)],
        env={**os.environ, "HOME": str(home), "TMPDIR": str(short_folder), "PYTHONPATH": str(ROOT),
             name: mark},
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "[ROUND 3/3]" in done.stdout
    assert carrying(entry) == []
    assert list(short_folder.iterdir()) == [] and not (home / ".flwr").exists()

    told = json.loads((outs[0] / "told.json").read_text())
    assert QUIET.items() <= told["environment"].items()
    assert told["process"] != os.getpid() and len(told["environment"]["RAY_AUTH_TOKEN"]) == 64
    monkeypatch.syspath_prepend(project)
    from digits_app import client, server, task  # type: ignore[import-not-found]

    run_in_process(server.app, client.app, 6, run_config={"out": str(outs[1]), "rounds": 3})
    here = json.loads((outs[1] / "told.json").read_text())
    assert told["chosen"] == here["chosen"]
    models = [load_file(out / "model.safetensors") for out in outs]
    assert_close(models[0], models[1], rtol=0, atol=1e-6)

    federation = Federation(
        per_round=2, local=client.LOCAL, selector=FedEmd(alpha=3.0, beta=1.0), seed=task.SEED
    )
    other = simulated(task.whole(), federation, 3)
    assert [one.chosen.tolist() for one in other.rounds] == told["chosen"]
    assert_close(models[0], other.state.parameters, rtol=0, atol=1e-6)
    assert not all(
        value.equal(models[0][name])
        for name, value in state_of(task.whole().net).parameters.items()
    )
    recorded = [list(read_updates(out / "updates")) for out in outs]
    for one, two in zip(*recorded, strict=True):
        assert (one.round, one.client, one.n) == (two.round, two.client, two.n)
        assert_close(one.tensors, two.tensors, rtol=0, atol=1e-6)
    assert len(recorded[0]) == 6


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_processes_that_carry_the_mark_are_ended_though_detached() -> None:
    """One of them heeds no SIGTERM; a third process has another mark."""
    mark, other = secrets.token_hex(8), secrets.token_hex(8)
    deaf = "trap '' TERM; echo deaf; while true; do sleep 0.1; done"
    started = [
        subprocess.Popen(
            ["sh", "-c", command], env={**os.environ, engine.MARK: value}, start_new_session=True,
            stdout=subprocess.PIPE,
        )
        for command, value in (
            ("echo heeds; exec sleep 99", mark), (deaf, mark), ("echo other; exec sleep 99", other)
        )
    ]  # fmt: skip
    for one in started:
        assert one.stdout is not None and one.stdout.readline()
    assert {one.pid for one in started[:2]} <= set(engine.marked(mark))
    engine.end_marked(mark, patience=0.5)
    assert [one.wait(9) for one in started[:2]] == [-signal.SIGTERM, -signal.SIGKILL]
    assert started[2].poll() is None
    engine.end_marked(other)
    for one in started:
        one.wait(9)
        assert one.stdout is not None
        one.stdout.close()


def test_a_super_link_that_does_not_start_is_an_error_with_its_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "flower-superlink"
    program.write_text("#!/bin/sh\necho the port is taken >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(engine, "_program", lambda name: str(program))
    with pytest.raises(FedsecError, match="did not start; its log ends\nthe port is taken"):
        with engine.superlink():
            pass


def test_a_folder_without_a_project_and_values_that_cannot_be_passed_are_refused(
    tmp_path: Path,
) -> None:
    with pytest.raises(SettingsError, match="holds no pyproject.toml, so it is no Flower project"):
        run_project(tmp_path, n_clients=2)
    with pytest.raises(SettingsError, match="run_config: out holds a quote"):
        run_project(PROJECT, n_clients=2, run_config={"out": "it's"})


def test_settings_reach_flower_as_they_are() -> None:
    """By the function by which `flwr run` reads them."""
    from flwr.common.config import parse_config_args

    given = {"a": True, "b": 3, "c": 0.25, "d": "two words", "e-f": 'x"y'}
    assert parse_config_args([engine.assigned(given)]) == given


def test_without_flower_the_extra_is_named() -> None:
    code = "import sys; sys.modules['flwr'] = None; import fedsec.federated.flower"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "ImportError: Flower runs need flwr: pip install 'crowdlearn[flower]'" in done.stderr
