"""A federation learns, repeats itself bit by bit, and names who spoils it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from fedsec.core.functional import call, gradient, state_of
from fedsec.core.record import Update
from fedsec.data.images import Images
from fedsec.errors import DataError, SettingsError, UpdateError
from fedsec.federated.aggregate import apply_updates, by_samples, uniform
from fedsec.federated.contribution import Exact
from fedsec.federated.engines import Trained, one_by_one, side_by_side
from fedsec.federated.local import FullGradient, LocalTraining
from fedsec.federated.privacy import Clip, TopK
from fedsec.federated.privacy.clip import total_norm
from fedsec.federated.rounds import View
from fedsec.federated.selectors import FedEmd, PowerOfChoice, RandomSelector, ShapleyWeighted
from fedsec.federated.simulate import Federation, Progress, begin, play, simulate
from fedsec.federated.task import Task

MakeTask = Callable[..., Task]
LOCAL = LocalTraining(batch=8, lr=0.1)


def played(
    task: Task, federation: Federation, n_rounds: int, start: Progress | None = None
) -> Progress:
    """The progress after some rounds."""
    start = start or begin(task, federation, state_of(task.net))
    return list(simulate(task, federation, start, n_rounds))[-1]


def same(one: Progress, two: Progress, atol: float = 0.0) -> None:
    """Same choices, and parameters within `atol`."""
    for mine, other in zip(one.rounds, two.rounds, strict=True):
        np.testing.assert_array_equal(mine.chosen, other.chosen)
    assert_close(one.state.parameters, two.state.parameters, rtol=0, atol=atol)


def test_a_federation_learns(make_task: MakeTask) -> None:
    progress = played(make_task("mlp"), Federation(per_round=4, local=LOCAL), 25)
    assert progress.rounds[0].accuracy < 0.6 < 0.85 < progress.rounds[-1].accuracy
    recall = progress.rounds[-1].recall
    assert recall is not None and recall.shape == (10,)


def test_one_local_step_of_everybody_is_central_sgd(make_task: MakeTask) -> None:
    task = make_task("cnn", 10)
    whole = max(map(len, task.parts))
    federation = Federation(per_round=10, local=LocalTraining(batch=whole, lr=0.2))
    state = state_of(task.net)
    for _ in range(5):
        held = task.train.subset(np.concatenate(task.parts))
        parameters = {name: v.requires_grad_() for name, v in state.parameters.items()}
        loss = cross_entropy(call(task.net, state, held.x), held.y)
        slope = gradient(loss, parameters)
        state = state.with_parameters(
            {name: (v - 0.2 * slope[name]).detach() for name, v in parameters.items()}
        )
    found = played(task, federation, 5)
    assert_close(found.state.parameters, state.parameters, rtol=0, atol=1e-6)
    by_gradients = Federation(per_round=10, local=FullGradient(lr=0.2))
    same(found, played(task, by_gradients, 5), atol=1e-6)


@pytest.mark.parametrize("selector", [RandomSelector(), FedEmd(), PowerOfChoice()])
def test_any_parallelism_gives_the_same_run(make_task: MakeTask, selector: object) -> None:
    task = make_task("mlp", 20, (1,))
    federation = Federation(per_round=4, local=LOCAL, selector=selector, seed=3)
    one, two = (
        played(task, replace(federation, engine=engine), 6) for engine in (one_by_one, side_by_side)
    )
    same(one, two, atol=1e-6)


def test_the_same_seed_is_the_same_run_and_another_is_not(make_task: MakeTask) -> None:
    task, federation = make_task("cnn"), Federation(per_round=4, local=LOCAL, seed=1)
    one = played(task, federation, 4)
    same(one, played(task, federation, 4))
    other = played(task, replace(federation, seed=2), 4)
    assert any((a.chosen != b.chosen).any() for a, b in zip(one.rounds, other.rounds, strict=True))


def test_a_run_that_goes_on_is_a_run_that_never_stopped(make_task: MakeTask) -> None:
    task = make_task("mlp", 20, (1,))
    federation = Federation(
        per_round=4, local=LOCAL, selector=ShapleyWeighted(), contribution=Exact()
    )
    half = played(task, federation, 3)
    same(played(task, federation, 6, half), played(task, federation, 6))


def test_prox_zero_is_fedavg_and_a_strong_one_stays_near(make_task: MakeTask) -> None:
    task = make_task("mlp")

    def travelled(federation: Federation) -> float:
        seen: list[Update] = []
        progress = begin(task, federation, state_of(task.net))
        play(task, federation, progress, observe=lambda _, updates: seen.extend(updates))
        return float(sum(total_norm(one.tensors) for one in seen))

    plain = Federation(per_round=4, local=replace(LOCAL, epochs=5))
    held = replace(plain, local=replace(plain.local, prox=10.0))
    assert travelled(held) < 0.5 * travelled(plain)
    same(
        played(task, replace(plain, local=replace(plain.local, prox=0.0)), 2),
        played(task, plain, 2),
    )


def test_contributions_are_those_of_the_chosen(make_task: MakeTask) -> None:
    task = make_task("linear", 20, (1,))
    federation = Federation(per_round=4, local=LOCAL, contribution=Exact(), weighting=uniform)
    (this,) = played(task, federation, 1).rounds
    assert this.contribution is not None and this.contribution.shape == (4,)
    before = call(task.net, state_of(task.net), task.test.x)
    after = call(task.net, played(task, federation, 1).state, task.test.x)
    gained = (cross_entropy(before, task.test.y) - cross_entropy(after, task.test.y)).item()
    assert this.contribution.sum() == pytest.approx(gained, abs=1e-4)


def test_defences_are_applied_to_what_is_sent(make_task: MakeTask) -> None:
    task, seen = make_task("mlp"), []
    federation = Federation(per_round=4, local=LOCAL, defences=(TopK(share=0.1), Clip(norm=0.5)))
    progress = begin(task, federation, state_of(task.net))
    play(task, federation, progress, observe=lambda _, updates: seen.extend(updates))
    for one in seen:
        assert total_norm(one.tensors) <= 0.5
        n_kept = sum(int((value != 0).sum()) for value in one.tensors.values())
        assert n_kept <= -(-sum(v.numel() for v in one.tensors.values()) // 10)


def test_probes_are_of_the_global_model_and_are_kept(make_task: MakeTask) -> None:
    task = make_task("mlp")
    federation = Federation(per_round=3, local=LOCAL, selector=PowerOfChoice(n_candidates=6))
    (this,) = played(task, federation, 1).rounds
    assert len(this.probed) == 6
    for client, probe in this.probed.items():
        mine = task.train.subset(task.parts[client])
        logits = call(task.net, state_of(task.net), mine.x)
        assert probe.loss == pytest.approx(cross_entropy(logits, mine.y).item(), rel=1e-5)
        assert probe.accuracy == pytest.approx((logits.argmax(1) == mine.y).float().mean().item())


def test_a_bad_update_is_named_and_refused(make_task: MakeTask) -> None:
    shared = make_task("mlp")
    task = replace(shared, train=Images(shared.train.x.clone(), shared.train.y))
    task.train.x[int(task.parts[2][0])] = float("nan")
    federation = Federation(per_round=12, local=LOCAL)
    with pytest.raises(UpdateError, match="client 2, round 1"):
        played(task, federation, 1)
    going_on = played(task, replace(federation, skip_bad_updates=True), 2)
    assert [one.refused for one in going_on.rounds] == [(2,), (2,)]
    assert all(torch.isfinite(v).all() for v in going_on.state.parameters.values())


def test_what_is_not_finite_is_found_also_where_signs_differ(make_task: MakeTask) -> None:
    def spoiling(*asked: Any) -> list[Trained]:
        trained = side_by_side(*asked)
        for one, value in zip(trained[:2], (torch.inf, -torch.inf), strict=True):
            next(iter(one.update.tensors.values())).view(-1)[0] = value
        return trained

    federation = Federation(per_round=5, local=LOCAL, engine=spoiling, skip_bad_updates=True)
    seen: list[Sequence[Update]] = []
    task = make_task("mlp")
    start = begin(task, federation, state_of(task.net))
    after = play(task, federation, start, observe=lambda _, updates: seen.append(updates))
    chosen = after.rounds[0].chosen.tolist()
    assert after.rounds[0].refused == tuple(chosen[:2])
    assert [one.client for one in seen[0]] == chosen[2:]
    expected = apply_updates(start.state, seen[0], by_samples)
    for name, value in after.state.parameters.items():
        assert torch.equal(value, expected.parameters[name])


def test_evaluations_are_as_often_as_asked_and_at_the_end(make_task: MakeTask) -> None:
    federation = Federation(per_round=2, local=LOCAL, evaluate_every=3)
    rounds = played(make_task(), federation, 5).rounds
    assert [np.isfinite(one.accuracy) for one in rounds] == [False, False, True, False, True]
    assert set(rounds[-1].phases) == {"select", "train", "aggregate", "contribute", "evaluate"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"per_round": 13}, "13 clients a round of 12"),
        ({"per_round": 0}, "0 clients a round"),
        ({"per_round": 2, "evaluate_every": 0}, "evaluate_every = 0"),
        ({"per_round": 2, "selector": ShapleyWeighted()}, "say how to measure it"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    make_task: MakeTask, settings: dict[str, object], said: str
) -> None:
    task = make_task()
    with pytest.raises(SettingsError, match=said):
        begin(task, Federation(**settings), state_of(task.net))


def test_a_choice_that_is_none_is_refused(make_task: MakeTask) -> None:
    def twice(view: View, rng: np.random.Generator) -> np.ndarray:
        return np.zeros(view.per_round, dtype=np.int64)

    with pytest.raises(SettingsError, match=r"round 1: the selector gave \[0, 0\]"):
        played(make_task(), Federation(per_round=2, local=LOCAL, selector=twice), 1)


def test_clients_hold_something_and_nothing_twice(make_task: MakeTask) -> None:
    task = make_task()
    for parts, said in [
        ((np.arange(3), np.arange(0)), "client 1 holds no samples"),
        ((np.arange(3), np.arange(2, 5)), "held twice"),
        ((np.array([5000]),), "client 0 holds sample 5000"),
        ((), "no client"),
    ]:
        with pytest.raises(DataError, match=said):
            replace(task, parts=parts)
    with pytest.raises(DataError, match="label 9 is not one of 0 to 4"):
        replace(task, n_classes=5)
