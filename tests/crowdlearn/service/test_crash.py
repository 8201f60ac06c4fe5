"""A service that is killed at random moments keeps what it acknowledged, once."""

import pytest

from benchmarks.service_crash import crash


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_or_doubled_by_kills(address: str) -> None:
    pytest.importorskip("fastapi")
    found = crash(address, n_kills=4, seed=1, longest=2.0)
    assert found["acknowledged votes"] > 0
    assert (found["lost"], found["doubled"], found["changed"]) == (0, 0, 0)
    assert found["problems"] == []
    assert found["kept state equals the rebuilt one"]
