"""What every story promises: its density is that of brute force, and names do not matter."""

from __future__ import annotations

import inspect

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpyro import handlers

from crowdlearn.aggregators import AGGREGATORS
from crowdlearn.errors import SettingsError
from crowdlearn.models import STORIES, vote_data
from crowdlearn.votes import Votes
from tests.crowdlearn.models.conftest import Evaluated, evaluator
from tests.crowdlearn.models.oracles import ORACLES, Sites, draw, enumerate_worlds, permuted

pytestmark = pytest.mark.usefixtures("double")
every_story = pytest.mark.parametrize("name", ORACLES)
NO_GOLD = np.full(4, -1)


def evaluate(name: str, sites: Sites, votes: Votes, gold: np.ndarray | None = None) -> Evaluated:
    fixed = tuple(ORACLES[name].parameters.items())
    return evaluator(name, fixed)(sites, vote_data(votes, gold))


@every_story
@pytest.mark.parametrize("gold", [NO_GOLD, np.array([-1, 2, -1, 0])], ids=["free", "gold"])
def test_density_and_truths_are_those_of_brute_force(
    name: str, gold: np.ndarray, small: Votes
) -> None:
    rng = np.random.default_rng(3)
    for _ in range(3):
        sites = draw(ORACLES[name], small, rng)
        expected, posterior = enumerate_worlds(ORACLES[name], sites, small, gold)
        density, truth, _ = evaluate(name, sites, small, gold)
        assert_allclose(density, expected, rtol=1e-9)
        assert_allclose(truth, posterior, atol=1e-10)


@pytest.mark.parametrize("name", ["dawid-skene", "idbla", "mace", "ebcc"])
def test_two_classes_too(name: str, tiny: Votes) -> None:
    sites = draw(ORACLES[name], tiny, np.random.default_rng(4))
    expected, posterior = enumerate_worlds(ORACLES[name], sites, tiny, np.full(3, -1))
    density, truth, _ = evaluate(name, sites, tiny)
    assert_allclose(density, expected, rtol=1e-9)
    assert_allclose(truth, posterior, atol=1e-10)


@every_story
def test_names_of_items_workers_and_classes_do_not_matter(name: str, small: Votes) -> None:
    rng = np.random.default_rng(5)
    order = {"i": rng.permutation(4), "w": np.array([1, 2, 0]), "k": np.array([2, 0, 1])}
    sites = draw(ORACLES[name], small, rng)
    renamed = Votes.from_codes(
        order["i"][small.item], order["w"][small.worker], order["k"][small.label],
        items=4, workers=3, classes=3,
    )  # fmt: skip
    here, truth, _ = evaluate(name, sites, small, np.array([-1, 2, -1, -1]))
    gold = np.full(4, -1)
    gold[order["i"][1]] = order["k"][2]
    there, moved, _ = evaluate(name, permuted(ORACLES[name], sites, order), renamed, gold)
    assert_allclose(there, here, rtol=1e-10)
    assert_allclose(moved[order["i"]][:, order["k"]], truth, atol=1e-10)


@every_story
def test_the_order_of_an_items_votes_does_not_matter(name: str, small: Votes) -> None:
    sites = draw(ORACLES[name], small, np.random.default_rng(6))
    order = np.random.default_rng(6).permutation(small.n_votes)
    shuffled = Votes.from_codes(
        small.item[order], small.worker[order], small.label[order], items=4, workers=3, classes=3
    )
    here, there = evaluate(name, sites, small)[0], evaluate(name, sites, shuffled)[0]
    assert_allclose(there, here, rtol=1e-12)


@every_story
def test_hyperparameters_that_make_no_prior_are_refused(name: str, small: Votes) -> None:
    """Every hyperparameter is read, checked, and named, before anything is drawn from it."""
    story, data = STORIES[name], vote_data(small)
    hyperparameters = [p for p in inspect.signature(story).parameters.values() if p.name != "data"]
    assert hyperparameters
    for hyper in hyperparameters:
        whole, free = isinstance(hyper.default, int), hyper.name in FREE
        for bad in (0, -1) if whole else (float("nan"), float("inf"), *(() if free else (0.0,))):
            with pytest.raises(SettingsError, match=f"^{hyper.name} must be"):
                seeded(story, data, {hyper.name: bad})


FREE = ("ease", "ability_mean", "easiness_mean")  # means, which may have any sign


def seeded(story: object, data: object, parameters: dict[str, object]) -> None:
    """Runs the story with zeros for draws: only its checks are wanted."""
    cheap = handlers.substitute(
        story,
        substitute_fn=lambda site: (
            jnp.zeros(site["fn"].shape()) if site["type"] == "sample" else None
        ),
    )
    cheap(data, **parameters)


# a story and the fast method for it; settings of these names mean the same in both
@pytest.mark.parametrize(
    ("story", "method"),
    [
        ("bcc", "bcc"),
        ("bcc", "bcc-gibbs"),
        ("idbla", "idbla"),
        ("idbla", "idbla-gibbs"),
        ("fixed-idbla", "fixed-idbla"),
        ("cbcc", "cbcc"),
        ("bcc-hyper", "hierarchical"),
    ],
)
def test_defaults_are_those_of_the_fast_method(story: str, method: str) -> None:
    if method not in AGGREGATORS:
        pytest.skip(f"there is no method {method!r} yet")
    settings = AGGREGATORS[method]()
    for hyper in inspect.signature(STORIES[story]).parameters.values():
        if hyper.name != "data":
            assert getattr(settings, hyper.name) == hyper.default, hyper.name
