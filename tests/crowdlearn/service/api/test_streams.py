"""Votes as lines: what has been acknowledged stays, what comes after a bad line does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from crowdlearn.service.api.streams import LONGEST_LINE, BadLine, numbered_lines
from tests.crowdlearn.service.api.conftest import BIRDS, Place, exchange
from tests.crowdlearn.service.api.test_votes import n_votes

PATH = f"/v1/projects/{BIRDS}/votes/stream"


def line(k: int, **other: Any) -> bytes:
    """A vote."""
    vote = {"item": f"i{k % 50}", "worker": f"w{k}", "label": "no", "key": f"key-{k}"}
    return json.dumps(vote | other).encode() + b"\n"


def said(response: Any) -> list[dict[str, Any]]:
    """The lines of a reply."""
    return [json.loads(text) for text in response.text.splitlines()]


def test_a_thousand_lines_at_a_time_are_acknowledged(admin: TestClient, place: Place) -> None:
    before = n_votes(place)
    whole = b"".join(line(k) for k in range(2500))
    pieces = [whole[k : k + 999] for k in range(0, len(whole), 999)]
    sent = exchange(place.app(), "POST", PATH, place.headers["admin"], pieces)
    assert sent.headers["content-type"].startswith("application/x-ndjson")
    assert [json.loads(text) for text in sent.body.splitlines()] == [
        {"lines": n, "new": n, "duplicates": 0} for n in (1000, 2000, 2500)
    ]
    assert [n for n, body in sent.answered if body][0] < len(pieces) / 2  # while more came
    assert n_votes(place) == before + 2500
    again = said(admin.post(PATH, content=b"".join(line(k) for k in range(2400, 2600))))
    assert again == [{"lines": 200, "new": 100, "duplicates": 100}]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (b"{\n", "Invalid JSON"),
        (b'{"item": "a"}\n', "worker: Field required"),
        (line(1, label=False), "label"),
        (line(1, label="perhaps"), "'perhaps' is not one of no, yes"),
        (line(1, item="a\tb"), "control character"),
        (line(1, more=1), "Extra"),
        (b"\xff\xfe\n", "line 1503"),
        (b"x" * (LONGEST_LINE + 1) + b"\n", "longer than"),
    ],
)
def test_a_bad_line_ends_the_reply(admin: TestClient, place: Place, bad: bytes, words: str) -> None:
    before = n_votes(place)
    lines = [line(k) for k in range(1502)] + [bad] + [line(k) for k in range(2000, 2100)]
    first, last = said(admin.post(PATH, content=b"".join(lines)))
    assert first == {"lines": 1000, "new": 1000, "duplicates": 0}
    assert last["line"] == 1503 and last["status"] == 422 and words in last["error"]
    assert n_votes(place) == before + 1000


def test_a_key_of_another_vote_refuses_the_lines_since_the_last_count(
    admin: TestClient, place: Place
) -> None:
    admin.post(PATH, content=line(1700, label="yes"))
    before = n_votes(place)
    first, last = said(admin.post(PATH, content=b"".join(line(k) for k in range(1900))))
    assert first["lines"] == 1000 and (last["status"], last["line"]) == (409, 1001)
    assert n_votes(place) == before + 1000


def test_a_key_that_is_revoked_meanwhile_ends_the_stream(place: Place) -> None:
    owner = place.client("owner")
    keys = owner.get(f"/v1/projects/{BIRDS}/keys").json()
    number = next(key["id"] for key in keys if key["name"] == "admin key")

    def pieces() -> Iterator[bytes]:
        yield b"".join(line(k) for k in range(1000))
        owner.delete(f"/v1/projects/{BIRDS}/keys/{number}")
        yield b"".join(line(k) for k in range(1000, 2500))

    sent = exchange(place.app(), "POST", PATH, place.headers["admin"], pieces())
    first, last = [json.loads(text) for text in sent.body.splitlines()]
    assert first["lines"] == 1000 and last["status"] == 401


def test_a_client_that_leaves_keeps_what_was_acknowledged(place: Place) -> None:
    before = n_votes(place)
    pieces = [b"".join(line(k) for k in range(1500))]
    sent = exchange(place.app(), "POST", PATH, place.headers["admin"], pieces, leaves=True)
    assert len(sent.body.splitlines()) == 1
    assert n_votes(place) == before + 1000


def test_no_lines_are_fine(admin: TestClient) -> None:
    nothing = {"lines": 0, "new": 0, "duplicates": 0}
    assert said(admin.post(PATH, content=b"")) == [nothing]
    assert said(admin.post(PATH, content=b"\n\n")) == [nothing | {"lines": 2}]


def test_a_body_too_large_ends_the_reply(place: Place) -> None:
    pieces = [b"".join(line(k) for k in range(1100)), b"".join(line(k) for k in range(2000))]
    app = place.app(largest_body=150_000)
    sent = exchange(app, "POST", PATH, place.headers["admin"], pieces)
    first, last = [json.loads(text) for text in sent.body.splitlines()]
    assert first["lines"] == 1000 and last["status"] == 413


@given(st.lists(st.binary(max_size=20).map(lambda text: text.replace(b"a", b"\n")), max_size=20))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_lines_are_those_of_the_body_however_it_is_cut(pieces: list[bytes]) -> None:
    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def all_lines() -> list[tuple[int, bytes]]:
        return [pair async for pair in numbered_lines(body())]

    lines = b"".join(pieces).split(b"\n")
    wanted = list(enumerate(lines, 1))
    assert asyncio.run(all_lines()) == (wanted if lines[-1].strip() else wanted[:-1])


def test_a_line_without_an_end_is_refused_as_it_comes() -> None:
    async def body() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000

    async def read() -> None:
        async for _ in numbered_lines(body()):
            pass

    with pytest.raises(BadLine, match="line 1: is longer"):
        asyncio.run(read())
