"""The pipeline: budgets, both ends, and what it must refuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdlearn.errors import SettingsError, VotesError
from crowdlearn.experts import STRATEGIES
from crowdlearn.learning import ConstantClassifier, Expert, NoisyCrowdPipeline, classifier
from crowdlearn.online import stream
from crowdlearn.simulate import bila_bimodal
from crowdlearn.votes import Votes

WORLD = bila_bimodal(240, 6, 4, noise=0.5, modes=(1.0, 3.0), seed=1)
FEATURES = np.eye(4)[WORLD.truth] * 3 + np.random.default_rng(0).normal(size=(240, 4))
CLASSES = WORLD.votes.classes
TRUTH = {str(i): CLASSES[k] for i, k in enumerate(WORLD.truth)}


def chunk(rows: np.ndarray) -> Votes:
    keep = np.zeros(240, dtype=bool)
    keep[rows] = True
    return WORLD.votes.only_items(keep)


def run(method: NoisyCrowdPipeline, sizes: list[int], expert: Expert | None = None):  # type: ignore[no-untyped-def]
    state, first, steps = method.init(CLASSES), 0, []
    for size in sizes:
        rows = np.arange(first, first + size)
        state, step = method.step(state, chunk(rows), FEATURES[rows], expert)
        steps.append(step)
        first += size
    return state, steps


@given(st.floats(0, 1), st.lists(st.integers(1, 40), min_size=1, max_size=6),
       st.sampled_from(["random", "entropy", "cent"]))  # fmt: skip
def test_the_budget_is_never_exceeded_and_used(budget: float, sizes: list[int], name: str) -> None:
    method = NoisyCrowdPipeline(classifier=ConstantClassifier(), budget=budget, strategy=name)
    expert = Expert(TRUTH)
    state, first = method.init(CLASSES), 0
    for size in sizes:
        rows = np.arange(first, first + size)
        state, _ = method.step(state, chunk(rows), FEATURES[rows], expert)
        first += size
        assert expert.n_calls == len(state.asked) == int(budget * first + 1e-9)
    assert len(set(state.asked)) == len(state.asked)


def test_a_full_budget_leaves_no_error_and_none_is_plain_aggregation() -> None:
    state, _ = run(NoisyCrowdPipeline(budget=1.0), [80, 80, 80], Expert(TRUTH))
    assert (state.labels() == WORLD.truth).all()
    expert = Expert(TRUTH)
    state, steps = run(NoisyCrowdPipeline(budget=0.0), [80, 80, 80], expert)
    assert expert.n_calls == 0
    method = stream("bcc")
    alone = method.init(CLASSES)
    for n, step in enumerate(steps):
        alone, update = method.update(alone, chunk(np.arange(80 * n, 80 * n + 80)))
        assert (step.posterior == update.posterior).all()
        assert (state.target[n].argmax(axis=1) == update.labels).all()


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_cleans(name: str) -> None:
    plain, _ = run(NoisyCrowdPipeline(budget=0.0), [80, 80, 80])
    asked, steps = run(NoisyCrowdPipeline(budget=0.2, strategy=name), [80, 80, 80], Expert(TRUTH))
    assert (asked.labels() != WORLD.truth).mean() < (plain.labels() != WORLD.truth).mean()
    assert [len(step.asked) for step in steps] == [16, 16, 16]


@pytest.mark.parametrize("name", ["majority", "idbla"])
def test_other_streams_and_soft_labels(name: str) -> None:
    method = NoisyCrowdPipeline(aggregator=stream(name), soft=True, strategy="entropy")
    state, _ = run(method, [120, 120], Expert(TRUTH))
    right = state.classifier.predict_proba(FEATURES).argmax(axis=1) == WORLD.truth
    assert right.mean() > 0.8


def test_settling_all_together_keeps_answers_and_cuts_errors() -> None:
    method = NoisyCrowdPipeline(budget=0.1, strategy="entropy", classifier=classifier("logistic"))
    state, _ = run(method, [80, 80, 80], Expert(TRUTH))
    fit = method.settle(state)
    place = {name: row for row, name in enumerate(fit.aggregation.votes.items.to_pylist())}
    for name, label in state.answers.items():
        assert fit.aggregation.posterior[place[name]].argmax() == CLASSES.index(label)
    known = WORLD.truth[[int(name) for name in place]]
    settled = (fit.aggregation.labels != known).mean()
    assert settled < (state.labels() != WORLD.truth).mean()


def test_an_expert_errs_as_often_as_said() -> None:
    expert = Expert(TRUTH, classes=CLASSES, error=0.3, seed=0)
    answers = expert.ask(TRUTH)
    wrong = np.mean([answers[name] != TRUTH[name] for name in TRUTH])
    assert abs(wrong - 0.3) < 0.09 and expert.n_calls == 240


def test_what_does_not_fit_is_refused_and_nothing_is_lost() -> None:
    method = NoisyCrowdPipeline(strategy="entropy")
    state, _ = run(method, [40])
    for votes, features, match in (
        (chunk(np.arange(40, 50)), FEATURES[:3], "shape"),
        (chunk(np.arange(39, 50)), FEATURES[39:50], "item '39' came in an earlier chunk"),
    ):
        with pytest.raises(VotesError, match=match):
            method.step(state, votes, features)
    strange = Votes.from_codes(np.array([0]), np.array([0]), np.array([0]),
                               items=["new"], classes=["9", "8"])  # fmt: skip
    with pytest.raises(VotesError, match="class '9' was not named"):
        method.step(state, strange, FEATURES[:1])
    silent = Votes.from_codes(np.array([0]), np.array([0]), np.array([0]),
                              items=["new", "none"], classes=CLASSES)  # fmt: skip
    with pytest.raises(VotesError, match="item 'none' has no vote"):
        method.step(state, silent, FEATURES[:2])
    assert len(state.names) == 40 and state.stream.n_votes == chunk(np.arange(40)).n_votes
    with pytest.raises(VotesError, match="no answer for item 'x'"):
        Expert({}).ask(["x"])
    for settings in ({"budget": 1.5}, {"strategy": "luck"}):
        with pytest.raises(SettingsError):
            NoisyCrowdPipeline(**settings)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="error of an expert"):
        Expert({}, error=2.0)
    with pytest.raises(SettingsError, match="needs classes"):
        Expert({}, error=0.1)
