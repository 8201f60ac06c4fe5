"""The pipeline: budgets, both ends, and what it must refuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdlearn.aggregators import aggregator
from crowdlearn.errors import SettingsError, VotesError
from crowdlearn.experts import STRATEGIES, Budget, DynamicBudget, strong_prior
from crowdlearn.learning import (
    ConstantClassifier,
    Expert,
    NoisyCrowdPipeline,
    PipelineState,
    classifier,
)
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
    state, steps = run(NoisyCrowdPipeline(budget=0.0, resettle=False), [80, 80, 80], expert)
    assert expert.n_calls == 0
    method = stream("bcc")
    alone = method.init(CLASSES)
    for n, step in enumerate(steps):
        alone, update = method.update(alone, chunk(np.arange(80 * n, 80 * n + 80)))
        assert (step.posterior == update.posterior).all()
        assert (state.labels()[80 * n : 80 * n + 80] == update.labels).all()


def test_whenever_the_votes_have_doubled_all_labels_are_those_of_all_votes() -> None:
    method = NoisyCrowdPipeline(budget=0.1)
    state, _ = run(method, [60, 60, 120], Expert(TRUTH))
    assert state.n_settled == state.stream.n_votes
    check_settled(state)
    state, _ = run(method, [60, 60, 60, 40, 20], Expert(TRUTH))
    assert state.n_settled < state.stream.n_votes
    check_settled(method.finish(state))


def check_settled(state: PipelineState) -> None:
    """The pool's labels are those of a batch fit of everything."""
    fit = aggregator("bcc").fit(WORLD.votes, gold=state.answers)
    place = {name: row for row, name in enumerate(WORLD.votes.items.to_pylist())}
    assert (state.labels() == fit.labels[[place[name] for name in state.names]]).all()


@given(st.floats(0, 60), st.floats(0.5, 3), st.floats(0, 5), st.integers(1, 9))
def test_a_purse_is_never_exceeded(total: float, item: float, batch: float, most: int) -> None:
    purse = Budget(total=total, item_cost=item, batch_cost=batch, most_a_batch=most)
    method = NoisyCrowdPipeline(classifier=ConstantClassifier(), budget=purse, resettle=False)
    state, steps = run(method, [20, 20, 20], Expert(TRUTH))
    spent = sum(item * len(s.asked) + batch * bool(s.asked) for s in steps)
    assert spent <= total * (1 + 1e-9) and spent == pytest.approx(state.budget.spent)
    assert max(len(step.asked) for step in steps) <= most


def test_a_dynamic_budget_follows_the_loss_and_never_exceeds_its_total() -> None:
    budget = DynamicBudget(total=15, base=8, least=1)
    state, steps = run(NoisyCrowdPipeline(budget=budget), [60, 60, 60, 60], Expert(TRUTH))
    asked = [len(step.asked) for step in steps]
    assert asked[0] == 8 and sum(asked) == state.budget.spent == 15
    assert state.loss is not None and state.budget.n_losses == 3


def test_near_copies_wait() -> None:
    """Every item twice in features: with a distance given no pair is asked about."""
    twice = np.repeat(np.random.default_rng(3).normal(size=(60, 4)), 2, axis=0)
    for near, pairs in ((None, True), (0.01, False)):
        method = NoisyCrowdPipeline(
            budget=0.4, strategy="random", alike_within=near, classifier=ConstantClassifier()
        )
        state = method.init(CLASSES)
        _, step = method.step(state, chunk(np.arange(120)), twice, Expert(TRUTH))
        couples = [int(name) // 2 for name in step.asked]
        assert len(couples) == 48 and (len(set(couples)) < 48) is pairs


def test_an_expert_who_errs_is_outvoted_where_all_others_are_sure() -> None:
    """As gold its mistakes stay; as a worker of known accuracy they are weighed."""
    expert = Expert(TRUTH, CLASSES, error=0.3, seed=2)
    wrong = {}
    for name in (None, "judge"):
        prior = {} if name is None else {"judge": strong_prior(0.7)}
        method = NoisyCrowdPipeline(
            aggregator=stream("bcc", experts=prior), budget=1.0, expert_worker=name,
            strategy="random", classifier=ConstantClassifier(),
        )  # fmt: skip
        state, _ = run(method, [120, 120], expert)
        wrong[name] = (state.labels() != WORLD.truth).mean()
    assert wrong["judge"] < 0.15 < wrong[None]
    assert "judge" in state.stream.workers
    settled = method.settle(state).aggregation
    assert set(settled.votes.workers.to_pylist()) >= {"judge"}


def test_only_what_the_expert_knows_is_asked() -> None:
    few = {name: TRUTH[name] for name in list(TRUTH)[:30]}
    state, _ = run(NoisyCrowdPipeline(budget=0.5), [80, 80], Expert(few))
    assert set(state.asked) == set(few)


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
    for settings in ({"budget": 1.5}, {"strategy": "luck"}, {"alike_within": 0.0}):
        with pytest.raises(SettingsError):
            NoisyCrowdPipeline(**settings)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="error of an expert"):
        Expert({}, error=2.0)
    with pytest.raises(SettingsError, match="needs classes"):
        Expert({}, error=0.1)
