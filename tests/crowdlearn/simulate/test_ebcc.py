"""EBCC worlds: one subtype is BCC; several make workers err together."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.errors import SettingsError
from crowdlearn.simulate import bcc, ebcc, everyone


def test_one_subtype_is_bcc():
    plain, single = bcc(seed=2), ebcc(n_subtypes=1, seed=2)
    assert_allclose(single.confusion, plain.confusion)
    assert_array_equal(single.truth, plain.truth)
    assert_array_equal(single.votes.label, plain.votes.label)


def test_subtypes_have_their_shares_and_average_to_the_confusion():
    world = ebcc(40_000, 5, 3, n_subtypes=4, share=4.0, seed=1)
    for k in range(3):
        of_class = world.subtype[world.truth == k]
        found = np.bincount(of_class, minlength=4) / len(of_class)
        assert_allclose(found, world.subtype_share[k], atol=4 * np.sqrt(0.25 / len(of_class)))
    averaged = (world.subtype_share[None, :, :, None] * world.subtype_confusion).sum(axis=2)
    assert_allclose(averaged, world.confusion)


def test_errors_of_two_workers_correlate_given_the_truth_only_with_subtypes():
    def covariance(n_subtypes: int) -> float:
        world = ebcc(
            30_000, 2, 2, n_subtypes=n_subtypes, share=8.0, off=0.3, diag=0.6, assign=everyone()
        )
        right = (world.votes.label == world.truth[world.votes.item]).reshape(-1, 2)
        return max(abs(np.cov(right[world.truth == k].T)[0, 1]) for k in (0, 1))

    assert covariance(1) < 4 * 0.25 / np.sqrt(10_000) < covariance(5)


def test_settings_out_of_range_are_refused():
    with pytest.raises(SettingsError, match="n_subtypes is 0"):
        ebcc(n_subtypes=0)
