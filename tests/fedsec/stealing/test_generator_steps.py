"""Losses of generators against closed forms, and coordinate descent against its law."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fedsec.core.functional import state_of
from fedsec.stealing.generator_steps import (
    first_chunk,
    generator_block,
    images_of,
    joint,
    mega_generator_loss,
    negative_entropy,
)
from fedsec.stealing.generators import initialised, make_generator
from fedsec.stealing.substitute import train_substitute
from tests.fedsec.stealing.toys import SHAPE, generator, same_state, small_net

LOGITS = torch.randn(7, 5, generator=generator(3), dtype=torch.float64) * 3


def test_the_confidence_loss_is_the_cross_entropy_with_the_copys_own_label():
    loss = mega_generator_loss(LOGITS)
    torch.testing.assert_close(loss, cross_entropy(LOGITS, LOGITS.argmax(dim=1)))
    torch.testing.assert_close(loss, -LOGITS.softmax(dim=1).amax(dim=1).log().mean())
    torch.testing.assert_close(mega_generator_loss(LOGITS, 0.3), 0.3 * loss)


def test_it_is_a_lower_bound_of_the_copys_loss_tight_where_copy_and_victim_agree():
    labels = torch.tensor([0, 1, 2, 3, 4, 0, 1])
    agreed = LOGITS.argmax(dim=1) == labels
    assert 0 < int(agreed.sum()) < 7
    assert float(mega_generator_loss(LOGITS)) < float(cross_entropy(LOGITS, labels))
    torch.testing.assert_close(
        mega_generator_loss(LOGITS[agreed]), cross_entropy(LOGITS[agreed], labels[agreed])
    )


def test_batch_entropy():
    mean = LOGITS.softmax(dim=1).mean(dim=0)
    torch.testing.assert_close(negative_entropy(LOGITS), (mean * mean.log()).sum())
    sure_and_even = 100 * torch.eye(5)
    assert float(negative_entropy(sure_and_even)) == pytest.approx(-math.log(5), rel=1e-5)


@pytest.mark.parametrize("loss", [mega_generator_loss, negative_entropy])
def test_slopes_are_those_of_finite_differences_and_finite_far_out(loss):
    assert torch.autograd.gradcheck(loss, LOGITS.clone().requires_grad_())
    far = (1e4 * LOGITS.float()).requires_grad_()
    value = loss(far)
    (slope,) = torch.autograd.grad(value, far)
    assert bool(value.isfinite()) and bool(slope.isfinite().all())


def alternation():
    """A smooth copy, a generator, frozen labels: all in double precision."""
    generator_net = make_generator(SHAPE, 16, seed=2).double()
    copy = initialised(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Tanh(), nn.Linear(12, 4)),
        generator(6),
    ).double()
    z = torch.randn(60, 16, generator=generator(7), dtype=torch.float64)
    labels = torch.randint(4, (60,), generator=generator(8))
    return generator_net, copy, z, labels


def test_the_joint_objective_never_rises_in_either_half_step():
    made, copy, z, labels = alternation()
    s_steps = torch.optim.SGD(copy.parameters(), lr=1e-2)
    g_steps = torch.optim.SGD(made.parameters(), lr=1e-3)
    rng, course = generator(), []
    x = images_of(made, z)
    for _ in range(50):
        course.append(float(joint(copy, x, labels).value))
        train_substitute(copy, s_steps, x, labels, batch=60, generator=rng)
        course.append(float(joint(copy, x, labels).value))
        generator_block(
            made, copy, g_steps, z, lambda logits, rows: cross_entropy(logits, labels[rows]),
            epochs=1, batch=60, rng=rng,
        )  # fmt: skip
        x = images_of(made, z)
    course.append(float(joint(copy, x, labels).value))
    falls = [before - after for before, after in zip(course, course[1:], strict=False)]
    assert min(falls) > 0
    assert min(falls[1::2]) > 0 and course[-1] < course[0] - 0.01


def test_the_confidence_rises_in_every_step_of_the_generator():
    made, copy, z, _ = alternation()
    g_steps = torch.optim.SGD(made.parameters(), lr=1e-2)
    before = state_of(copy)
    losses = [
        float(
            generator_block(
                made, copy, g_steps, z, lambda logits, rows: mega_generator_loss(logits),
                epochs=1, batch=60, rng=generator(),
            )
        )
        for _ in range(50)
    ]  # fmt: skip
    assert all(later < earlier for earlier, later in zip(losses, losses[1:], strict=False))
    assert same_state(state_of(copy), before)
    assert all(parameter.grad is None for parameter in copy.parameters())


def test_a_block_tells_which_codes_it_is_at_and_makes_no_step_in_no_epoch():
    made, copy, z, _ = alternation()
    g_steps = torch.optim.SGD(made.parameters(), lr=1e-2)
    seen = []

    def loss(logits, rows):
        seen.append(rows)
        return logits.mean()

    given = dict(batch=25, rng=generator())
    generator_block(made, copy, g_steps, z, loss, epochs=2, **given)
    assert [len(rows) for rows in seen] == [20] * 6
    for epoch in (seen[:3], seen[3:]):
        assert torch.cat(epoch).sort().values.tolist() == list(range(60))
    before = state_of(made)
    nothing = generator_block(made, copy, g_steps, z, loss, epochs=0, **given)
    assert nothing != nothing and same_state(state_of(made), before)


def test_images_of_the_first_chunk_can_be_made_alone():
    made = make_generator(SHAPE, 16, seed=2)
    z = torch.randn(2300, 16, generator=generator())
    first = first_chunk(z)
    assert len(first) == 767
    torch.testing.assert_close(images_of(made, z)[:767], images_of(made, first))


def test_the_copy_is_measured_in_evaluation_mode():
    net = small_net()
    x = torch.rand(30, *SHAPE, generator=generator())
    found = joint(net, x, torch.zeros(30).long())
    net.eval()
    logits = net(x).detach()
    torch.testing.assert_close(found.value, cross_entropy(logits, torch.zeros(30).long()))
    torch.testing.assert_close(found.confidence, logits.softmax(dim=1).amax(dim=1).mean())
