"""What every method promises, run over the table."""

from __future__ import annotations

import json
import warnings
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.aggregation import Aggregation, Sweep
from crowdlearn.aggregators import AGGREGATORS, aggregator
from crowdlearn.errors import ConvergenceWarning, SettingsError, VotesError
from crowdlearn.votes import Votes

QUICK = {
    "n_chains": 2,
    "n_warmup": 5,
    "n_draws": 20,
    "n_restarts": 2,
    "n_subtypes": 3,
    "n_resamples": 4,
    "n_folds": 1,
}
"""Short runs: what is promised holds for any length."""

QUICK_OF: dict[str, dict[str, Any]] = {
    "bayes": {
        "story": "bcc",
        "inference": {"name": "nuts", "n_chains": 2, "n_warmup": 20, "n_draws": 20},
    }
}
"""Further short runs, for one method alone."""

pytestmark = pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")
every_method = pytest.mark.parametrize("name", AGGREGATORS)
deterministic = pytest.mark.parametrize("name", [n for n, m in AGGREGATORS.items() if not m.random])
SAMPLED = {
    n
    for n, m in AGGREGATORS.items()
    if {"n_draws", "inference"} & {field.name for field in fields(m)}
}
"""Nothing rises there, and a fit is not one point."""

NEURAL = ("consensus", "consensus-onecoin", "bila", "laa")
UNBOUNDED = ("majority", "wawa", "calibrated", "auto", "kos", "m-msr", "max-margin", *NEURAL)
"""No quantity that rises from sweep to sweep."""

variational = pytest.mark.parametrize(
    "name", [n for n in AGGREGATORS if n not in UNBOUNDED and n not in SAMPLED]
)


@pytest.fixture
def world(
    request: pytest.FixtureRequest, world: tuple[Votes, np.ndarray]
) -> tuple[Votes, np.ndarray]:
    """The shared world; its last two classes are one for a method that knows only two."""
    votes, truth = world
    if getattr(AGGREGATORS[request.node.callspec.params["name"]], "n_classes", 3) == 3:
        return world
    label = np.minimum(votes.label, 1)
    merged = Votes.from_codes(votes.item, votes.worker, label, items=120, workers=12, classes=2)
    return merged, np.minimum(truth, 1)


def make(name: str, **settings: Any) -> Any:
    has = {field.name for field in fields(AGGREGATORS[name])}
    quick = {k: v for k, v in QUICK.items() if k in has} | QUICK_OF.get(name, {})
    return aggregator(name, **quick | settings)


def long(name: str) -> Any:
    """A method of sweeps that goes on well past its default tolerance."""
    return make(name, tolerance=1e-9, max_sweeps=400)


@every_method
def test_rows_sum_to_one_and_a_refit_agrees(name: str, world: tuple[Votes, np.ndarray]) -> None:
    votes, truth = world
    first, second = make(name).fit(votes), make(name).fit(votes)
    assert_allclose(first.posterior.sum(axis=1), 1, atol=1e-9)
    assert_allclose(first.confusion.sum(axis=2), 1, atol=1e-6)
    assert_allclose(first.prior.sum(), 1, atol=1e-9)
    assert_array_equal(first.posterior, second.posterior)
    assert_array_equal(first.labels, second.labels)
    assert (first.labels == truth).mean() > 0.75


@every_method
def test_intervals_hold_their_means(name: str, world: tuple[Votes, np.ndarray]) -> None:
    accuracy = make(name).fit(world[0]).worker_accuracy
    assert (accuracy.low >= 0).all() and (accuracy.high <= 1).all()
    assert (accuracy.low <= accuracy.mean).all() and (accuracy.mean <= accuracy.high).all()
    assert (accuracy.high - accuracy.low > 0.01).all()


@every_method
def test_inputs_are_left_alone(name: str, world: tuple[Votes, np.ndarray]) -> None:
    votes, truth = world
    gold = np.where(np.arange(len(truth)) < 5, truth, -1)
    before = [a.copy() for a in (votes.item_offsets, votes.worker, votes.label, gold)]
    make(name).fit(votes, gold=gold)
    for array, copy in zip(
        (votes.item_offsets, votes.worker, votes.label, gold), before, strict=True
    ):
        assert_array_equal(array, copy)


