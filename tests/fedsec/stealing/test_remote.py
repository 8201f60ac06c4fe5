"""A real server on this machine, that answers, drops connections, and talks nonsense."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
import torch

from fedsec.errors import DataError, SettingsError
from fedsec.stealing.attack import Watch
from fedsec.stealing.mega import Mega
from fedsec.stealing.oracle import BudgetExhausted, Oracle
from fedsec.stealing.remote import OracleUnreachable, RemoteOracle, base64_floats
from tests.fedsec.stealing.test_attack import assert_equal
from tests.fedsec.stealing.toys import SHAPE, images, linear_oracle, linear_victim, small_net


class Server:
    """A prediction API with a linear victim.

    trouble   number of a request -> what is done instead: "drop", a status, or a JSON answer
    answered  images that were answered as they should be
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/predict"
        self.trouble: Callable[[int], Any] = lambda number: None
        self.mode = "labels"
        self.requests, self.answered = 0, 0
        self.headers: dict[str, str] = {}

    def predict(self, body: dict[str, Any]) -> dict[str, Any]:
        if "float32" in body:
            x = np.frombuffer(base64.b64decode(body["float32"]), "<f4").reshape(body["shape"])
        else:
            x = np.array(body["images"], np.float32)
        with torch.no_grad():
            p = linear_victim()[0](torch.tensor(x)).softmax(dim=1)
        self.answered += len(x)
        if self.mode == "labels":
            return {"labels": p.argmax(dim=1).tolist()}
        return {"probabilities": p.tolist()}


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            told.requests += 1
            told.headers = dict(self.headers)
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            trouble = told.trouble(told.requests)
            if trouble == "drop":
                self.close_connection = True
                return
            if isinstance(trouble, int):
                self.answer(trouble, b"trouble")
            elif isinstance(trouble, bytes):
                self.answer(200, trouble)
            else:
                answer = told.predict(body) if trouble is None else trouble
                self.answer(200, json.dumps(answer).encode())

        def answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if status == 429:
                self.send_header("Retry-After", "7")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    told = Server(listening.server_port)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield told
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


@pytest.fixture
def remote(server) -> Iterator[Callable[..., RemoteOracle]]:
    """Makes oracles that wait in no time, and closes them."""
    made = []

    def make(**settings: Any) -> RemoteOracle:
        settings = {"sleep": lambda seconds: None} | settings
        url = settings.pop("url", server.url)
        made.append(RemoteOracle(url, SHAPE, settings.pop("n_classes", 4), **settings))
        return made[-1]

    yield make
    for oracle in made:
        oracle.close()


@pytest.mark.parametrize("mode", ["labels", "probabilities"])
@pytest.mark.parametrize("encode", [None, base64_floats])
def test_answers_are_those_of_the_victim_and_counted_alike(server, remote, mode, encode):
    server.mode = mode
    settings = {} if encode is None else {"encode": encode}
    oracle, local = remote(mode=mode, budget=100, batch=7, **settings), linear_oracle(mode=mode)
    x = images(20) * 3 - 1
    torch.testing.assert_close(oracle(x), local(x), rtol=0, atol=1e-6)
    assert isinstance(oracle, Oracle)
    assert oracle.queries == server.answered == 20 and oracle.remaining() == 80
    assert server.requests == 3 and oracle.resent == 0
    assert oracle.log.counts.tolist() == local.log.counts.tolist()


def test_the_budget_is_exact_and_a_batch_too_large_is_not_sent(server, remote):
    oracle = remote(budget=10)
    oracle(images(8))
    with pytest.raises(BudgetExhausted):
        oracle(images(3))
    assert oracle.queries == server.answered == 8 and server.requests == 1


def test_headers_and_other_forms_of_answer(server, remote):
    server.trouble = lambda number: {"results": [{"class": 2}, {"class": 0}]}
    oracle = remote(
        headers={"X-Key": "mine"}, decode=lambda told: [one["class"] for one in told["results"]]
    )
    assert oracle(images(2)).tolist() == [2, 0]
    assert server.headers["X-Key"] == "mine"


@pytest.mark.parametrize(
    "first, waits",
    [
        (["drop", "drop"], [0.5, 1.0]),
        ([503, "drop", 500], [0.5, 1.0, 2.0]),
        ([429, 429], [7.0, 7.0]),
        (["drop"] * 8, [0.5, 1, 2, 4, 8, 16, 30, 30]),
    ],
)
def test_a_dropped_connection_is_tried_again_after_waits_that_double(server, remote, first, waits):
    server.trouble = lambda number: first[number - 1] if number <= len(first) else None
    slept = []
    oracle = remote(budget=5, sleep=slept.append, longest=30)
    assert torch.equal(oracle(images(5)), linear_oracle()(images(5)))
    assert slept == waits
    assert oracle.queries == 5 and oracle.resent == 5 * len(first)


def test_what_was_answered_before_the_last_retry_is_counted(server, remote):
    server.trouble = lambda number: None if number <= 2 else "drop"
    oracle = remote(budget=50, batch=10, retries=3)
    with pytest.raises(OracleUnreachable, match="after 3 retries.*20 queries"):
        oracle(images(40))
    assert oracle.queries == 20 and server.requests == 2 + 4


