"""Rates and sizes, to the request and to the byte."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from crowdlearn.service.api import limits
from crowdlearn.service.api.limits import Buckets
from tests.crowdlearn.service.api.conftest import BIRDS, Place, exchange

PATH = f"/v1/projects/{BIRDS}"


def test_the_burst_passes_and_no_more(place: Place) -> None:
    app = place.app(requests_per_second=0.01, burst=5)
    client = TestClient(app, headers=place.headers["admin"])
    found = [client.get("/v1/projects") for _ in range(8)]
    assert [response.status_code for response in found] == [200] * 5 + [429] * 3
    assert 99 <= int(found[-1].headers["retry-after"]) <= 100
    assert found[-1].json()["status"] == 429
    other = TestClient(app, headers=place.headers["tool"])
    assert other.get("/v1/projects").status_code == 200
    assert client.get("/healthz").status_code == 200


@given(
    rate=st.floats(0.1, 100), burst=st.integers(1, 20), gaps=st.lists(st.floats(0, 2), max_size=60)
)
def test_no_more_pass_than_burst_and_rate_allow(rate: float, burst: int, gaps: list[float]) -> None:
    time_now = 0.0
    buckets = Buckets(rate, burst, lambda: time_now)
    passed = 0
    for gap in gaps:
        time_now += gap
        wait = buckets.take("a")
        passed += wait == 0
        assert passed <= burst + rate * time_now + 1e-6
        if wait:
            time_now += wait + 1e-9
            assert buckets.take("a") == 0
            passed += 1


def test_many_callers_are_forgotten_but_not_those_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_BUCKETS", 10)
    time_now = 0.0
    buckets = Buckets(0.1, 1, lambda: time_now)
    for k in range(9):
        buckets.take(f"early {k}")
    time_now = 11.0
    assert buckets.take("late") == 0
    assert buckets.take("later") == 0
    assert buckets.take("late") > 0
    for k in range(100):
        buckets.take(f"crowd {k}")
    assert len(buckets._of) <= 10


def test_a_body_too_large_is_refused_by_its_length(place: Place) -> None:
    client = place.client(largest_body=1000)
    found = client.post(f"{PATH}/votes", content=b"x" * 1001)
    assert found.status_code == 413 and found.json()["status"] == 413
    assert client.post(f"{PATH}/votes", content=b"x" * 1000).status_code == 422
    anonymous = TestClient(client.app)
    assert anonymous.post(f"{PATH}/votes", content=b"x" * 1001).status_code == 413


@pytest.mark.parametrize("path", ["/votes", "/imports?kind=votes"])
def test_a_body_too_large_is_refused_in_pieces_as_well(place: Place, path: str) -> None:
    sent = exchange(
        place.app(largest_body=1000), "POST", f"{PATH}{path}", place.headers["admin"],
        pieces=[b"x" * 100] * 50,
    )  # fmt: skip
    assert sent.status == 413 and json.loads(sent.body)["status"] == 413
    assert sent.n_read == 11
