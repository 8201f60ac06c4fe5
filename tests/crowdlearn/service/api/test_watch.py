"""Events as they happen; and a real server that ends in good order."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from crowdlearn.service.api import create_app, sse
from crowdlearn.service.api.serving import Server, server
from tests.crowdlearn.service.api.conftest import BIRDS, Place, Sent, exchange

PATH = f"/v1/projects/{BIRDS}"
EVENTS = f"{PATH}/events"


def heard(sent: Sent) -> list[tuple[str, dict[str, Any]]]:
    """The events in a stream."""
    found = []
    for block in sent.body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
        if fields:
            found.append((fields["event"], json.loads(fields["data"])))
            if fields["event"] == "log":
                assert int(fields["id"]) == found[-1][1]["seq"]
    return found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks often."""
    monkeypatch.setattr(sse, "EVERY", 0.02)


@pytest.fixture
def app(place: Place) -> Any:
    """The service with its routes built, which is not for two threads."""
    found = place.app()
    found.openapi()
    return found


def test_a_stream_begins_after_an_event(place: Place, app: Any) -> None:
    headers = place.headers["reviewer"]
    sent = exchange(
        app, "GET", f"{EVENTS}?after=12", headers, until=lambda s: b"event: fold" in s.body
    )
    assert sent.headers["content-type"].startswith("text/event-stream")
    assert sent.headers["cache-control"] == "no-store"
    logs = [content for kind, content in heard(sent) if kind == "log"]
    assert logs == [{"seq": k, "kind": "vote"} for k in (13, 14, 15)]
    fold = heard(sent)[-1][1]
    assert fold["upto"] == 15 and 0 < fold["expected_error"] < 0.1
    again = exchange(
        app, "GET", f"{EVENTS}?after=1", headers | {"Last-Event-ID": "14"},
        until=lambda s: b"event: fold" in s.body,
    )  # fmt: skip
    assert [content["seq"] for kind, content in heard(again) if kind == "log"] == [15]
    assert app.state.service.watchers == {}


def test_new_events_and_folds_are_told_and_others_are_not(place: Place, app: Any) -> None:
    client = TestClient(app, headers=place.headers["admin"])
    other = TestClient(app, headers=place.headers["fish admin"])

    def act() -> None:
        time.sleep(0.3)
        client.post(f"{PATH}/note", json={"item": "birds-1", "text": "a secret remark"})
        other.post("/v1/projects/fish/note", json={"item": "fish-1", "text": "x"})
        place.catch_up()

    thread = threading.Thread(target=act)
    thread.start()
    sent = exchange(
        app, "GET", EVENTS, place.headers["tool"], until=lambda s: b'"upto": 16' in s.body
    )
    thread.join()
    logs = [content for kind, content in heard(sent) if kind == "log"]
    assert logs == [{"seq": 16, "kind": "note"}]
    assert b"secret" not in sent.body


def test_silence_is_broken_now_and_then(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT", 0.05)
    sent = exchange(
        place.app(), "GET", EVENTS, place.headers["tool"], until=lambda s: b"still here" in s.body
    )
    assert b": still here\n\n" in sent.body


@pytest.mark.parametrize("who", ["admin", "user reviewer"])
def test_a_stream_ends_with_the_right_to_watch(place: Place, app: Any, who: str) -> None:
    owner = TestClient(app, headers=place.headers["owner"])

    def act() -> None:
        time.sleep(0.2)
        for key in owner.get(f"{PATH}/keys").json():
            if key["name"] == "admin key":
                owner.delete(f"{PATH}/keys/{key['id']}")
        owner.delete(f"{PATH}/members", params={"name": "reviewer"})

    thread = threading.Thread(target=act)
    thread.start()
    sent = exchange(app, "GET", EVENTS, place.headers[who])  # ends by itself
    thread.join()
    assert sent.status == 200
    assert TestClient(app, headers=place.headers[who]).get(PATH).status_code in (401, 404)


def test_streams_end_when_the_process_does(place: Place, app: Any) -> None:
    threading.Timer(0.2, app.state.service.closing.set).start()
    assert exchange(app, "GET", EVENTS, place.headers["admin"]).status == 200


def test_streams_are_few(place: Place, app: Any) -> None:
    number = app.state.service.watchers
    number["key 1"] = sse.MOST_WATCHERS
    assert exchange(app, "GET", EVENTS, place.headers["admin"]).status == 429


@contextmanager
def running(place: Place) -> Iterator[tuple[str, Server]]:
    """The service on a port of this machine, with a folder of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = server(create_app(place.store), port=port, patience=5)
    thread = threading.Thread(target=found.run)
    thread.start()
    for _ in range(500):
        if found.started:
            break
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}", found
    finally:
        found.handle_exit(signal.SIGTERM, None)
        thread.join(20)
        assert not thread.is_alive()


def test_a_server_streams_both_ways_and_ends_soon(place: Place) -> None:
    place.folder.close()
    with running(place) as (address, found):
        headers = place.headers["admin"]
        vote = json.dumps({"item": "a", "worker": "b", "label": "no"}).encode() + b"\n"
        with httpx2.Client(base_url=address, headers=headers, timeout=20) as client:
            lines = client.post(f"{PATH}/votes/stream", content=(vote * 600 for _ in range(4)))
            counts = [json.loads(line)["lines"] for line in lines.text.splitlines()]
            assert counts == [1000, 2000, 2400]
            with client.stream("GET", f"{EVENTS}?after=2415") as stream:
                told = stream.iter_lines()
                for line in told:
                    if line.startswith("data:") and json.loads(line[5:])["upto"] == 2415:
                        break
                started = time.monotonic()
                found.handle_exit(signal.SIGTERM, None)
                assert list(told) is not None
                assert time.monotonic() - started < 4
    fits = place.client().get(f"{PATH}/fits").json()
    assert fits[0]["kind"] == "snapshot" and fits[0]["upto"] == 2415
