"""Replicates follow the story: truths from their posterior, labels from their probabilities."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import softmax

from crowdlearn.errors import SettingsError
from crowdlearn.inference.replicate import (
    chances_of,
    draw_again,
    draw_worlds,
    flattened,
    over_draws,
    reading_of,
    right_of,
)
from crowdlearn.models import STORIES, VoteData, vote_data
from crowdlearn.votes import Votes


def a_draw(story: str, votes: Votes) -> tuple[Any, dict[str, Any]]:
    """The votes, and parameters that the story could draw."""
    rng, n = np.random.default_rng(3), votes.n_classes
    sites = {
        "prior": rng.dirichlet(np.ones(n)),
        "share": rng.dirichlet(np.ones(2), n),
        "confusion": rng.dirichlet(np.ones(n), (votes.n_workers, n)),
        "easiness": rng.beta(9, 1, votes.n_items),
        "guess": rng.dirichlet(np.ones(n)),
    }
    if story == "ebcc":
        sites["confusion"] = rng.dirichlet(np.ones(n), (votes.n_workers, n, 2))
    return vote_data(votes), sites


def told(story: str) -> Any:
    return partial(STORIES[story], n_subtypes=2) if story == "ebcc" else STORIES[story]


def told_of(story: str, data: VoteData, sites: dict[str, Any]) -> Any:
    """Chances, reading, posterior of the truths and evidence, compiled as one, in NumPy."""

    @jax.jit
    def tell(data: VoteData, sites: dict[str, Any]) -> Any:
        reading = reading_of(told(story), data, sites)
        chances = chances_of(told(story), data, sites)
        return chances, reading, reading.truth(data), reading.evidence(data)

    return jax.tree.map(np.asarray, tell(data, sites))


@pytest.mark.parametrize("story", ["dawid-skene", "ebcc", "idbla"])
def test_labels_have_the_probabilities_that_the_story_gives_them(story: str, tiny: Votes) -> None:
    data, sites = a_draw(story, tiny)
    chances, reading, _, _ = told_of(story, data, sites)
    seen = chances.label[np.arange(tiny.n_votes), :, tiny.label]
    assert_allclose(seen, np.exp(reading.log_vote), rtol=1e-5)
    assert_allclose(chances.label.sum(axis=2), 1, rtol=1e-5)
    assert_allclose(chances.prior, softmax(reading.log_prior, axis=1), rtol=1e-5)


def test_replicates_have_the_frequencies_of_the_posterior(tiny: Votes) -> None:
    story, n = told("ebcc"), 4096
    data, sites = a_draw("ebcc", tiny)
    same = {name: np.repeat(np.asarray(value)[None], n, axis=0) for name, value in sites.items()}
    truth, label = over_draws(draw_again, story, data, same)
    chances, _, posterior, evidence = told_of("ebcc", data, sites)
    expected = softmax(evidence, axis=1)
    says_1 = (expected[tiny.item] * chances.label[:, :, 1]).sum(axis=1)
    bound = 4.5 * np.sqrt(0.25 / n)
    assert np.abs((truth == 1).mean(axis=0) - posterior[:, 1]).max() < bound
    assert np.abs((label == 1).mean(axis=0) - says_1).max() < bound


def test_gold_items_keep_their_class_in_replicates(tiny: Votes) -> None:
    data = vote_data(tiny, np.array([1, -1, 0]))
    _, sites = a_draw("dawid-skene", tiny)
    same = {name: np.repeat(np.asarray(value)[None], 32, axis=0) for name, value in sites.items()}
    truth, _ = over_draws(draw_again, STORIES["dawid-skene"], data, same)
    assert (truth[:, 0] == 1).all() and (truth[:, 2] == 0).all()


def test_worlds_from_the_prior_have_their_own_accuracy(tiny: Votes) -> None:
    """A vote is right as often as its chance to be, and the labels of the votes play no part."""
    worlds = draw_worlds(STORIES["idbla"], vote_data(tiny), 2000, seed=1)
    right = (worlds.label == worlds.truth[:, tiny.item]).mean(axis=0)
    assert np.abs(right - worlds.right.mean(axis=0)).max() < 4.5 * np.sqrt(0.25 / 2000)
    others = Votes.from_codes(tiny.item, tiny.worker, 1 - tiny.label)
    again = draw_worlds(STORIES["idbla"], vote_data(others), 2000, seed=1)
    assert_allclose(again.label, worlds.label)
    assert set(worlds.sites) == {"prior", "confusion", "easiness", "guess"}


def test_right_is_the_diagonal_where_a_story_has_confusions(tiny: Votes) -> None:
    data, sites = a_draw("bcc", tiny)
    diagonal = np.einsum("wkk,k->w", np.asarray(sites["confusion"]), np.asarray(sites["prior"]))
    found = jax.jit(lambda d, s: right_of(d, chances_of(STORIES["bcc"], d, s)))(data, sites)
    assert_allclose(found, diagonal[tiny.worker], rtol=1e-5)


def test_chains_are_laid_end_to_end() -> None:
    sites = {"x": np.arange(12).reshape(2, 3, 2)}
    assert_allclose(flattened(sites)["x"], np.arange(12).reshape(6, 2))


def test_draws_that_do_not_match_are_refused(tiny: Votes) -> None:
    sites = {"prior": np.ones((3, 2)) / 2, "confusion": np.ones((4, 3, 2, 2)) / 2}
    with pytest.raises(SettingsError, match="'prior': 3, 'confusion': 4"):
        over_draws(draw_again, STORIES["bcc"], vote_data(tiny), sites)
