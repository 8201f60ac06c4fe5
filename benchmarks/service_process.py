"""A real service in a process of its own, and a small client that keeps its connection."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.machine import ONE_THREAD, ROOT
from tests.services import free_port, wait_for

START_SECONDS = 120.0


class Process:
    """`crowdlearn serve` on a store. `kill` is SIGKILL: it gets no chance to tidy up."""

    def __init__(self, store: str) -> None:
        self.store, self.port = store, free_port()
        self.log = open(os.devnull, "wb")  # noqa: SIM115
        self.start()

    def start(self) -> None:
        """Start, and return when it answers."""
        command = [
            sys.executable, "-m", "crowdlearn", "serve", "--store", self.store,
            "--port", str(self.port), "--rate", "100000",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | ONE_THREAD, stdout=self.log, stderr=self.log,
            start_new_session=True,
        )  # fmt: skip
        wait_for(f"http://127.0.0.1:{self.port}/readyz", START_SECONDS)

    def kill(self) -> None:
        """End it as a power cut would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """End it as an administrator would; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        self.log.close()
        return code


@contextmanager
def served(store: str) -> Iterator[Process]:
    """A service for the length of the block."""
    process = Process(store)
    try:
        yield process
    finally:
        if process.process.poll() is None:
            process.stop()


class Client:
    """One connection with one key."""

    def __init__(self, port: int, key: str, project: str) -> None:
        self.port, self.key, self.project = port, key, project
        self.connection: http.client.HTTPConnection | None = None

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON. Raises OSError or HTTPException where the service is gone."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        try:
            self.connection.request(method, f"/v1/projects/{self.project}{path}", content, headers)
            reply = self.connection.getresponse()
            read = reply.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        return reply.status, json.loads(read) if read else None

    def insist(self, method: str, path: str, body: Any, seconds: float = 120.0) -> tuple[int, Any]:
        """Send until it is answered: what has a key is done once however often it is sent."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.call(method, path, body)
            except (OSError, http.client.HTTPException):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def close(self) -> None:
        """Give the connection up."""
        if self.connection is not None:
            self.connection.close()
        self.connection = None