def test_nothing_listens_at_a_url(remote):
    with pytest.raises(OracleUnreachable, match="after 2 retries"):
        remote(url="http://127.0.0.1:9/", retries=2)(images(1))
    with pytest.raises(SettingsError, match="not a URL"):
        remote(url="nonsense")(images(1))


@pytest.mark.parametrize(
    "answer, message",
    [
        ({"labels": [0, 4]}, "label 4 for image 1.*0 to 3"),
        ({"labels": [-1, 0]}, "label -1 for image 0"),
        ({"labels": [0]}, "answered 1 for 2 images"),
        ({"labels": [0.5, 1.0]}, "whole numbers"),
        ({"labels": ["cat", "dog"]}, "cat"),
        ({"labels": [[0], [1, 2]]}, "whole numbers"),
        ({"label": [0, 1]}, "decode"),
        ([0, 1], "decode"),
        (b"<html>", "Expecting value"),
        (404, "status 404: trouble"),
    ],
)
def test_nonsense_is_refused_and_not_counted(server, remote, answer, message):
    server.trouble = lambda number: answer
    oracle = remote(budget=10)
    with pytest.raises(DataError, match=message) as refused:
        oracle(images(2))
    assert server.url in str(refused.value)
    assert oracle.queries == 0 and server.requests == 1


@pytest.mark.parametrize(
    "row, message",
    [
        ([0.5, 0.5, 0.5, 0], "sum to 1"),
        ([1.5, -0.5, 0, 0], "not negative"),
        ([0.5, 0.5], "4 probabilities"),
    ],
)
def test_what_are_no_probabilities_is_refused(server, remote, row, message):
    server.trouble = lambda number: {"probabilities": [row]}
    with pytest.raises(DataError, match=message):
        remote(mode="probabilities")(images(1))


SETTINGS = {"pool": 60, "batch": 20, "latent": 8, "warm_epochs": 1, "s_epochs": 1}


@pytest.mark.parametrize("seconds", [0, 3600])
def test_an_attack_goes_on_to_the_bit_after_the_connection_was_lost(
    server, remote, tmp_path, seconds
):
    """With a checkpoint before the loss, and with none: the journal has the answers."""
    attack, watch = Mega(**SETTINGS), Watch(every=60, seconds=seconds)
    settings = {"budget": 400, "batch": 20, "retries": 1}

    def started(oracle, checkpoint=None):
        return attack(oracle, small_net(), seed=1, watch=watch, checkpoint=checkpoint)

    whole = started(remote(**settings))
    server.answered = server.requests = 0
    server.trouble = lambda number: "drop" if number > 13 else None
    checkpoint, journal = tmp_path / "run", tmp_path / "journal.jsonl"
    oracle = remote(**settings, journal=journal)
    with pytest.raises(OracleUnreachable):
        started(oracle, checkpoint)
    oracle.close()
    assert server.answered == 260 and checkpoint.exists() == (seconds == 0)
    server.trouble = lambda number: None
    assert_equal(started(remote(**settings, journal=journal), checkpoint), whole)
    assert server.answered == 400


def test_paid_answers_that_are_not_asked_for_again_are_spent(server, remote, tmp_path):
    journal = tmp_path / "journal.jsonl"
    with remote(budget=50, journal=journal) as oracle:
        for seed in (1, 2, 3):
            oracle(images(10, seed))
    again = remote(budget=50, journal=journal)
    again(images(10, seed=1))
    again(images(10, seed=3))
    assert again.queries == 30 and server.answered == 30
    again(images(10, seed=4))
    assert again.queries == server.answered == 40
    other = remote(budget=50, journal=journal)
    with pytest.raises(BudgetExhausted):
        other(images(11, seed=9))
    assert other.queries == 40


def test_a_journal_whose_last_line_was_cut_off_is_read(server, remote, tmp_path):
    journal = tmp_path / "journal.jsonl"
    with remote(journal=journal) as oracle:
        first, _ = oracle(images(4, seed=1)), oracle(images(4, seed=2))
    journal.write_text(journal.read_text()[:-9])
    oracle = remote(journal=journal)
    assert torch.equal(oracle(images(4, seed=1)), first)
    assert server.answered == 8
    oracle(images(4, seed=2))
    assert server.answered == 12
    oracle.close()
    assert len(journal.read_text().splitlines()) == 3


def test_journals_of_something_else_are_refused(remote, tmp_path):
    journal = tmp_path / "journal.jsonl"
    remote(journal=journal)
    with pytest.raises(SettingsError, match="give another file"):
        remote(journal=journal, n_classes=5)
    journal.write_text("nonsense\n")
    with pytest.raises(DataError, match="not a journal"):
        remote(journal=journal)


def test_settings_out_of_range_are_refused(remote):
    for settings in ({"batch": 0}, {"retries": -1}, {"timeout": 0}, {"budget": 0}):
        with pytest.raises(SettingsError, match=next(iter(settings))):
            remote(**settings)