@every_method
def test_an_item_with_one_vote_or_none_is_answered(name: str) -> None:
    votes = Votes.from_codes(
        np.array([0, 0, 1, 3]), np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), items=4
    )
    fit = make(name).fit(votes)
    assert np.isfinite(fit.posterior).all()
    assert_allclose(fit.posterior.sum(axis=1), 1, atol=1e-9)
    assert fit.posterior[1, 1] > 0.5 or make(name).random


@deterministic
def test_row_order_does_not_matter(name: str, world: tuple[Votes, np.ndarray]) -> None:
    votes, _ = world
    order = np.random.default_rng(0).permutation(votes.n_votes)
    shuffled = Votes.from_codes(
        votes.item[order], votes.worker[order], votes.label[order], items=120, workers=12, classes=3
    )
    assert_allclose(make(name).fit(shuffled).posterior, make(name).fit(votes).posterior, atol=1e-8)


@deterministic
def test_names_of_items_workers_and_classes_do_not_matter(
    name: str, world: tuple[Votes, np.ndarray]
) -> None:
    votes, _ = world
    rng = np.random.default_rng(1)
    items, workers, classes = rng.permutation(120), rng.permutation(12), rng.permutation(3)
    if getattr(AGGREGATORS[name], "ordered", False):  # the order of the classes is part of the data
        classes = np.arange(3)
    renamed = Votes.from_codes(
        items[votes.item], workers[votes.worker], classes[votes.label],
        items=120, workers=12, classes=3,
    )  # fmt: skip
    here, there = make(name).fit(votes), make(name).fit(renamed)
    assert_allclose(there.posterior[items][:, classes], here.posterior, atol=1e-7)
    assert_allclose(there.confusion[workers][:, classes][:, :, classes], here.confusion, atol=1e-6)


@every_method
def test_gold_answers_clamp_items(name: str, world: tuple[Votes, np.ndarray]) -> None:
    votes, truth = world
    last = votes.n_classes - 1
    gold = {"0": str(last), "1": "0", "2": "1"}
    fit = make(name).fit(votes, gold=gold)
    assert_allclose(fit.posterior[:3], np.eye(last + 1)[[last, 0, 1]], atol=1e-12)
    assert_array_equal(fit.labels[:3], [last, 0, 1])
    assert_array_equal(fit.gold[:4], [last, 0, 1, -1])
    assert fit.explain("0").gold


@pytest.mark.parametrize("name", [n for n in AGGREGATORS if n != "majority"])
def test_gold_answers_teach_about_the_workers(name: str) -> None:
    """A worker who contradicts gold answers loses weight on the other items."""
    item = np.repeat(np.arange(30), 2)
    worker = np.tile([0, 1], 30)
    label = np.stack([np.arange(30) % 2, 1 - np.arange(30) % 2], axis=1).ravel()
    votes = Votes.from_codes(item, worker, label)
    gold = np.where(np.arange(30) < 20, np.arange(30) % 2, -1)
    fit = make(name).fit(votes, gold=gold)
    assert_array_equal(fit.labels, np.arange(30) % 2)
    least = 0.52 if name == "mace" else 0.4  # nobody is worse than a guess in the story of MACE
    assert fit.worker_accuracy.mean[0] > 0.8 > least > fit.worker_accuracy.mean[1]


@every_method
def test_bad_gold_is_refused(name: str, tiny: Votes) -> None:
    with pytest.raises(VotesError, match="nobody"):
        make(name).fit(tiny, gold={"nobody": "0"})
    with pytest.raises(VotesError, match="shape"):
        make(name).fit(tiny, gold=np.zeros(7, dtype=int))


@variational
def test_the_bound_never_falls(name: str, world: tuple[Votes, np.ndarray]) -> None:
    bound = long(name).fit(world[0]).history.bound
    assert len(bound) > 3
    assert np.diff(bound).min() >= -1e-8 * abs(bound[-1])


@variational
def test_the_bound_never_falls_with_gold_and_hard_votes(name: str, tiny: Votes) -> None:
    bound = long(name).fit(tiny, gold={"0": "1"}).history.bound
    assert np.diff(bound).min() >= -1e-8 * max(abs(bound[-1]), 1)


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in AGGREGATORS
        if n not in SAMPLED and "factorised" not in n and n not in ("kos", "max-margin")
    ],
)
def test_training_items_are_read_as_they_were_fitted(
    name: str, world: tuple[Votes, np.ndarray]
) -> None:
    votes, _ = world
    fit = make(name, **{"tolerance": 1e-8} if "idbla" in name or "minimax" in name else {}).fit(
        votes
    )
    assert_allclose(fit.predict_proba(votes), fit.posterior, atol=1e-6)


