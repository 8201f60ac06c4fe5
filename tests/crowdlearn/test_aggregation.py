"""A result saved and loaded is the same result: it predicts, explains and tabulates alike."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.aggregation import Aggregation, Draws, History, Interval
from crowdlearn.errors import OutputError, VotesError, VotesWarning
from crowdlearn.predictors import MixturePredictor, Predictor, ProductPredictor, SharePredictor
from crowdlearn.votes import Votes

CONFUSION = np.array(
    [[[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.3, 0.7]], [[0.5, 0.5], [0.5, 0.5]]]
)  # [worker, truth, label]
PRIOR = np.array([0.7, 0.3])


def product() -> Predictor:
    return ProductPredictor(PRIOR, CONFUSION.transpose(0, 2, 1), np.arange(2))


def mixture() -> Predictor:
    return MixturePredictor(
        PRIOR, CONFUSION.transpose(0, 2, 1), np.array([0.5, 0.5]), np.array([2.0, 1.0])
    )


def share() -> Predictor:
    return SharePredictor(np.array([3.0, 2.0, 0.0]))


def votes(items: Any = ("a", "b", "c", "no votes")) -> Votes:
    return Votes.from_codes(
        np.array([0, 0, 1, 1, 1, 2]),
        np.array([1, 0, 0, 1, 1, 1]),
        np.array([0, 1, 1, 0, 0, 1]),
        items=items,
        workers=["ann", "bob", "silent"],
        classes=["no", "yes"],
    )


def fit(predictor: Predictor | None = None, **changes: Any) -> Aggregation:
    """A result put together by hand, its posterior that of the predictor."""
    predictor = predictor or product()
    data = changes.pop("votes", votes())
    posterior = predictor.predict(data)
    result = Aggregation(
        method="by-hand",
        settings={"pseudocount": 0.1, "seed": 3, "device": "auto", "prior": None},
        votes=data,
        posterior=posterior,
        labels=posterior.argmax(axis=1).astype(np.int32),
        prior=PRIOR,
        confusion=CONFUSION,
        worker_accuracy=Interval(*np.array([[0.8, 0.6, 0.5], [0.7, 0.5, 0.1], [0.9, 0.7, 0.9]])),
        history=History(np.array([-9.0, -8.5]), np.array([0.2, np.nan]), "log likelihood", True),
        predictor=predictor,
        gold=np.array([-1, -1, -1, -1], dtype=np.int32),
        seconds=0.25,
    )
    return replace(result, **changes)


def draws() -> Draws:
    rng = np.random.default_rng(0)
    return Draws(
        log_density=rng.normal(size=(2, 5)),
        prior=rng.dirichlet([1, 1], size=(2, 5)),
        diagonal=rng.random((2, 5, 3, 2)),
        tracked=np.arange(3),
    )


def assert_same(one: Any, other: Any) -> None:
    """Equal to the last bit, with the same types, however deep."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        assert_array_equal(one, other)
    elif isinstance(one, (pa.Array, pa.ChunkedArray)):
        assert one.equals(other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif hasattr(one, "__dataclass_fields__"):
        for field in fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    else:
        assert one == other


RESULTS = {
    "product": lambda: fit(),
    "mixture": lambda: fit(mixture(), difficulty=np.array([0.1, 0.9, 0.5, 0.5])),
    "share": lambda: fit(share()),
    "draws": lambda: fit(draws=draws(), sampler={"state": np.arange(4), "key": np.zeros((2, 2))}),
    "gold": lambda: fit(gold=np.array([1, -1, -1, 0], dtype=np.int32)),
    "stopped": lambda: fit(
        history=History(np.zeros(0), np.zeros(0), "", False, stopped=True),
        warnings=("not converged after 500 sweeps", "ünï"),
    ),
    "integer items": lambda: fit(votes=votes(pa.array([7, 3, 11, 2]))),
    "large strings": lambda: fit(votes=votes(pa.array(["a", "b\n", "", "ω"], pa.large_string()))),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_saved_result_is_the_same_result(name: str, tmp_path: Path) -> None:
    before = RESULTS[name]()
    before.save(tmp_path / "out")
    after = Aggregation.load(tmp_path / "out")
    assert_same(before, after)
    assert after.to_table().equals(before.to_table())
    assert after.workers_table().equals(before.workers_table())
    assert after.summary() == before.summary()
    for item in before.votes.items.to_pylist():
        assert after.explain(item) == before.explain(item)
    assert_array_equal(after.predict_proba(before.votes), before.predictor.predict(before.votes))


def test_saving_again_replaces_an_earlier_result_but_nothing_else(tmp_path: Path) -> None:
    fit().save(tmp_path / "out")
    fit(method="second").save(tmp_path / "out")
    assert Aggregation.load(tmp_path / "out").method == "second"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(OutputError, match="holds other files"):
        fit().save(tmp_path / "mine")


def test_what_is_no_saved_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VotesError, match="holds no saved result"):
        Aggregation.load(tmp_path / "nowhere")
    fit().save(tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    for content, message in {
        "{": "summary.json: cannot be read",
        "[]": "is in format None",
        json.dumps({**summary, "format": 99}): "is in format 99, where this version reads 1",
    }.items():
        (tmp_path / "out" / "summary.json").write_text(content)
        with pytest.raises(VotesError, match=message):
            Aggregation.load(tmp_path / "out")


@pytest.mark.parametrize(
    "name",
    ["arrays.npz", "predictor.npz", "votes.parquet", "workers.parquet", "posterior.parquet"],
)
def test_a_missing_or_cut_file_is_refused(name: str, tmp_path: Path) -> None:
    fit().save(tmp_path / "out")
    path = tmp_path / "out" / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(VotesError, match="is not a whole result"):
        Aggregation.load(tmp_path / "out")
    path.unlink()
    with pytest.raises(VotesError, match="is not a whole result"):
        Aggregation.load(tmp_path / "out")


def test_the_posterior_file_can_be_read_without_this_package(tmp_path: Path) -> None:
    result = fit(difficulty=np.array([0.1, 0.9, 0.5, 0.5]), gold=np.array([1, -1, -1, -1]))
    result.save(tmp_path / "out")
    table = pq.read_table(tmp_path / "out" / "posterior.parquet")
    assert table.column_names == [
        *["task", "label", "confidence", "n_votes", "gold", "difficulty", "p_no", "p_yes"]
    ]
    assert table["gold"].to_pylist() == [True, False, False, False]
    assert table["n_votes"].to_pylist() == [2, 3, 1, 0]
    assert_array_equal(table["p_yes"].to_numpy(), result.posterior[:, 1])


def test_new_items_of_known_workers_get_bayes_rule() -> None:
    later = Votes.from_codes(
        np.array([0, 0, 1]),
        np.array([0, 1, 1]),
        np.array([0, 1, 0]),
        workers=["bob", "ann"],  # another order than in the fit
        classes=["yes", "no"],
    )
    weights = np.array(
        [
            PRIOR * CONFUSION[1, :, 1] * CONFUSION[0, :, 0],  # bob says yes, ann says no
            PRIOR * CONFUSION[0, :, 1],  # ann says yes
        ]
    )
    expected = weights / weights.sum(axis=1, keepdims=True)
    assert_allclose(fit().predict_proba(later), expected, rtol=1e-12)


def test_unknown_workers_are_left_out_with_a_count_and_unknown_classes_refused() -> None:
    column = np.array([0, 1])
    later = Votes.from_codes(column, column, column, workers=["ann", "eve"], classes=["no", "yes"])
    with pytest.warns(VotesWarning, match="1 of 2 votes left out: they come from 1 workers"):
        proba = fit().predict_proba(later)
    assert_allclose(proba[1], PRIOR)  # no vote left
    strange = Votes.from_codes(column, column, column, workers=["ann", "bob"], classes=["no", "eh"])
    with pytest.raises(
        VotesError, match="class 'eh' was not among the classes of the fit: no, yes"
    ):
        fit().predict_proba(strange)


@pytest.mark.parametrize("make", [product, mixture, share])
def test_an_explanation_says_what_leaving_votes_out_does(make: Any) -> None:
    result = fit(make())
    told = result.explain("b")  # ann said yes, bob said no twice
    here = result.votes.votes_of(1)
    worker, label = result.votes.worker[here], result.votes.label[here]
    answer = int(result.labels[1])

    def odds(keep: list[int]) -> float:
        if not keep:
            alone = result.predictor.predict(votes())[3]
        else:
            one = Votes.from_codes(
                np.zeros(len(keep), dtype=int), worker[keep], label[keep], workers=3, classes=2
            )
            alone = result.predictor.predict(one)[0]
        alone = np.maximum(alone, 1e-30)
        return float(np.log(alone[answer]) - np.log(alone[1 - answer]))

    expected = sorted(odds([0, 1, 2]) - odds([v for v in range(3) if v != u]) for u in range(3))
    assert_allclose([vote.weight for vote in told.votes], expected[::-1], rtol=1e-6, atol=1e-12)
    assert told.label == result.votes.classes[answer]
    assert told.posterior == dict(zip(("no", "yes"), result.posterior[1].tolist(), strict=True))
    assert f"item b: {told.label}" in str(told)


def test_the_least_change_that_flips_is_checked_by_trying_it() -> None:
    told = fit(share()).explain("b")  # ann (3) says yes against bob's two votes (2 each): no wins
    assert told.label == "no" and told.runner_up == "yes" and not told.gold
    assert [vote.worker for vote in told.flip_by_removing] == ["bob"]  # 2 against 3
    assert [vote.worker for vote in told.flip_by_changing] == ["bob"]
    assert "would change if the vote of bob were left out" in str(told)


def test_a_gold_item_does_not_flip() -> None:
    told = fit(share(), gold=np.array([-1, 0, -1, -1], dtype=np.int32)).explain("b")
    assert told.gold and told.flip_by_removing == told.flip_by_changing == ()
    assert "given as a gold answer" in str(told)
    with pytest.raises(VotesError, match="there is no item 'z'"):
        fit().explain("z")


def test_workers_are_tabled_with_agreement_and_interval() -> None:
    table = fit(share()).workers_table().to_pydict()
    assert table["worker"] == ["ann", "bob", "silent"]
    assert table["n_votes"] == [2, 4, 0]
    # labels: a yes (3 against 2), b no (2 + 2 against 3), c yes
    assert table["agreement"] == [0.5, 0.75, 0.0]
    assert table["accuracy_low"] == [0.7, 0.5, 0.1]


def test_draws_become_arviz_data() -> None:
    pytest.importorskip("arviz")
    data = draws().to_arviz()
    assert data.posterior["diagonal"].shape == (2, 5, 3, 2)
    assert_array_equal(data.sample_stats["lp"], draws().log_density)
