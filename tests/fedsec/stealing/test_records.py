"""Records survive the disk, and scores are shares of equal labels."""

from __future__ import annotations

import json
import math

import pytest
import torch

from fedsec.core.functional import state_of
from fedsec.data.images import Images
from fedsec.errors import DataError
from fedsec.stealing.records import (
    StealRecord,
    copy_evaluator,
    effective_classes,
    predict,
    read_records,
    write_records,
)
from tests.fedsec.stealing.toys import images, linear_victim, small_net

FULL = StealRecord(
    queries=5000, steps=70, iteration=3, seconds=1.25, accuracy=0.1 + 0.2, agreement=0.5,
    held_out=0.9, histogram=(3, 0, 7), confidence=0.75, flips=0.0, losses={"substitute": 1 / 3},
)  # fmt: skip
BARE = StealRecord(queries=1, steps=0, iteration=0)


def test_records_are_read_as_they_were_written(tmp_path):
    write_records([FULL, BARE], tmp_path / "records.jsonl")
    assert list(read_records(tmp_path / "records.jsonl")) == [FULL, BARE]
    assert not list(tmp_path.glob("*.part"))


def test_a_loss_that_is_not_finite_is_null():
    line = StealRecord(queries=1, steps=0, iteration=0, losses={"a": math.inf}).to_json()
    assert json.loads(line)["losses"] == {"a": None}
    assert math.isnan(StealRecord.from_json(line).losses["a"])


def test_scores_are_shares_of_equal_labels():
    net, state = linear_victim()
    x = images(40)
    labels = net(x).argmax(dim=1)
    truth = torch.where(torch.arange(40) < 10, (labels + 1) % 4, labels)
    victims = torch.where(torch.arange(40) < 4, (labels + 2) % 4, labels)
    score = copy_evaluator(net, Images(x, truth), victims)(state)
    assert score == (0.75, 0.9)


def test_predictions_are_in_evaluation_mode_and_leave_no_trace():
    net = small_net().train()
    before = state_of(net)
    labels = predict(net, before, images(10), batch=3)
    assert net.training
    torch.testing.assert_close(dict(net.named_buffers()), before.buffers)
    assert torch.equal(labels, net.eval()(images(10)).argmax(dim=1))


def test_scoring_without_images_or_labels_is_refused():
    net, _ = linear_victim()
    with pytest.raises(DataError, match="3 test images and 2 labels"):
        copy_evaluator(net, Images(images(3), torch.zeros(3).long()), torch.zeros(2).long())


def test_the_effective_number_of_classes():
    assert effective_classes([5, 5, 5, 5]) == pytest.approx(4)
    assert effective_classes([9, 0, 0]) == 1
    assert effective_classes(torch.tensor([1, 1, 0])) == pytest.approx(2)
    assert 1 < effective_classes([90, 10]) < 2
