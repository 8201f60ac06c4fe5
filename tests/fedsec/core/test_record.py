"""Updates and results are read back as they were written, and bad ones are named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from fedsec.core.record import Knowledge, Result, Update, read_results, write_results
from fedsec.errors import UpdateError


def update(**changes: object) -> Update:
    """A small update."""
    made = {
        "kind": "delta", "round": 3, "client": 7, "n": 20,
        "tensors": {"b": torch.randn(2), "a": torch.randn(2, 3).double()},
        "buffers": {"seen": torch.tensor(4)},
    } | changes  # fmt: skip
    return Update(**made)


def test_an_update_is_read_back_bit_by_bit(tmp_path: Path) -> None:
    written = update()
    written.save(tmp_path / "u.safetensors")
    read = Update.load(tmp_path / "u.safetensors")
    assert list(read.tensors) == ["b", "a"]
    assert_close(read.tensors, written.tensors, rtol=0, atol=0)
    assert_close(read.buffers, written.buffers, rtol=0, atol=0)
    assert (read.kind, read.round, read.client, read.n) == ("delta", 3, 7, 20)
    assert [path.name for path in tmp_path.iterdir()] == ["u.safetensors"]


@pytest.mark.parametrize(
    "content", [b"", b"not tensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "]
)
def test_another_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(UpdateError, match="other: not an update"):
        Update.load(path)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_update_that_is_not_finite_is_refused(bad: float) -> None:
    assert update().checked()
    with pytest.raises(UpdateError, match=r"client 7, round 3: 1 of 2 entries of 'b'"):
        update(tensors={"b": torch.tensor([0.0, bad])}).checked()


def test_knowledge_says_what_is_known_and_what_is_not() -> None:
    said = str(Knowledge(labels=(1, 2), lr=0.1))
    assert "labels=(1, 2), lr=0.1" in said and "not steps, order" in said
    assert "knows nothing more" in str(Knowledge())


def test_results_are_read_back(tmp_path: Path) -> None:
    known = Knowledge(labels=(1,), order=((0, 1), (2,)))
    results = [
        Result(what="train", seed=k, settings={"lr": 0.1}, measures={"accuracy": 0.5},
               seconds=1.5, knowledge=known if k else None)
        for k in range(2)
    ]  # fmt: skip
    write_results(results, tmp_path / "results.jsonl")
    assert list(read_results(tmp_path / "results.jsonl")) == results


def test_a_result_that_is_no_number_is_not_written(tmp_path: Path) -> None:
    bad = Result(what="x", seed=0, settings={}, measures={"a": float("nan")}, seconds=0.0)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_results([bad], tmp_path / "results.jsonl")
    assert not list(tmp_path.iterdir())
