"""The noisy crowds against draws by rejection and the published label statistics."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import chisquare

from crowdlearn.errors import SettingsError
from crowdlearn.simulate import bila_bimodal, bila_uniform


def test_bimodal_noise_is_the_rounded_normals_drawn_again_outside():
    world = bila_bimodal(n_workers=1, modes=(1.0, 7.0), spreads=(1.5, 0.4), noise=1.0)
    noise = world.confusion[0, 0]
    rng, drawn = np.random.default_rng(0), []
    while len(drawn) < 40_000:
        first = rng.random() < 0.5
        value = -1
        while not 0 <= value <= 9:
            value = round(rng.normal(1.0, 1.5) if first else rng.normal(7.0, 0.4))
        drawn.append(value)
    likely = noise > 1e-3
    counts = np.bincount(drawn, minlength=10)[likely]
    assert chisquare(counts, noise[likely] / noise[likely].sum() * counts.sum()).pvalue > 1e-4
    assert_allclose(world.confusion[0], np.tile(noise, (10, 1)))


def test_wrong_labels_have_the_published_shares():
    world = bila_bimodal(20_000, seed=1)
    truth = world.truth[world.votes.item]
    wrong = world.votes.label != truth
    assert wrong.mean() == pytest.approx(0.6 * 0.9, abs=0.005)
    shares = np.bincount(world.votes.label[wrong], minlength=10) / wrong.sum()
    published = [0.003, 0.030, 0.117, 0.196, 0.115, 0.024, 0.053, 0.413, 0.048, 0.000]
    assert_allclose(shares, published, atol=0.025)


def test_uniform_noise_keeps_the_truth_and_spreads_the_rest():
    noise = np.array([0.0, 0.5, 1.0])
    confusion = bila_uniform(n_workers=3, n_classes=4, noise=noise).confusion
    assert_allclose(confusion[0], np.eye(4))
    assert_allclose(np.diag(confusion[1]), 0.5 + 0.125)
    assert_allclose(confusion[2], 0.25)


def test_settings_out_of_range_are_refused():
    with pytest.raises(SettingsError, match="noise is 1.5"):
        bila_uniform(noise=1.5)
    with pytest.raises(SettingsError, match="one for each of 10 workers"):
        bila_bimodal(noise=np.array([0.1, 0.2]))
    with pytest.raises(SettingsError, match="spreads are"):
        bila_bimodal(spreads=(1.0, 0.0))
