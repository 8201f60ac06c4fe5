"""Calibration passes samplers that are right, and rejects those that are not."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import pytest
from numpy.testing import assert_allclose

from crowdlearn.aggregators import aggregator
from crowdlearn.errors import SettingsError
from crowdlearn.inference.calibration import (
    NAMELESS,
    NAMING,
    calibrate,
    ecdf_band,
    quantities_of,
    uniformity,
)
from crowdlearn.inference.gibbs_sites import gibbs_sites
from crowdlearn.models import STORIES
from crowdlearn.votes import Votes

N_WORLDS, N_RANKS = 200, 19
STORY = partial(STORIES["bcc"], diagonal=4.0)


@pytest.fixture(scope="module")
def design() -> Votes:
    """Twelve items, each judged by all of four workers; two classes."""
    item, worker = np.repeat(np.arange(12), 4), np.tile(np.arange(4), 12)
    return Votes.from_codes(item, worker, item % 2)


@cache
def drawn(labels: bytes, seed: int) -> dict[str, np.ndarray]:
    """Gibbs draws of one world; the tests see the same worlds."""
    item, worker = np.repeat(np.arange(12), 4), np.tile(np.arange(4), 12)
    votes = Votes.from_codes(item, worker, np.frombuffer(labels, np.int32), classes=2)
    method = aggregator(
        "bcc-gibbs", diagonal=4.0, n_chains=1, n_warmup=20, n_draws=6 * N_RANKS, seed=seed
    )
    sites, _ = gibbs_sites(method, votes, n_kept=N_RANKS)
    return {name: value[0] for name, value in sites.items()}


def by_gibbs(votes: Votes, seed: int) -> dict[str, np.ndarray]:
    return drawn(votes.label.tobytes(), seed)


def too_sure(votes: Votes, seed: int) -> dict[str, np.ndarray]:
    """The right draws, moved towards their mean."""
    return {n: 0.7 * x + 0.3 * x.mean(axis=0) for n, x in by_gibbs(votes, seed).items()}


def without_looking(votes: Votes, seed: int) -> dict[str, np.ndarray]:
    """Draws from the prior, whatever the votes."""
    rng = np.random.default_rng(seed)
    rows = [rng.dirichlet(4.0 * (np.arange(2) == k) + (np.arange(2) != k), (19, 4)) for k in (0, 1)]
    return {"prior": rng.dirichlet([1, 1], N_RANKS), "confusion": np.stack(rows, axis=2)}


def test_gibbs_is_calibrated(design: Votes) -> None:
    found = calibrate(STORY, design, by_gibbs, n_worlds=N_WORLDS, n_ranks=N_RANKS)
    assert found.ranks.shape == (N_WORLDS, len(NAMING + NAMELESS))
    assert found.p > 0.01, found.to_table().to_pandas()


def test_a_sampler_that_is_too_sure_is_rejected_as_too_narrow(design: Votes) -> None:
    found = calibrate(STORY, design, too_sure, n_worlds=N_WORLDS, n_ranks=N_RANKS)
    assert found.p < 1e-3
    assert found.tests["accuracy of worker 0"].spread > 1.1
    assert found.tests["accuracy of worker 0"].coverage < 0.85


def test_a_sampler_that_never_looks_at_the_votes_is_rejected(design: Votes) -> None:
    """Parameters alone cannot tell: over worlds, the posterior is the prior on average."""
    found = calibrate(STORY, design, without_looking, n_worlds=N_WORLDS, n_ranks=N_RANKS)
    assert found.tests["accuracy of worker 0"].p > 0.01
    assert found.tests["log likelihood"].p < 1e-3
    assert found.p < 1e-3


def test_the_test_rejects_uniform_ranks_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    p = [uniformity(rng.integers(0, 20, 150), 19).p for _ in range(1000)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.025)
    assert np.mean(np.array(p) <= 0.5) == pytest.approx(0.5, abs=0.06)


def test_ranks_stay_in_the_band_as_often_as_it_says() -> None:
    rng, inside = np.random.default_rng(6), []
    low, high = ecdf_band(150, 19)
    for _ in range(1000):
        ecdf = np.bincount(rng.integers(0, 20, 150), minlength=20).cumsum() / 150
        inside.append(((ecdf >= low) & (ecdf <= high)).all())
    assert np.mean(inside) == pytest.approx(0.95, abs=0.025)


@pytest.mark.parametrize(
    "shape, spread, shift", [((0.6, 0.6), 1, 0), ((2, 2), -1, 0), ((1, 2), 0, -1), ((2, 1), 0, 1)]
)
def test_the_kind_of_error_is_told(shape: tuple[float, float], spread: int, shift: int) -> None:
    ranks = np.floor(np.random.default_rng(7).beta(*shape, 400) * 20).astype(int)
    found = uniformity(ranks, 19)
    assert found.p < 1e-3
    if spread:
        assert np.sign(found.spread - 1) == spread
    if shift:
        assert np.sign(found.shift) == shift and abs(found.shift) > 0.1


def test_nameless_quantities_do_not_see_the_names_of_classes(design: Votes) -> None:
    rng = np.random.default_rng(8)
    prior, confusion = rng.dirichlet([1, 1], 3), rng.dirichlet([1, 1], (3, 4, 2))
    turned = {"prior": prior[:, ::-1], "confusion": confusion[:, :, ::-1]}
    truth, story = rng.integers(0, 2, 12), STORIES["bcc"]
    here = quantities_of(story, design, {"prior": prior, "confusion": confusion}, truth)
    there = quantities_of(story, design, turned, 1 - truth)
    for name in NAMELESS:
        n = 1 if name == "squared class counts" else 3  # the other truths are drawn
        assert_allclose(there[name][:n], here[name][:n], rtol=1e-5)
    assert_allclose(there["share of class 0"], 1 - here["share of class 0"], atol=1e-6)


def test_quantities_are_what_they_are_called(design: Votes) -> None:
    rng = np.random.default_rng(9)
    prior, confusion = rng.dirichlet([1, 1], 2), rng.dirichlet([1, 1], (2, 4, 2))
    truth = np.repeat([0, 1], [9, 3])
    sites = {"prior": prior, "confusion": confusion}
    found = quantities_of(STORIES["bcc"], design, sites, truth)
    assert_allclose(found["share of class 0"], prior[:, 0], rtol=1e-5)
    accuracy = np.einsum("dk,dkk->d", prior, confusion[:, 0])
    assert_allclose(found["accuracy of worker 0"], accuracy, rtol=1e-5)
    assert_allclose(found["worker 0 says 1 for 0"], confusion[:, 0, 0, 1], rtol=1e-5)
    says_0 = np.einsum("dk,dk->d", prior, confusion[:, 0, :, 0])
    assert_allclose(found["worker 0 says 0"], says_0, rtol=1e-5)
    agree = np.einsum("dk,dkc,dkc->d", prior, confusion[:, 0], confusion[:, 1])
    assert_allclose(found["first two votes agree"], agree, rtol=1e-5)
    assert found["items of class 0"][0] == 9 and found["squared class counts"][0] == 90


def test_what_cannot_be_ranked_is_refused(design: Votes) -> None:
    with pytest.raises(SettingsError, match="'height'.*log likelihood"):
        calibrate(STORY, design, by_gibbs, quantities=["height"])
    with pytest.raises(SettingsError, match="0 worlds"):
        calibrate(STORY, design, by_gibbs, n_worlds=0)
    with pytest.raises(SettingsError, match="gave 19 draws where 99 are ranked"):
        calibrate(STORY, design, by_gibbs, n_worlds=N_WORLDS)
