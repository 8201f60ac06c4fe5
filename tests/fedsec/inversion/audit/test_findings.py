"""One attack, scored; and which images count as exposed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedsec.core.record import Knowledge
from fedsec.errors import SettingsError
from fedsec.inversion.attacks import ATTACKS
from fedsec.inversion.audit.findings import MARGIN, attack_of, exposed, find, ground_of, settings_of
from fedsec.inversion.scores import score
from tests.fedsec.inversion.audit.audits import DIGITS, client


def test_an_exact_attack_exposes_the_image() -> None:
    subject = client()
    ground = ground_of(subject, DIGITS.train, 0)
    found = find(
        subject, attack_of("analytic"), knowledge=Knowledge(), ground=ground, seed=0,
        name="analytic",
    )  # fmt: skip
    assert found.scores is not None and found.exposed is not None and found.why_not is None
    assert found.exposed.tolist() == [True] and found.scores.psnr[0] > 60
    assert found.strength == (1.0, 1.0, float(found.scores.psnr[0]))
    assert set(ground.guesses) == {"mean_image", "random_images", "class_mean_images"}


def test_an_attack_that_cannot_be_used_says_why() -> None:
    subject = client(2)
    ground = ground_of(subject, DIGITS.train, 0)
    found = find(subject, attack_of("idlg"), knowledge=Knowledge(), ground=ground, seed=0)
    assert found.found is None and found.strength == (-1.0, -1.0, -1.0)
    assert found.why_not is not None and found.why_not.startswith("idlg rebuilds one image, not 2")


def test_without_the_truth_there_are_neighbours_and_no_scores() -> None:
    subject = client()
    assert subject.truth is not None
    true = int((DIGITS.train.x == subject.truth.x).flatten(1).all(1).nonzero()[0])
    hidden = replace(subject, truth=None)
    ground = ground_of(hidden, DIGITS.train, 0)
    found = find(hidden, attack_of("analytic"), knowledge=Knowledge(), ground=ground, seed=0)
    assert found.scores is None and found.exposed is None and not ground.guesses
    assert found.nearest is not None and found.nearest.tolist() == [true]


def test_labels_that_nobody_knows_are_not_scored() -> None:
    subject = client()
    ground = ground_of(replace(subject, facts=Knowledge()), DIGITS.train, 0)
    assert ground.labels is None and "class_mean_images" not in ground.guesses


def test_exposed_means_nearest_of_all_and_better_than_any_guess() -> None:
    """Two true images; the guess has 10 and 20 dB."""
    truth = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    population = DIGITS.train.subset(torch.arange(2))
    population = replace(population, x=truth)

    def scored(*errors: float) -> object:
        off = torch.tensor([errors[0], -errors[1]]).view(2, 1, 1, 1)
        return score(truth + off, truth, population=population)

    guess = scored(10**-0.5, 0.1)
    better, same = 10 ** (-(MARGIN + 0.1) / 20), 10 ** (-(MARGIN - 0.1) / 20)
    found = scored(10**-0.5 * better, 0.1 * same)
    assert exposed(found, {"guess": guess}).tolist() == [True, False]  # type: ignore[arg-type]
    both = scored(10**-0.5 * better, 0.1 * better)
    assert exposed(both, {"guess": guess}).tolist() == [True, True]  # type: ignore[arg-type]
    elsewhere = replace(both, reidentified=np.array([False, True]))  # type: ignore[type-var]
    assert exposed(elsewhere, {"guess": guess}).tolist() == [False, True]  # type: ignore[arg-type]
    none = replace(both, psnr=np.array([np.nan, 80.0]))  # type: ignore[type-var]
    assert exposed(none, {"guess": guess}).tolist() == [False, True]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ATTACKS)
def test_settings_go_to_the_attacks_that_have_them(name: str) -> None:
    made = attack_of(name, iterations=7, restarts=2)
    assert isinstance(made, ATTACKS[name])
    if name != "analytic":
        assert settings_of(made)["iterations"] == 7


def test_an_unknown_attack_is_refused() -> None:
    with pytest.raises(SettingsError, match="no attack 'magic': choose from dlg"):
        attack_of("magic")
