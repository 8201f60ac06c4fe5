"""GIDM+: private steps are found, private noise is moved with the images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fedsec.core.record import Knowledge
from fedsec.errors import SettingsError
from fedsec.inversion.attacks.gidm_plus import (
    TIME_RULES,
    GIDMPlus,
    read_off,
    relaxed,
    released_noise_window,
    released_time_window,
    searched,
)
from fedsec.inversion.case import Case
from fedsec.metrics.images import psnr
from tests.fedsec.inversion.cases import SHAPE, digits, generator
from tests.fedsec.inversion.denoisers import client_of, small_model, small_victim

SINGLE = small_victim(dtype=torch.float32)
QUICK = GIDMPlus(iterations=8, restarts=2, polish=0.25, probe=4)


def private(*t: int, noise: bool = False) -> Case:
    subject = client_of(t, victim=SINGLE)
    return subject.case(Knowledge(noise=noise or None))


@pytest.mark.parametrize("t", [(4,), (2, 7), (1, 5, 9, 14)])
def test_steps_are_read_off(t: tuple[int, ...]) -> None:
    found = QUICK(private(*t), generator=generator())
    assert found.t == t and found.x.shape == (len(t), *SHAPE)
    assert set(found.phases) == {"pixels", "polished"} and found.iterations == 8
    assert found.learnt["eps"].shape == (2, len(t), *SHAPE)


def test_with_a_prior_there_are_latents_first() -> None:
    subject = client_of([4], victim=SINGLE, prior=small_model(seed=4))
    found = replace(QUICK, iterations=6, polish=0.0)(
        subject.case(Knowledge()), generator=generator()
    )
    assert set(found.phases) == {"latent", "pixels"} and found.iterations == 6


def test_what_is_known_is_taken() -> None:
    subject = client_of([4], victim=SINGLE)
    wrong = subject.case(Knowledge(t=(9,)))
    assert QUICK(wrong, generator=generator()).t == (9,)
    found = QUICK(subject.case(subject.facts), generator=generator())
    assert found.t == (4,) and "eps" not in found.learnt


def test_a_search_finds_the_step() -> None:
    """Oracle: with the noise known, the least distance over all steps is at the true one."""
    attack = GIDMPlus(probe=30, restarts=1)
    assert searched(attack, private(11, noise=True), generator(), None, None) == (11,)
    with pytest.raises(SettingsError, match="for one image, not 2"):
        searched(attack, private(1, 2), generator(), None, None)


def test_a_relaxed_step_is_rounded_and_stays_inside() -> None:
    attack = GIDMPlus(probe=5, restarts=2, lr_time=50.0)
    (t,) = relaxed(attack, private(5, noise=True), generator(), None, None)
    assert 0 <= t <= 15


def test_a_relaxed_step_moves_towards_the_true_one() -> None:
    attack = GIDMPlus(probe=60, restarts=3, lr_time=0.1)
    (t,) = relaxed(attack, private(5, noise=True), generator(1), None, None)
    assert abs(t - 5) <= 1


def test_repeated_steps_are_told_apart_by_attacks() -> None:
    """Of two ways to give three images two steps, the right one fits better."""
    attack = GIDMPlus(probe=50, restarts=1)
    case = private(3, 3, 12, noise=True)
    found = read_off(attack, case, generator(), None, None)
    assert found in ((3, 3, 12), (3, 12, 12)) and found == (3, 3, 12)


@pytest.mark.slow
def test_noise_and_image_come_back_together() -> None:
    """Private step and noise at an early step: joint noise, restarts, and L-BFGS at the end."""
    case = private(1)
    found = GIDMPlus(iterations=200, restarts=4, polish=0.99)(case, generator=generator(2))
    truth = digits([0], torch.float32).x
    assert found.t == (1,) and float(psnr(found.x, truth)) > 60
    assert found.loss < 1e-8


def test_noise_that_rests_leaves_the_image_hidden() -> None:
    """In the released windows noise moves in 20 of 200 iterations, and not before 1,000."""
    moving = [at for at in range(2000) if released_noise_window(at)]
    assert moving == [*range(1001, 1010), *range(1100, 1110)]
    assert [at for at in range(2000) if released_time_window(at)] == [*range(201, 210)]
    attack = GIDMPlus(
        iterations=50, restarts=1, polish=0.0, noise_moves=released_noise_window
    )  # fmt: skip
    found = attack(private(1), generator=generator())
    assert float(psnr(found.x, digits([0], torch.float32).x)) < 18


def test_settings_out_of_range_are_refused() -> None:
    assert list(TIME_RULES) == ["read-off", "searched", "relaxed"]
    for changes, said in (
        ({"restarts": 0}, "restarts = 0"), ({"polish": 1.0}, "polish = 1.0"),
        ({"iterations": 2}, "iterations = 2"), ({"latent": 0.0}, "latent = 0.0"),
        ({"probe": 0}, "probe = 0"),
    ):  # fmt: skip
        with pytest.raises(SettingsError, match=said):
            GIDMPlus(**changes)