@every_method
def test_new_items_are_read_and_strangers_left_out(
    name: str, world: tuple[Votes, np.ndarray]
) -> None:
    fit = make(name).fit(world[0])
    other = "2" if world[0].n_classes == 3 else "0"
    new = Votes.from_codes(
        np.array([0, 0, 0, 1]), np.array([0, 1, 2, 3]), np.array([1, 1, 0, 0]),
        items=["x", "y"], workers=["3", "5", "stranger", "7"], classes=[other, "1"],
    )  # fmt: skip
    with pytest.warns(UserWarning, match="1 of 4 votes left out.* 1 workers"):
        read = fit.predict_proba(new)
    assert read.shape == (2, world[0].n_classes)
    assert_allclose(read.sum(axis=1), 1)
    assert read[0].argmax() == 1 and read[1].argmax() == int(other)


@every_method
def test_saved_and_loaded_it_is_the_same(
    name: str, world: tuple[Votes, np.ndarray], tmp_path: Any
) -> None:
    fit = make(name).fit(world[0], gold={"4": "1"})
    fit.save(tmp_path / "fit")
    back = Aggregation.load(tmp_path / "fit")
    assert back.to_table().equals(fit.to_table())
    assert back.settings == fit.settings == json.loads(json.dumps(fit.settings))
    assert_array_equal(back.confusion, fit.confusion)
    assert_allclose(back.predict_proba(world[0]), fit.predict_proba(world[0]), atol=1e-12)
    assert str(back.explain("7")) == str(fit.explain("7"))


@pytest.mark.parametrize("name", [n for n in AGGREGATORS if n not in ("majority", "wawa")])
def test_a_fit_can_be_watched_and_stopped(name: str, world: tuple[Votes, np.ndarray]) -> None:
    seen: list[Sweep] = []

    def watch(sweep: Sweep) -> bool:
        seen.append(sweep)
        return sweep.number == 3

    fit = make(name).fit(world[0], on_sweep=watch)
    assert [sweep.number for sweep in seen][:3] == [1, 2, 3]
    assert fit.history.stopped and not fit.history.converged
    assert_allclose(fit.posterior.sum(axis=1), 1)


@pytest.mark.parametrize(
    "name", [n for n, m in AGGREGATORS.items() if "n_threads" in (f.name for f in fields(m))]
)
def test_the_number_of_threads_does_not_matter(
    name: str, world: tuple[Votes, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crowdlearn.sweeps.cpu.VOTES_A_BLOCK", 50)
    one, three = (make(name, n_threads=n).fit(world[0]) for n in (1, 3))
    assert_array_equal(one.posterior, three.posterior)
    assert_array_equal(one.history.bound, three.history.bound)


@every_method
def test_settings_out_of_range_are_refused(name: str) -> None:
    for field in fields(AGGREGATORS[name]):
        if field.type not in ("int", "float"):
            continue
        for bad in (-1, -2) if field.type == "int" else (-1.0, float("nan"), float("inf")):
            with pytest.raises(SettingsError, match=f"^{field.name} must be"):
                aggregator(name, **{field.name: bad})


@every_method
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="wings.*seed"):
        aggregator(name, wings=2)
    with pytest.raises(SettingsError, match="'oracle' is not one of majority"):
        aggregator("oracle")


@every_method
def test_settings_cannot_be_changed(name: str) -> None:
    with pytest.raises(AttributeError):
        aggregator(name).seed = 3


@pytest.mark.parametrize(
    "name", [n for n, m in AGGREGATORS.items() if m.random and n != "mace"]
)  # its first restart draws nothing, and may be the best
def test_the_seed_decides_the_draws(name: str, world: tuple[Votes, np.ndarray]) -> None:
    zero, one = (make(name, seed=seed).fit(world[0]) for seed in (0, 1))
    assert not np.array_equal(zero.posterior, one.posterior)


@variational
def test_stopping_short_is_a_warning(name: str, world: tuple[Votes, np.ndarray]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning, match="not converged after 2 sweeps"):
            make(name, max_sweeps=2, tolerance=0.0).fit(world[0])
