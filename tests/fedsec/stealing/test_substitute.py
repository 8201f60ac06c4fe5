"""Losses against closed forms, and the training loop against a plain one."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fedsec.core.functional import state_of
from fedsec.stealing.substitute import (
    label_loss,
    logit_loss,
    loss_for,
    recovered_logits,
    rmsprop,
    set_rate,
    substitute_step,
    train_substitute,
)
from tests.fedsec.stealing.toys import generator, images, same_state, small_net

LOGITS = torch.randn(6, 4, generator=generator(5))


def test_logits_are_recovered_but_for_their_mean():
    found = recovered_logits(LOGITS.softmax(dim=1))
    torch.testing.assert_close(found, LOGITS - LOGITS.mean(dim=1, keepdim=True))
    assert recovered_logits(torch.eye(4)).isfinite().all()


def test_losses():
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    logs = LOGITS.log_softmax(dim=1)
    torch.testing.assert_close(label_loss(LOGITS, labels), -logs[torch.arange(6), labels].mean())
    p = torch.rand(6, 4, generator=generator()).softmax(dim=1)
    torch.testing.assert_close(label_loss(LOGITS, p), -(p * logs).sum(dim=1).mean())
    centred = p.log() - p.log().mean(dim=1, keepdim=True)
    torch.testing.assert_close(logit_loss(LOGITS, p), (LOGITS - centred).abs().mean())
    assert loss_for("labels") is label_loss and loss_for("probabilities") is logit_loss


def test_training_is_a_plain_loop_over_the_same_batches():
    net = small_net()
    plain = copy.deepcopy(net)
    x, y = images(100), torch.arange(100) % 4
    optimiser = rmsprop(net.parameters(), 1e-2)
    loss, steps = train_substitute(net, optimiser, x, y, batch=32, generator=generator(9), epochs=3)
    order, losses = generator(9), []
    usual = torch.optim.RMSprop(plain.parameters(), lr=1e-2, foreach=False)
    for _ in range(3):
        for rows in torch.randperm(100, generator=order).tensor_split(4):
            usual.zero_grad()
            value = cross_entropy(plain(x[rows]), y[rows])
            value.backward()
            usual.step()
            losses.append(value.item())
    assert steps == 12
    assert float(loss) == pytest.approx(sum(losses) / 12, rel=1e-5)
    for found, expected in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_steps_end_an_epoch_early():
    net = small_net()
    given = dict(batch=10, generator=generator(), epochs=4)
    x, y = images(50), torch.zeros(50).long()
    optimiser = rmsprop(net.parameters(), 1e-3)
    assert train_substitute(net, optimiser, x, y, steps=7, **given)[1] == 7
    assert train_substitute(net, optimiser, x, y, steps=0, **given)[1] == 0


def test_batches_are_nearly_equal_so_none_is_too_small_for_batch_normalisation():
    seen = []

    class Seeing(nn.Linear):
        def forward(self, x):
            seen.append(len(x))
            return super().forward(x.flatten(1))

    net = Seeing(64, 4)
    x, y = images(33), torch.zeros(33).long()
    optimiser = rmsprop(net.parameters(), 1e-3)
    train_substitute(net, optimiser, x, y, batch=16, generator=generator())
    assert seen == [11, 11, 11]


def test_one_image_is_not_trained_on():
    net = small_net()
    before = state_of(net)
    optimiser = rmsprop(net.parameters(), 1e-3)
    loss, steps = train_substitute(
        net, optimiser, images(1), torch.tensor([0]), batch=16, generator=generator()
    )
    assert steps == 0 and loss != loss and same_state(state_of(net), before)


def test_a_step_gives_the_loss_before_it_and_the_rate_is_that_of_now():
    net = small_net().train()
    x, y = images(8), torch.arange(8) % 4
    expected = cross_entropy(copy.deepcopy(net)(x), y)
    optimiser = rmsprop(net.parameters(), 1e-2)
    set_rate(optimiser, 0.0)
    before = [parameter.clone() for parameter in net.parameters()]
    torch.testing.assert_close(substitute_step(net, optimiser, x, y), expected.detach())
    assert all(map(torch.equal, before, net.parameters()))
