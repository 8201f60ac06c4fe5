"""Verdicts follow the rules that they state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from fedsec.core.record import Knowledge
from fedsec.inversion.audit.findings import Finding, attack_of, find, ground_of
from fedsec.inversion.audit.verdict import (
    EXPOSED,
    NOT_SHOWN,
    ONCE_IN,
    PARTLY,
    UNKNOWN,
    beyond_chance,
    verdict,
)
from tests.fedsec.inversion.audit.audits import DIGITS, client

SUBJECT = client(4)
GROUND = ground_of(SUBJECT, DIGITS.train, 0)


def finding(exposed: int, hits: int, *, threat: str = "update", name: str = "analytic") -> Finding:
    """An attack with so many of 4 images exposed, and re-identified."""
    found = find(
        SUBJECT, attack_of("analytic"), knowledge=Knowledge(), ground=GROUND, seed=0,
        threat=threat, name=name,
    )  # fmt: skip
    assert found.scores is not None
    scores = replace(found.scores, reidentified=np.arange(4) < hits, psnr=np.full(4, 21.5))
    return replace(found, scores=scores, exposed=np.arange(4) < exposed)


@pytest.mark.parametrize(
    ("exposed", "hits", "level", "said"),
    [
        (4, 4, EXPOSED, "All 4 images can be rebuilt by analytic (median PSNR 21.5 dB, where the"),
        (2, 2, EXPOSED, "2 of 4 images can be rebuilt by analytic"),
        (1, 1, PARTLY, "1 of 4 images can be rebuilt by analytic"),
        (0, 3, PARTLY, "No image is rebuilt well, but 3 of 4 images can be told from all others"),
        (0, 1, NOT_SHOWN, "No image was rebuilt by analytic, the strongest attack here"),
        (0, 0, NOT_SHOWN, "Another attack, or more iterations, may do better."),
    ],
)
def test_levels(exposed: int, hits: int, level: str, said: str) -> None:
    found = verdict("update", [finding(exposed, hits)], GROUND.guesses, False)
    assert found.level == level and said in found.says
    assert (found.attack, found.under, found.exposed, found.n) == ("analytic", "update", exposed, 4)


def test_who_knows_more_can_use_the_attacks_of_who_knows_less() -> None:
    findings = [finding(3, 3), finding(1, 1, threat="labels", name="agic"),
                finding(4, 4, threat="everything", name="simulation")]  # fmt: skip
    said = {
        name: verdict(name, findings, GROUND.guesses, False)
        for name in ("update", "labels", "recipe", "everything")
    }
    assert [one.under for one in said.values()] == ["update", "update", "update", "everything"]
    assert [one.exposed for one in said.values()] == [3, 3, 3, 4]


def test_chance_is_the_binomial_law() -> None:
    scores = finding(0, 0).scores
    assert scores is not None and scores.n_population == len(DIGITS.train)
    for hits in range(5):
        rare = binom.sf(hits - 1, 4, 1 / len(DIGITS.train)) < 1 / ONCE_IN
        assert beyond_chance(replace(scores, reidentified=np.arange(4) < hits)) == rare
    assert not beyond_chance(replace(scores, reidentified=None))


def test_where_nothing_was_run_or_scored_nothing_is_said() -> None:
    unusable = replace(finding(4, 4), found=None, scores=None, exposed=None, why_not="no")
    assert verdict("update", [unusable], {}, False).says.startswith("No attack could be used")
    assert verdict("update", [], {}, True).says == "No attack was run."
    hidden = replace(finding(4, 4), scores=None, exposed=None)
    found = verdict("update", [hidden], {}, False)
    assert found.level == UNKNOWN and "(--truth)" in found.says and found.attack is None
