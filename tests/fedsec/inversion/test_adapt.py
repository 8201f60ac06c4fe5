"""Knowing the defence, the truth fits better than before, by maps that attacks can descend."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.func import grad, vmap

from fedsec.core.functional import Parameters, flatten, state_of
from fedsec.core.rng import torch_stream
from fedsec.errors import SettingsError
from fedsec.federated.privacy import (
    DEFENCES,
    Clip,
    CutFeatures,
    Defence,
    GaussianNoise,
    PrivateSGD,
    Quantise,
    RelativeNoise,
    Signs,
    Soteria,
    TopK,
    apply_defences,
    private_gradient,
)
from fedsec.inversion.adapt import ADAPTATIONS, LEAST, UNSENT, adaptation_to
from fedsec.inversion.attack import Search, invert
from fedsec.inversion.case import Case, Observed
from fedsec.inversion.distances import Distance, as_row, cosine, row_of, squared
from fedsec.inversion.optimisers import Adam
from fedsec.inversion.trials import at_start, functional_gradient
from tests.fedsec.inversion.cases import digits, generator, of_gradient, smooth_net

IMAGES = digits([3, 5])
NET = smooth_net()
CASE = of_gradient(NET, IMAGES)
TRUTH: Parameters = CASE.observed[0].update.tensors
LENGTH = float(flatten(TRUTH).norm())
CUT = CutFeatures("5.weight", torch.arange(96) >= 30)
CHAINS: dict[str, tuple[Defence, ...]] = {
    **{name: (make(),) for name, make in DEFENCES.items()},
    "clip": (Clip(norm=0.3 * LENGTH),),
    "gaussian-noise": (GaussianNoise(norm=0.3 * LENGTH, multiplier=0.01),),
    "loud": (GaussianNoise(norm=0.3 * LENGTH, multiplier=1.0),),
    "soteria": (CUT,),
    "clip and top-k": (Clip(norm=0.3 * LENGTH), TopK(share=0.1)),
    "top-k and clip": (TopK(share=0.1), Clip(norm=0.3 * LENGTH)),
    "all": (GaussianNoise(norm=0.3 * LENGTH, multiplier=1e-4), CUT, TopK(share=0.1), Quantise()),
}  # fmt: skip
EVERY = pytest.mark.parametrize("defences", CHAINS.values(), ids=CHAINS)


def defended(*defences: Defence) -> Case:
    seen = CASE.observed[0]
    update = apply_defences(seen.update, defences, torch_stream(0, "defence"))
    return replace(CASE, observed=(Observed(seen.parameters, update),))


def sent(*defences: Defence) -> Parameters:
    return defended(*defences).observed[0].update.tensors


def norm(tensors: Parameters) -> float:
    return float(flatten(tensors).norm())


@EVERY
@pytest.mark.parametrize("distance", [squared, cosine])
def test_the_truth_fits_no_worse_than_before(
    defences: tuple[Defence, ...], distance: Distance
) -> None:
    observed = sent(*defences)
    adapted = adaptation_to(*defences)(TRUTH, observed)
    against = distance(as_row(observed))
    assert float(against(row_of(adapted, observed))) <= (
        float(against(row_of(TRUTH, observed))) + 1e-12
    )


@pytest.mark.parametrize("name", ["clip", "soteria"])
def test_where_nothing_is_drawn_or_guessed_it_fits_exactly(name: str) -> None:
    observed = sent(*CHAINS[name])
    adapted = adaptation_to(*CHAINS[name])(TRUTH, observed)
    torch.testing.assert_close(adapted, observed, rtol=1e-9, atol=1e-12)


@EVERY
def test_side_by_side_is_one_by_one(defences: tuple[Defence, ...]) -> None:
    """Losses and slopes in the images, through the trial and the adaptation."""
    observed = sent(*defences)
    adapt, against = adaptation_to(*defences), squared(as_row(observed))
    parameters = CASE.victim.parameters

    def loss(x: torch.Tensor) -> torch.Tensor:
        found = at_start(
            CASE.victim.loss, parameters, {"x": x}, IMAGES.y, functional_gradient
        )  # fmt: skip
        return against(row_of(adapt(found, observed), observed))[0]

    x = torch.rand(3, *IMAGES.x.shape, generator=generator(), dtype=torch.float64)
    slopes = vmap(grad(loss))(x)
    for row, one in enumerate(x):
        torch.testing.assert_close(vmap(loss)(x)[row], loss(one))
        leaf = one.clone().requires_grad_()
        (expected,) = torch.autograd.grad(loss(leaf), leaf)
        torch.testing.assert_close(slopes[row], expected)
    assert (slopes.flatten(1).norm(dim=1) > 0).all()


@EVERY
def test_slopes_are_those_of_differences(defences: tuple[Defence, ...]) -> None:
    observed = sent(*defences)
    adapt = adaptation_to(*defences)
    start = {
        name: torch.randn(v.shape, generator=generator(1), dtype=v.dtype) + 0.1 * v
        for name, v in TRUTH.items()
    }
    side = {name: torch.randn(v.shape, generator=generator(2), dtype=v.dtype) for name, v in
            TRUTH.items()}  # fmt: skip
    weights = {name: torch.randn(v.shape, generator=generator(3), dtype=v.dtype) for name, v in
               TRUTH.items()}  # fmt: skip

    def along(step: torch.Tensor) -> torch.Tensor:
        moved = {name: value + step * side[name] for name, value in start.items()}
        return flatten(adapt(moved, observed)) @ flatten(weights)

    h = 1e-6
    zero = torch.zeros((), dtype=torch.float64)
    difference = (along(zero + h) - along(zero - h)) / (2 * h)
    torch.testing.assert_close(grad(along)(zero), difference, rtol=1e-5, atol=1e-5)


@EVERY
def test_a_trial_of_zeros_is_finite_and_so_is_its_slope(defences: tuple[Defence, ...]) -> None:
    observed = sent(*defences)
    adapt = adaptation_to(*defences)
    zeros = {name: torch.zeros_like(value) for name, value in TRUTH.items()}

    def loss(trial: Parameters) -> torch.Tensor:
        return squared(as_row(observed))(row_of(adapt(trial, observed), observed))[0]

    slopes = grad(loss)(zeros)
    assert bool(loss(zeros).isfinite()) and bool(flatten(slopes).isfinite().all())


def test_entries_that_came_as_zero_are_discounted() -> None:
    trial = {"a": torch.tensor([1.0, 2.0, -4.0])}
    observed = {"a": torch.tensor([0.0, 3.0, 0.0])}
    found = adaptation_to(TopK())(trial, observed)["a"]
    torch.testing.assert_close(found, torch.tensor([UNSENT, 2.0, -4.0 * UNSENT]))


def test_a_trial_that_is_short_enough_is_not_clipped() -> None:
    observed = sent(Clip(norm=0.3 * LENGTH))
    adapt = adaptation_to(Clip())
    short = {name: 0.1 * value for name, value in TRUTH.items()}
    torch.testing.assert_close(adapt(short, observed), short)
    long = {name: 10 * value for name, value in TRUTH.items()}
    assert norm(adapt(long, observed)) == pytest.approx(0.3 * LENGTH)


def test_the_factor_under_noise_is_the_best_one_within_bounds() -> None:
    observed = sent(*CHAINS["loud"])
    adapt = adaptation_to(GaussianNoise())
    best = float(flatten(TRUTH) @ flatten(observed)) / LENGTH**2
    assert LEAST < best < 1
    torch.testing.assert_close(
        flatten(adapt(TRUTH, observed)), best * flatten(TRUTH), rtol=1e-9, atol=0
    )
    away = {name: -value for name, value in TRUTH.items()}
    assert norm(adapt(away, observed)) == pytest.approx(LEAST * LENGTH)


def test_of_one_sample_a_private_gradient_without_noise_fits_exactly() -> None:
    case = of_gradient(NET, digits([3]))
    settings = PrivateSGD(norm=0.2 * norm(case.observed[0].update.tensors), noise_multiplier=0.0)
    private = private_gradient(
        NET, state_of(NET), digits([3]).x, digits([3]).y, generator(),
        settings=settings, round=1, client=0,
    ).tensors  # fmt: skip
    adapted = adaptation_to(settings)(case.observed[0].update.tensors, private)
    torch.testing.assert_close(adapted, private)


def test_soft_signs_have_the_signs_and_nearly_the_size() -> None:
    observed = sent(Signs())
    adapted = adaptation_to(Signs())(TRUTH, observed)
    for name, value in adapted.items():
        assert torch.equal(value.sign(), TRUTH[name].sign())
        assert (value.abs() <= observed[name].abs() * (1 + 1e-12)).all()
    against = cosine(as_row(observed))
    assert float(against(row_of(adapted, observed))) < 0.5 * float(against(row_of(TRUTH, observed)))


def test_the_order_of_cutting_and_clipping_does_not_matter() -> None:
    cut, clip = CUT, Clip(norm=0.3 * LENGTH)
    for chain in ((cut, clip), (clip, cut)):
        adapted = adaptation_to(*chain)(TRUTH, sent(*chain))
        torch.testing.assert_close(adapted, sent(*chain), rtol=1e-9, atol=1e-12)


def test_without_a_defence_or_with_noise_alone_nothing_changes() -> None:
    for chain in ((), (RelativeNoise(),), (Quantise(),)):
        found = adaptation_to(*chain)(TRUTH, sent(*chain))
        assert all(torch.equal(found[name], value) for name, value in TRUTH.items())


def test_every_defence_of_the_table_has_one() -> None:
    assert set(DEFENCES.values()) <= set(ADAPTATIONS)


@pytest.mark.parametrize("unknown", [Soteria(), lambda update, generator: update])
def test_unknown_defences_are_refused(unknown: Callable[..., object]) -> None:
    with pytest.raises(SettingsError, match="no adaptation to (Soteria|function) is known"):
        adaptation_to(Clip(), unknown)


@pytest.mark.parametrize("defence", [CUT, Signs()], ids=["soteria", "signs"])
def test_an_attack_that_adapts_sees_more(defence: Defence) -> None:
    """One digit, cosine distance, signed Adam: the error falls by half or more."""
    case = of_gradient(NET, digits([3]))
    update = apply_defences(case.observed[0].update, [defence], torch_stream(0, "defence"))
    case = replace(case, observed=(Observed(case.observed[0].parameters, update),))
    search = Search(optimiser=Adam(lr=0.05, signed=True), iterations=150)
    errors = [
        float((invert(case, search, labels=digits([3]).y, generator=generator(), adapt=adapt).x
               - digits([3]).x).square().mean())
        for adapt in (None, adaptation_to(defence))
    ]  # fmt: skip
    assert errors[1] < 0.5 * errors[0]
