"""What is kept apart is never trained on, and is a uniform sample of all that was."""

from __future__ import annotations

import torch

from fedsec.stealing import parts as module
from fedsec.stealing.parts import (
    Parts,
    confidence_of,
    held_out,
    histogram_of,
    keep_apart,
    streams,
)
from tests.fedsec.stealing.toys import small_net


def parts_of(seed=0):
    return Parts({"substitute": small_net()}, generators=streams(seed, ("held",), "cpu"))


def numbered(first, n):
    """Images that hold their number, and a label that goes with it."""
    numbers = torch.arange(first, first + n)
    return numbers.view(-1, 1, 1, 1).float(), numbers % 7


def test_the_last_share_is_taken_out():
    parts = parts_of()
    assert held_out(parts) is None
    x, labels = keep_apart(parts, *numbered(0, 10), 0.35)
    assert x.flatten().tolist() == list(range(7)) and labels.tolist() == [0, 1, 2, 3, 4, 5, 6]
    held, held_labels = held_out(parts)
    assert held.flatten().tolist() == [7, 8, 9] and held_labels.tolist() == [0, 1, 2]


def test_nothing_is_taken_out_without_a_share_or_of_too_few():
    parts = parts_of()
    for share, n in ((0, 10), (0.02, 40)):
        x, _ = keep_apart(parts, *numbered(0, n), share)
        assert len(x) == n and held_out(parts) is None


def test_probabilities_are_kept_as_labels():
    parts = parts_of()
    answers = torch.eye(3)[[2, 0, 1, 1]]
    keep_apart(parts, torch.zeros(4, 1, 8, 8), answers, 0.5)
    assert held_out(parts)[1].tolist() == [1, 1]


def test_what_is_kept_is_a_uniform_sample_and_images_keep_their_labels(monkeypatch):
    monkeypatch.setattr(module, "N_HELD", 50)
    inside = torch.zeros(400)
    for seed in range(40):
        parts = parts_of(seed)
        for start in range(0, 400, 20):
            keep_apart(parts, *numbered(start, 20), 0.999)
        x, labels = held_out(parts)
        numbers = x.flatten().long()
        assert len(set(numbers.tolist())) == 50
        assert torch.equal(labels, numbers % 7)
        inside[numbers] += 1
    of_early, of_late = inside[:200].sum(), inside[200:].sum()
    spread = (40 * 50 * 0.25) ** 0.5
    assert abs(float(of_early - of_late)) < 2 * 4 * spread
    assert not inside[::20].any()  # the first of each batch is trained on


def test_histograms_and_confidence():
    assert histogram_of(torch.tensor([2, 0, 2]), 4).tolist() == [1, 0, 2, 0]
    assert histogram_of(torch.eye(3)[[1, 1]], 3).tolist() == [0, 2, 0]
    logits = torch.tensor([[0.0, 0.0], [0.0, 3.0]])
    assert float(confidence_of(logits)) == float((0.5 + torch.sigmoid(torch.tensor(3.0))) / 2)


def test_streams_are_named():
    first, again = streams(3, ("a", "b"), "cpu"), streams(3, ("a",), "cpu")
    drawn = {name: torch.rand(3, generator=stream) for name, stream in first.items()}
    assert torch.equal(torch.rand(3, generator=again["a"]), drawn["a"])
    assert not torch.equal(drawn["a"], drawn["b"])
