"""`flwr run` of a project on this machine that leaves nothing behind.

Story       By itself `flwr run` starts a SuperLink, a daemon that stays, with its files in the
            user's home; the SuperLink starts a SuperExec, that starts the simulation, that starts
            Ray. Here the SuperLink is a child of ours on a free port of the loopback, with a
            folder of its own, and `flwr run` is told to use it. When the run is over it is ended,
            and what it started ends with it.
Certainty   Some of these processes detach themselves. All inherit our mark in their environment,
            and on Linux those that still carry it are ended by their ids. Only where this process
            itself is killed before it can do so they stay.
Security    The SuperLink listens on the loopback only, without TLS: other users of this machine can
            reach it while the run lasts. Ray listens on all interfaces; it is given a token, drawn
            for this run, without which it serves nobody.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from fedsec.errors import FedsecError, SettingsError

QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Environment in which Flower's programs and Ray report to nobody and install nothing.

They read it when they start: `subprocess.run(command, env={**os.environ, **QUIET})`, or `export`.
"""

MARK = "FEDSEC_FLOWER_RUN"
NAME = "fedsec"  # of the connection in Flower's own config
STARTING, ENDING = 120.0, 20.0  # seconds
LONGEST = 20  # characters


def run_project(
    folder: str | Path,
    *,
    n_clients: int,
    run_config: Mapping[str, bool | int | float | str] | None = None,
    n_workers: int = 1,
    env: Mapping[str, str] | None = None,
    timeout: float = 3600.0,
) -> str:
    """Run a Flower project to its end by `flwr run` on Ray; gives the log.

    folder       that holds its pyproject.toml, with the table [tool.flwr.app.components]
    n_clients    simulated nodes
    run_config   in place of values in the table [tool.flwr.app.config]; paths should be absolute,
                 as the project runs from a copy
    n_workers    processes that run clients, one client at a time each; where RAY_ADDRESS names a
                 cluster that runs, its cores say how many instead
    env          of all processes, beside ours and `QUIET`
    timeout      seconds

    Takes some 30 seconds more than training does. What the project imports must be importable by
    this Python. Raises SettingsError for a folder without a project, or a value that cannot be
    passed; FedsecError where the run fails or does not end in time, with the end of its log.
    """
    if not (Path(folder) / "pyproject.toml").is_file():
        raise SettingsError(f"{folder}: holds no pyproject.toml, so it is no Flower project")
    resources = f"num-supernodes={n_clients} client-resources-num-cpus=1"
    command = ["run", str(Path(folder).resolve()), NAME, "--stream"]
    if run_config:
        command += ["--run-config", assigned(run_config)]
    with superlink(env) as environment:
        if not environment.get("RAY_ADDRESS"):
            resources += f" init-args-num-cpus={n_workers}"
        command += ["--federation-config", resources]
        log = _flwr(command, environment, timeout)
        ended = _status(environment)
    if ended != "finished:completed":
        raise FedsecError(f"{folder}: the run ended as {ended}; its log ends\n{_end(log)}")
    return log


def assigned(run_config: Mapping[str, bool | int | float | str]) -> str:
    """Settings as Flower reads them: assignments of TOML, in which quotes cannot be escaped.

    Raises SettingsError for a string that holds a quote (') or a line break.
    """
    for name, value in run_config.items():
        if isinstance(value, str) and ("'" in value or "\n" in value):
            raise SettingsError(f"run_config: {name} holds a quote (') or a line break")
    return " ".join(
        f"{name}='{value}'" if isinstance(value, str) else f"{name}={json.dumps(value)}"
        for name, value in run_config.items()
    )


@contextmanager
def superlink(env: Mapping[str, str] | None = None) -> Iterator[dict[str, str]]:
    """A SuperLink for simulations while the context lasts; gives the environment to use it in.

    In that environment `flwr run FOLDER fedsec` and the other commands of flwr reach it. Raises
    FedsecError where it does not start.
    """
    with TemporaryDirectory(prefix="fedsec-", dir=_place(), ignore_cleanup_errors=True) as home:
        port, mark = _free_port(), secrets.token_hex(16)
        environment = _environment(Path(home), mark) | dict(env or {})
        (Path(home) / "config.toml").write_text(
            f'[superlink]\ndefault = "{NAME}"\n\n'
            f'[superlink.{NAME}]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
        )
        command = [_program("flower-superlink"), "--insecure", "--simulation"]
        command += ["--isolation", "subprocess", "--host", "127.0.0.1", "--port", str(port)]
        log = Path(home) / "superlink.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                start_new_session=True,
            )  # fmt: skip
        try:
            _await_health(process, port, log)
            yield environment
        finally:
            _end_process(process)
            end_marked(mark)


def end_marked(mark: str, patience: float = ENDING) -> None:
    """End all processes that carry this mark: ask them, and after some seconds kill them."""
    for signalled in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + patience
        for process in (left := marked(mark)):
            with suppress(ProcessLookupError):
                os.kill(process, signalled)
        while left and time.monotonic() < until:
            time.sleep(0.1)
            left = marked(mark)
        if not left:
            return


def marked(mark: str) -> list[int]:
    """Ids of the processes with this mark in their environment; none where there is no /proc."""
    entry = f"{MARK}={mark}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            carried = entry in path.read_bytes().split(b"\0")
        except OSError:  # gone since, or another user's
            continue
        if carried:
            found.append(int(path.parent.name))
    return found


def _place() -> str:
    """For temporary files; Ray has sockets there, whose paths end at some 100 characters."""
    usual = gettempdir()
    return usual if len(usual) <= LONGEST else "/tmp"


def _environment(home: Path, mark: str) -> dict[str, str]:
    programs = str(Path(sys.executable).parent)  # the SuperLink starts others by name
    return {
        **os.environ,
        **QUIET,
        "PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)]),
        "FLWR_HOME": str(home),
        "RAY_TMPDIR": str(home),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        MARK: mark,
    }


def _program(name: str) -> str:
    """The path of a program of flwr, first beside this Python."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise FedsecError(f"there is no program {name}: pip install 'crowdlearn[flower]'")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_health(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + STARTING
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < until and process.poll() is None:
        try:
            with direct.open(f"http://127.0.0.1:{port}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise FedsecError(f"the SuperLink did not start; its log ends\n{_end(log.read_text())}")


def _end_process(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(ENDING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _flwr(command: list[str], environment: Mapping[str, str], timeout: float) -> str:
    """What a command of flwr prints. Raises FedsecError where it fails or takes too long."""
    try:
        done = subprocess.run(
            [_program("flwr"), *command], env=dict(environment), timeout=timeout, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        so_far = error.stdout.decode(errors="replace") if error.stdout else ""
        raise FedsecError(
            f"flwr {command[0]} did not end within {timeout:g} s; its log ends\n{_end(so_far)}"
        ) from error
    if done.returncode:
        raise FedsecError(
            f"flwr {command[0]} failed with {done.returncode}; its log ends\n{_end(done.stdout)}"
        )
    return done.stdout


def _status(environment: Mapping[str, str]) -> str:
    """How the newest run stands, once it is finished, as "finished:completed"."""
    until = time.monotonic() + ENDING
    while True:
        told: dict[str, Any] = json.loads(_flwr(["ls", NAME, "--format", "json"], environment, 60))
        status = str(told["runs"][0]["status"])
        if status.startswith("finished") or time.monotonic() > until:
            return status
        time.sleep(0.5)


def _end(log: str, n_lines: int = 30) -> str:
    return "\n".join(log.splitlines()[-n_lines:])
