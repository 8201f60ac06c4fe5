"""An item's figures as HTML: what they say, and that names stay names."""

from __future__ import annotations

from dataclasses import replace
from html import escape

import pytest

from apps.review import figures
from crowdlearn.aggregation import Explanation, VoteWeight
from crowdlearn.service.views import SeenVote

HOSTILE = '"><script>alert(1)</script>&'
SEEN = SeenVote("ann", "cat", 0, 7, 0.82, 0.75, 0.87, None, 1.5)


def explained(*weights: float) -> Explanation:
    votes = tuple(VoteWeight(f"w{k}", "cat", weight, 0.8) for k, weight in enumerate(weights))
    return Explanation("i", "cat", "dog", {"cat": 1.0}, votes, (), (), False)


def test_the_label_stands_out_and_classes_keep_their_order() -> None:
    found = figures.posterior({"cat": 0.25, "dog": 0.75}, "dog")
    assert found.index("cat") < found.index("25.0 %") < found.index("dog") < found.index("75.0 %")
    assert '<span class="row now"><i style="--part: 0.7500"></i>75.0 %' in found


def test_only_the_most_probable_of_many_classes_have_bars() -> None:
    shares = {f"c{k}": k / 190 for k in range(20)}
    found = figures.posterior(shares, "c19")
    assert found.count("<i ") == figures.MOST_BARS and "c7<" not in found and "c8<" in found


def test_a_weight_goes_from_the_middle_to_its_side() -> None:
    found = figures.weights(explained(2.0, -1.0))
    assert 'row for"><i style="--from: 0.5000; --part: 0.5000"' in found
    assert 'row against"><i style="--from: 0.2500; --part: 0.2500"' in found
    assert "+2.00" in found and "-1.00" in found


def test_weights_of_nothing_are_bars_of_no_length() -> None:
    assert "--part: 0.0000" in figures.weights(explained(0.0))


def test_a_vote_is_a_row_with_what_is_known_of_its_worker() -> None:
    found = figures.votes([SEEN])
    for words in ("ann", "cat", "82 %", "75–87 %", "+1.50"):
        assert f">{words}<" in found.replace("</i>", ">")
    assert "flag" not in found
    blocked = replace(SEEN, flag="blocked", weight=None, accuracy=None)
    assert "<td>blocked</td>" in figures.votes([SEEN, blocked])


@pytest.mark.parametrize("draw", [
    lambda name: figures.posterior({name: 1.0}, name),
    lambda name: figures.weights(
        Explanation("i", name, name, {}, (VoteWeight(name, name, 1.0, 0.8),), (), (), False)
    ),
    lambda name: figures.votes([replace(SEEN, worker=name, label=name)]),
], ids=["posterior", "weights", "votes"])  # fmt: skip
def test_names_are_never_mark_up(draw) -> None:
    found = draw(HOSTILE)
    assert escape(HOSTILE) in found and "<script" not in found
    assert HOSTILE not in found and '"">' not in found
