"""What every streaming method promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.errors import VotesError
from crowdlearn.online import STREAMS, load_stream, save_stream, stream
from crowdlearn.simulate import World
from crowdlearn.votes import Votes
from tests.crowdlearn.online.conftest import batches

SHORT = {"init_epochs": 3, "update_epochs": 3}
QUICK = {"bila": SHORT, "consensus": SHORT}
GOLD = {"7": "2"}


def made(name: str) -> Any:
    return stream(name, **QUICK.get(name, {}))


def go_on(method: Any, state: Any, parts: list[Votes]) -> tuple[Any, list[np.ndarray]]:
    answers = []
    for part in parts:
        gold = {k: v for k, v in GOLD.items() if k in part.items.to_pylist()}
        state, update = method.update(state, part, gold)
        assert_allclose(update.posterior.sum(axis=1), 1, atol=1e-6)
        assert set(update.items.to_pylist()) == set(part.items.to_pylist())
        answers.append(update.posterior)
    return state, answers


@pytest.mark.parametrize("name", STREAMS)
def test_a_saved_stream_goes_on_to_the_bit(crowd: World, name: str, tmp_path: Path) -> None:
    parts, method = batches(crowd.votes, 8, by_vote=True), made(name)
    _, whole = go_on(method, method.init(("0", "1", "2")), parts)
    state, first = go_on(method, method.init(("0", "1", "2")), parts[:4])
    save_stream(tmp_path / "s.npz", method, state, n_batches=4)
    resumed, about = load_stream(tmp_path / "s.npz", made(name))
    assert about == {"n_batches": 4}
    resumed, rest = go_on(method, resumed, parts[4:])
    for ours, theirs in zip(first + rest, whole, strict=True):
        assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", STREAMS)
def test_gold_is_kept_and_everything_can_come_late(crowd: World, name: str) -> None:
    """A class, a worker and an item that nobody had named before."""
    method = made(name)
    state, _ = go_on(method, method.init(), batches(crowd.votes, 4))
    assert state.posterior()[state.items.index("7")].tolist() == [0, 0, 1]
    late = Votes.from_codes(
        np.array([0, 0, 1]),
        np.array([0, 1, 1]),
        np.array([0, 0, 1]),
        items=["new", "3"],
        workers=["0", "stranger"],
        classes=("unseen", "0"),
    )
    state, update = method.update(state, late)
    assert update.posterior.shape == (2, 4) and state.classes[-1] == "unseen"
    assert_allclose(state.posterior().sum(axis=1), 1, atol=1e-6)
    assert state.posterior()[state.items.index("7")].tolist() == [0, 0, 1, 0]
    state, result = method.rescore(state)
    assert result.posterior.shape == (151, 4)


@pytest.mark.parametrize("name", STREAMS)
def test_most_answers_are_right(crowd: World, name: str) -> None:
    method = stream(name)
    state = method.init(("0", "1", "2"))
    for part in batches(crowd.votes, 3):
        state, _ = method.update(state, part)
    place = [state.items.index(str(n)) for n in range(150)]
    assert (state.posterior()[place].argmax(1) == crowd.truth).mean() > 0.75


def test_what_cannot_be_resumed_says_why(crowd: World, tmp_path: Path) -> None:
    method, path = stream("bcc"), tmp_path / "s.npz"
    state, _ = method.update(method.init(), crowd.votes)
    save_stream(path, method, state)
    for other, found in (
        (stream("idbla"), "is a stream of bcc, not of idbla"),
        (stream("bcc", diagonal=3.0), "begun with diagonal=2.0, not 3.0"),
    ):
        with pytest.raises(VotesError, match=found):
            load_stream(path, other)
    with pytest.raises(VotesError, match="no such file"):
        load_stream(tmp_path / "none.npz", method)
    (tmp_path / "text.npz").write_text("votes")
    with pytest.raises(VotesError, match="is no saved stream"):
        load_stream(tmp_path / "text.npz", method)
    half = path.read_bytes()[:2000]
    path.write_bytes(half)
    with pytest.raises(VotesError, match="is no saved stream"):
        load_stream(path, method)
