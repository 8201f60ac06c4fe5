"""Clients that train a shared diffusion model: what they send is the gradient of what they drew."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from fedsec.core.functional import flatten, gradient, state_of
from fedsec.core.record import Knowledge, Update
from fedsec.core.rng import stream
from fedsec.data.images import ImageData
from fedsec.data.partitions import iid
from fedsec.diffusion.model import DiffusionModel, new_model
from fedsec.diffusion.objectives import diffusion_loss, to_model_space
from fedsec.errors import DataError, SettingsError
from fedsec.federated.contribution import Exact
from fedsec.federated.denoising import DenoisingLoss
from fedsec.federated.engines import one_by_one, side_by_side
from fedsec.federated.local import FullGradient, LocalTraining, Plan
from fedsec.federated.loss import CROSS_ENTROPY, TaskLoss
from fedsec.federated.privacy import TopK
from fedsec.federated.simulate import Federation, begin, simulate
from fedsec.federated.task import Task
from fedsec.inversion.attacks.gidm_plus import times_of
from fedsec.inversion.case import Case, Observed
from fedsec.inversion.denoiser import victim_of

SMALL = {"kind": "unet", "channels": 1, "width": 8, "mults": [1, 2], "groups": 4}


@pytest.fixture(scope="module")
def model() -> DiffusionModel:
    return new_model(SMALL, (1, 8, 8))


def task_of(data: ImageData, model: DiffusionModel, n: int = 2, private: bool = True) -> Task:
    """Ten clients with n images each."""
    parts = iid(data.train.y.numpy(), 10, stream(0, "partition")).parts
    return Task(
        model.net, data.train, tuple(part[:n] for part in parts), data.test, 10,
        loss=DenoisingLoss.of(model, private=private),
    )  # fmt: skip


def sent_in(task: Task, federation: Federation, n_rounds: int = 1) -> list[Update]:
    seen: list[Update] = []
    start = begin(task, federation, state_of(task.net))
    list(simulate(task, federation, start, n_rounds, observe=lambda _, sent: seen.extend(sent)))
    return seen


def test_a_gradient_is_that_of_what_was_drawn(digits: ImageData, model: DiffusionModel) -> None:
    """Oracle: the loss of training at the steps and the noise that the client's stream gives."""
    task = task_of(digits, model, n=3)
    (update,) = sent_in(task, Federation(per_round=1, local=FullGradient(), seed=4))
    assert update.kind == "gradient" and update.n == 3
    part = task.parts[update.client]
    plan = Plan(FullGradient(), part, 4, 1, update.client, 0)
    assert isinstance(task.loss, DenoisingLoss)
    t, eps = task.loss.noise_of(plan, (1, 8, 8))
    leaves = dict(model.net.named_parameters())
    loss = diffusion_loss(
        model.predict, model.schedule, model.objective, to_model_space(digits.train.subset(part).x),
        t, eps,
    )  # fmt: skip
    assert_close(update.tensors, gradient(loss, leaves), rtol=1e-4, atol=1e-7)


def test_the_server_reads_the_steps_of_what_it_sees(
    digits: ImageData, model: DiffusionModel
) -> None:
    task = task_of(digits, model, n=1)
    assert isinstance(task.loss, DenoisingLoss)
    for update in sent_in(task, Federation(per_round=5, local=FullGradient(), seed=1)):
        victim = victim_of(model)
        case = Case(
            victim=victim, observed=(Observed(victim.parameters, update),), shape=(1, 8, 8), n=1,
            n_classes=10, knowledge=Knowledge(),
        )  # fmt: skip
        plan = Plan(FullGradient(), task.parts[update.client], 1, 1, update.client, 0)
        assert times_of(case).t == tuple(task.loss.noise_of(plan, (1, 8, 8))[0].tolist())


def test_sent_and_private_noise_are_streams_of_their_own(
    digits: ImageData, model: DiffusionModel
) -> None:
    drawn = []
    for private in (True, False):
        loss = task_of(digits, model, private=private).loss
        assert isinstance(loss, DenoisingLoss)
        for number in (1, 2):
            plan = Plan(FullGradient(), stream(0, "x").permutation(4), 0, number, 3, 0)
            drawn.append(loss.noise_of(plan, (1, 8, 8))[1])
    for place, one in enumerate(drawn):
        assert all(not torch.equal(one, other) for other in drawn[:place])


def test_a_federation_learns_and_repeats_itself(digits: ImageData, model: DiffusionModel) -> None:
    task = task_of(digits, model, n=60)
    federation = Federation(
        per_round=3, local=LocalTraining(batch=20, lr=0.05, momentum=0.9), seed=2
    )
    start = begin(task, federation, state_of(task.net))
    one, two = (list(simulate(task, federation, start, 4))[-1] for _ in range(2))
    assert_close(one.state.parameters, two.state.parameters, rtol=0, atol=0)
    before, after = (
        task.loss.evaluate(task.net, state, task.test).loss for state in (start.state, one.state)
    )
    assert after < before
    last = one.rounds[-1]
    assert last.accuracy != last.accuracy and last.recall is None  # there is none


def test_defences_map_diffusion_gradients(digits: ImageData, model: DiffusionModel) -> None:
    task = task_of(digits, model)
    federation = Federation(per_round=1, local=FullGradient(), defences=(TopK(share=0.1),))
    (update,) = sent_in(task, federation)
    sent = flatten(update.tensors)
    assert 0.05 < float((sent != 0).float().mean()) < 0.15


def test_what_knows_cross_entropy_alone_is_refused(
    digits: ImageData, model: DiffusionModel
) -> None:
    task = task_of(digits, model)
    state = state_of(task.net)
    for federation, said in (
        (Federation(per_round=1, engine=side_by_side), "leave engine out"),
        (Federation(per_round=1, engine=one_by_one), "leave engine out"),
        (Federation(per_round=1, contribution=Exact()), "leave contribution out"),
    ):
        with pytest.raises(SettingsError, match=said):
            begin(task, federation, state)
    with pytest.raises(SettingsError, match="needs a generator"):
        task.loss.losses(task.net, state, task.test.x[:1], task.test.y[:1], None)
    with pytest.raises(DataError, match="no images"):
        task.loss.evaluate(task.net, state, task.test.subset(torch.empty(0, dtype=torch.int64)))


def test_losses_keep_to_the_protocol(digits: ImageData, model: DiffusionModel) -> None:
    loss = task_of(digits, model).loss
    assert isinstance(loss, TaskLoss) and isinstance(CROSS_ENTROPY, TaskLoss)
