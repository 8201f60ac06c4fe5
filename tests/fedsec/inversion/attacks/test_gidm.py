"""GIDM: both phases, what each needs, and that images come back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fedsec.core.record import Knowledge
from fedsec.data.images import load_images
from fedsec.diffusion.model import new_model
from fedsec.diffusion.train import TrainSettings, train
from fedsec.errors import SettingsError
from fedsec.inversion.attack import Watch
from fedsec.inversion.attacks import (
    ATTACKS,
    DIFFUSION_ATTACKS,
    DLG,
    GIDM,
    InvertingGradients,
    LatentSearch,
    PixelSearch,
    attacks_on,
)
from fedsec.inversion.case import Case
from fedsec.inversion.denoiser import victim_of
from fedsec.inversion.optimisers import LBFGS, Adam
from fedsec.inversion.starts import grey, mean_image
from fedsec.metrics.images import psnr
from tests.fedsec.inversion.cases import SHAPE, digits, generator, of_gradient, smooth_net
from tests.fedsec.inversion.denoisers import SMALL, client_of, small_model, small_victim

SINGLE = small_victim(dtype=torch.float32)
PRIOR = small_model(seed=4)


def case_of(*t: int, known: bool = True) -> Case:
    subject = client_of(t, victim=SINGLE, prior=PRIOR)
    return subject.case(subject.facts if known else Knowledge())


def short(name: str):  # type: ignore[no-untyped-def]
    more = {"restarts": 1, "polish": 0.4} if name == "gidm+" else {}
    return DIFFUSION_ATTACKS[name](iterations=6, **more)


@pytest.mark.parametrize("name", DIFFUSION_ATTACKS)
def test_every_attack_answers_in_full_and_repeats_itself(name: str) -> None:
    case = case_of(3, 8)
    found, again = (short(name)(case, generator=generator(3)) for _ in range(2))
    assert found.x.shape == (2, *SHAPE) and found.labels is None and found.stopped == "done"
    assert 0 <= float(found.x.min()) and float(found.x.max()) <= 1
    assert torch.equal(found.x, again.x)
    assert torch.equal(found.candidates[found.best], found.x)
    assert found.t == (3, 8) and found.knowledge == case.knowledge


@pytest.mark.parametrize("name", DIFFUSION_ATTACKS)
def test_every_attack_can_be_ended(name: str) -> None:
    found = short(name)(case_of(3), generator=generator(), watch=Watch(stop=lambda: True))
    assert found.x.isfinite().all() and found.stopped == "interrupted"


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_on_classifiers_say_that_they_are(name: str) -> None:
    if name not in DIFFUSION_ATTACKS:
        with pytest.raises(SettingsError, match="for classifiers|needs the client's learning"):
            ATTACKS[name]()(case_of(3), generator=generator())


@pytest.mark.parametrize("name", sorted(set(DIFFUSION_ATTACKS) - set(ATTACKS)))
def test_attacks_on_diffusion_models_say_that_they_are(name: str) -> None:
    case = of_gradient(smooth_net(), digits([1]))
    with pytest.raises(SettingsError, match="the victim is a classifier"):
        DIFFUSION_ATTACKS[name]()(case, generator=generator())
    assert attacks_on(case.victim) is ATTACKS and attacks_on(SINGLE) is DIFFUSION_ATTACKS


def test_what_is_not_known_is_asked_for() -> None:
    for attack in (GIDM(), LatentSearch(), PixelSearch()):
        with pytest.raises(SettingsError, match="time steps and noise: use gidm"):
            attack(case_of(3, known=False), generator=generator())
    for attack in (GIDM(), LatentSearch()):
        with pytest.raises(SettingsError, match="needs a trained diffusion model"):
            attack(replace(case_of(3), prior=None), generator=generator())
    with pytest.raises(SettingsError, match="latent = 1.0"):
        GIDM(latent=1.0)
    with pytest.raises(SettingsError, match="iterations = 1"):
        GIDM(iterations=1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"knowledge": Knowledge(t=(3, 4), noise=True)}, "2 time steps are known of 1 images"),
        ({"knowledge": Knowledge(t=(16,), noise=True)}, "give steps from 0 to 15"),
        ({"noise": None}, "said to be known, and not given"),
        ({"knowledge": Knowledge(t=(3,))}, "given, and said to be not"),
        ({"noise": torch.zeros(2, *SHAPE)}, "the noise has shape"),
        ({"prior": new_model(SMALL, (1, 16, 16))}, "the prior makes images of"),
    ],
)
def test_a_case_that_cannot_be_is_refused(changes: dict, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        replace(case_of(3), **changes)


def test_phases_are_kept_and_counted() -> None:
    told: list[tuple[int, int]] = []
    watch = Watch(progress=lambda at, of, loss: told.append((at, of)), every=2)
    found = GIDM(iterations=12, latent=1 / 3)(case_of(8), generator=generator(), watch=watch)
    assert set(found.phases) == {"latent", "pixels"} and found.iterations == 12
    assert told == [(at, 12) for at in range(2, 13, 2)] and found.evaluations == 12
    first = LatentSearch(iterations=4)(case_of(8), generator=generator())
    torch.testing.assert_close(found.phases["latent"], first.x)
    torch.testing.assert_close(found.history[:4], first.history)
    assert torch.equal(found.phases["pixels"], found.x)
    second = found.history[4:, 0]
    assert second[0] <= first.loss * (1 + 1e-3)  # it begins where the first phase ended


def test_pixels_of_an_early_step_come_back() -> None:
    """Oracle: with steps and noise known, little is in the way at t = 1."""
    case = case_of(1)
    found = PixelSearch(iterations=80, start=grey, optimiser=LBFGS())(case, generator=generator())
    assert float(psnr(found.x, digits([0], torch.float32).x)) > 60


def test_wrong_noise_is_in_the_way() -> None:
    """A random draw of what is private, kept, does not come near; it is what DLG-dm does."""
    case = case_of(1, known=False)
    found = DLG(iterations=60, start=grey)(case, generator=generator())
    assert float(psnr(found.x, digits([0], torch.float32).x)) < 18
    assert found.t is not None and len(found.t) == 1
    cosine = InvertingGradients(iterations=2)(case, generator=generator())
    assert cosine.t == found.t


@pytest.mark.slow
def test_the_chain_of_phases() -> None:
    """Noisy step, few iterations: pixels from noise < GIDM, and GIDM adds to its first phase.

    The control stands beside it: a start at the mean image does without a prior.
    """
    train_set = load_images("digits").train.x
    prior, _ = train(
        new_model(SMALL, SHAPE, seed=1), train_set, TrainSettings(steps=300, batch=32, lr=2e-3)
    )
    victim = victim_of(new_model(SMALL, SHAPE, seed=0))
    cases = []
    for k in range(2):
        subject = client_of([8], victim=victim, images=[k], prior=prior, seed=k)
        cases.append(subject.case(subject.facts))

    def mean_psnr(attack) -> float:  # type: ignore[no-untyped-def]
        found = attack.each(cases, generator=generator(1))
        x = torch.cat([one.x for one in found])
        return float(psnr(x, digits(range(2), torch.float32).x).mean())

    rates = {"lr_latent": 0.05, "lr_pixel": 0.02}
    both = mean_psnr(GIDM(iterations=100, latent=0.4, **rates))
    latent = mean_psnr(LatentSearch(iterations=40, optimiser=Adam(lr=0.05, milestones=())))
    slow = Adam(lr=0.02, milestones=())
    pixels = mean_psnr(PixelSearch(iterations=100, optimiser=slow))
    mean = mean_psnr(PixelSearch(iterations=100, optimiser=slow, start=mean_image(train_set)))
    assert latent < both and pixels + 10 < both
    assert mean > pixels + 10
