"""Where one story contains another, they read the votes alike."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import betaln, expit

from crowdlearn.models import vote_data
from crowdlearn.models.reading import Reading
from crowdlearn.votes import Votes
from tests.crowdlearn.models.conftest import evaluator
from tests.crowdlearn.models.oracles import ORACLES, Sites, draw

pytestmark = pytest.mark.usefixtures("double")


def assert_same(one: Reading, other: Reading) -> None:
    assert_allclose(one.log_prior, other.log_prior, atol=1e-9)
    assert_allclose(one.log_vote, other.log_vote, atol=1e-9)


def some(name: str, votes: Votes) -> Sites:
    return draw(ORACLES[name], votes, np.random.default_rng(8))


def test_ebcc_with_one_subtype_is_bcc(small: Votes) -> None:
    data, sites = vote_data(small), some("bcc", small)
    one = {"confusion": sites["confusion"][:, :, None], "share": np.ones((3, 1))}
    ebcc = evaluator("ebcc", (("n_subtypes", 1), ("diagonal", 2.0)))(sites | one, data)
    bcc = evaluator("bcc")(sites, data)
    assert_allclose(ebcc[0], bcc[0], rtol=1e-12)
    assert_same(ebcc[2], bcc[2])


def test_cbcc_with_one_community_is_bcc_with_hyperpriors(small: Votes) -> None:
    data, sites = vote_data(small), some("bcc-hyper", small)
    one = {"share": np.ones(1), "mean": sites["mean"][None], "strength": sites["strength"][None]}
    cbcc = evaluator("cbcc", (("n_communities", 1),))(sites | one, data)
    hyper = evaluator("bcc-hyper")(sites, data)
    assert_allclose(cbcc[0], hyper[0], rtol=1e-12)
    assert_same(cbcc[2], hyper[2])


@pytest.mark.parametrize("name", ["idbla", "fixed-idbla"])
def test_idbla_with_easy_items_is_dawid_skene(name: str, small: Votes) -> None:
    """Up to the densities of easiness at 1, which is Beta(9, 1), and of the flat guess."""
    data, sites = vote_data(small), some(name, small) | {"easiness": np.full(4, 1 - 1e-12)}
    easy = evaluator(name)(sites, data)
    plain = evaluator("dawid-skene")({n: sites[n] for n in ("prior", "confusion")}, data)
    log_guess = np.log(2.0) if name == "idbla" else 0.0
    assert_allclose(easy[0] - log_guess + 4 * betaln(9, 1), plain[0], rtol=1e-9)
    assert_same(easy[2], plain[2])


def test_glad_with_alike_items_is_one_coin(small: Votes) -> None:
    data, sites = vote_data(small), some("glad", small) | {"log_easiness": np.zeros(4)}
    coin = {"prior": np.full(3, 1 / 3), "ability": expit(sites["ability"])}
    assert_same(evaluator("glad")(sites, data)[2], evaluator("one-coin")(coin, data)[2])


def test_one_coin_is_a_dawid_skene_with_symmetric_rows(small: Votes) -> None:
    data, sites = vote_data(small), some("one-coin", small)
    ability = sites["ability"][:, None, None]
    rows = np.where(np.eye(3) == 1, ability, (1 - ability) / 2)
    plain = evaluator("dawid-skene")({"prior": sites["prior"], "confusion": rows}, data)
    assert_same(evaluator("one-coin")(sites, data)[2], plain[2])


def test_mace_is_a_dawid_skene_whose_errors_do_not_depend_on_the_truth(small: Votes) -> None:
    data, sites = vote_data(small), some("mace", small)
    honesty = sites["honesty"][:, None, None]
    rows = honesty * np.eye(3) + (1 - honesty) * sites["guess"][:, None]
    plain = {"prior": np.full(3, 1 / 3), "confusion": rows}
    assert_same(evaluator("mace")(sites, data)[2], evaluator("dawid-skene")(plain, data)[2])


def test_without_scatter_the_logistic_stories_are_multinomial(small: Votes) -> None:
    data, sites = vote_data(small), some("logistic-random-effects", small)
    still = sites | {"scatter": np.zeros((3, 3)), "item_scatter": np.zeros((3, 3))}
    scores = np.exp(sites["typical"])
    rows = {"prior": sites["prior"], "confusion": scores / scores.sum(axis=1, keepdims=True)}
    plain = evaluator("multinomial")(rows, data)[2]
    for name in ("logistic-random-effects", "hierarchical-dawid-skene", "item-difficulty"):
        mine = {n: still[n] for n in ORACLES[name].sites}
        assert_same(evaluator(name)(mine, data)[2], plain)


def test_without_item_effects_random_effects_are_hierarchical_dawid_skene(small: Votes) -> None:
    data, sites = vote_data(small), some("logistic-random-effects", small)
    still = sites | {"item_effect": np.zeros((4, 3))}
    mine = {n: sites[n] for n in ORACLES["hierarchical-dawid-skene"].sites}
    assert_same(
        evaluator("logistic-random-effects")(still, data)[2],
        evaluator("hierarchical-dawid-skene")(mine, data)[2],
    )


def test_a_label_of_probability_zero_leaves_evidence_and_gradient_finite(small: Votes) -> None:
    data, evaluate = vote_data(small), evaluator("dawid-skene")
    sites = {"prior": np.eye(3)[0], "confusion": np.broadcast_to(np.eye(3), (3, 3, 3))}
    slope = jax.grad(lambda s: evaluate(s, data)[2].evidence(data).sum())(sites)
    assert np.isfinite(evaluate(sites, data)[2].evidence(data)).all()
    assert all(np.isfinite(value).all() for value in slope.values())
