"""The loop: restarts side by side are restarts alone, the best is kept, and it can be ended."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fedsec.errors import SettingsError
from fedsec.inversion.attack import GIVEN_UP, Search, Watch, descend, invert
from fedsec.inversion.case import Case
from fedsec.inversion.distances import squared
from fedsec.inversion.optimisers import LBFGS, Adam
from fedsec.inversion.priors import total_variation
from fedsec.inversion.trials import simulated
from tests.fedsec.inversion.cases import (
    digits,
    generator,
    of_gradient,
    of_local_steps,
    smooth_net,
)

TWO = digits([3, 5])
CASE = of_gradient(smooth_net(), TWO)
SIGNED = Adam(signed=True)


class Given:
    """A start that hands out prepared images, one after another."""

    def __init__(self, *rows: Tensor) -> None:
        self._rows = iter(rows)

    def __call__(
        self, shape: tuple[int, ...], generator: torch.Generator, device: torch.device
    ) -> Tensor:
        return next(self._rows)


def rows(n: int) -> list[Tensor]:
    return list(torch.rand(n, *TWO.x.shape, generator=generator(1), dtype=torch.float64))


@pytest.mark.parametrize("optimiser", [SIGNED, Adam(lr=0.05), LBFGS()])
def test_restarts_at_once_are_restarts_one_by_one(optimiser: Adam | LBFGS) -> None:
    search = Search(
        distance=squared, priors=(total_variation(1e-3),), optimiser=optimiser, iterations=25
    )
    at_once = invert(
        CASE, replace(search, start=Given(*rows(3)), restarts=3), labels=TWO.y,
        generator=generator(),
    )  # fmt: skip
    for row, start in enumerate(rows(3)):
        alone = invert(
            CASE, replace(search, start=Given(start)), labels=TWO.y, generator=generator()
        )
        np.testing.assert_allclose(at_once.history[:, row], alone.history[:, 0], rtol=1e-6)
        torch.testing.assert_close(at_once.candidates[row], alone.x, rtol=1e-5, atol=1e-7)
    assert at_once.loss == pytest.approx(at_once.history.min())
    assert torch.equal(at_once.x, at_once.candidates[at_once.best])
    assert at_once.evaluations == 75


def test_images_are_found_to_the_floor_of_double_precision() -> None:
    one = digits([3])
    case = of_gradient(smooth_net(), one)
    search = Search(distance=squared, optimiser=LBFGS(), iterations=150, box=False)
    found = invert(case, search, labels=one.y, generator=generator())
    assert found.loss < 1e-12
    assert float((found.x - one.x).abs().max()) < 1e-4


def test_labels_are_learnt_where_they_are_not_given() -> None:
    one = digits([3])
    case = of_gradient(smooth_net(), one, known=False)
    search = Search(distance=squared, optimiser=LBFGS(), iterations=150, box=False, restarts=2)
    found = invert(case, search, labels=None, generator=generator())
    assert found.labels is not None and found.labels.tolist() == one.y.tolist()
    assert float((found.x - one.x).abs().max()) < 1e-3


def test_the_best_images_are_kept_not_the_last() -> None:
    jumping = Adam(lr=0.7, signed=True, milestones=())
    wild = Search(distance=squared, optimiser=jumping, iterations=15)
    found = invert(CASE, wild, labels=TWO.y, generator=generator())
    assert found.loss == found.history.min()
    assert found.history[-1, 0] > found.loss
    again = replace(wild, start=Given(found.x), iterations=1)
    assert invert(CASE, again, labels=TWO.y, generator=generator()).loss == pytest.approx(
        found.loss
    )


def nan_beyond(limit: float, first: int):  # type: ignore[no-untyped-def]
    """A prior that is NaN for images whose first pixel is above a limit."""

    def prior(x: Tensor) -> Tensor:
        bad = x.flatten()[first] > limit
        return torch.where(bad, torch.full_like(x.sum(), torch.nan), 0 * x.sum())

    return prior


@pytest.mark.parametrize("n_restarts", [1, 2])
def test_only_lost_iterations_in_a_row_end_an_attack(n_restarts: int) -> None:
    """Every second evaluation is not finite, far more of them than are given up after."""
    n, at = 4 * GIVEN_UP, iter(range(4 * GIVEN_UP))
    variables = {"x": torch.zeros(n_restarts, 1, 1, 1, 1)}

    def evaluate() -> tuple[Tensor, dict[str, Tensor]]:
        loss = torch.full((n_restarts,), float("nan") if next(at) % 2 else 1.0)
        return loss, {"x": torch.ones_like(variables["x"])}

    done = descend(Search(iterations=n), variables, evaluate, generator(), None)
    assert done.stopped == "done" and len(done.history) == n
    assert torch.equal(done.lowest, torch.ones(n_restarts))


def test_a_restart_that_diverges_goes_back_to_its_best() -> None:
    calm, lost = rows(2)
    lost[0, 0, 0, 0], calm[0, 0, 0, 0] = 0.9, 0.1
    search = Search(
        priors=(nan_beyond(0.5, 0),), optimiser=Adam(lr=1e-3), iterations=20, restarts=2,
        start=Given(calm, lost),
    )  # fmt: skip
    found = invert(CASE, search, labels=TWO.y, generator=generator())
    assert found.stopped == "done"
    assert found.best == 0
    assert np.isnan(found.history[:, 1]).all() and np.isfinite(found.history[:, 0]).all()
    torch.testing.assert_close(found.candidates[1], lost)


def test_an_attack_that_is_lost_ends() -> None:
    search = Search(priors=(nan_beyond(-1.0, 0),), iterations=100)
    found = invert(CASE, search, labels=TWO.y, generator=generator())
    assert found.stopped == "diverged"
    assert found.iterations == GIVEN_UP
    assert found.x.isfinite().all()


def test_an_attack_can_be_ended_and_followed() -> None:
    told: list[tuple[int, int, float]] = []
    asked = iter([False] * 12 + [True])
    watch = Watch(progress=lambda *said: told.append(said), stop=lambda: next(asked), every=5)
    found = invert(CASE, Search(iterations=50), labels=TWO.y, generator=generator(), watch=watch)
    assert found.stopped == "interrupted"
    assert found.iterations == 12
    assert [said[:2] for said in told] == [(5, 50), (10, 50)]
    assert told[1][2] == pytest.approx(found.history[:10].min())
    late = invert(
        CASE, Search(iterations=50), labels=TWO.y, generator=generator(), watch=Watch(seconds=0)
    )
    assert late.stopped == "time" and late.iterations == 0
    assert late.x.shape == TWO.x.shape


def test_equal_generators_give_equal_images() -> None:
    search = Search(iterations=10, restarts=2, langevin=0.01)
    first = invert(CASE, search, labels=TWO.y, generator=generator(4))
    second = invert(CASE, search, labels=TWO.y, generator=generator(4))
    other = invert(CASE, search, labels=TWO.y, generator=generator(5))
    assert torch.equal(first.candidates, second.candidates)
    assert not torch.equal(first.candidates, other.candidates)
    assert not torch.equal(first.candidates[0], first.candidates[1])


def test_rounds_are_matched_together() -> None:
    batches = ((0,), (1,))
    both: Case = of_local_steps(smooth_net(), TWO, 0.1, batches, n_rounds=2)
    trial = simulated(0.1, batches)
    search = Search(distance=squared, iterations=1, start=Given(TWO.x))
    found = invert(both, search, labels=TWO.y, generator=generator(), trials=[trial, trial])
    assert found.loss < 1e-20
    singles = [
        invert(
            replace(both, observed=(seen,)), replace(search, start=Given(rows(1)[0])),
            labels=TWO.y, generator=generator(), trials=[trial],
        ).loss
        for seen in both.observed
    ]  # fmt: skip
    together = invert(
        both, replace(search, start=Given(rows(1)[0])), labels=TWO.y, generator=generator(),
        trials=[trial, trial],
    )  # fmt: skip
    assert together.loss == pytest.approx(np.mean(singles))


def test_a_trial_is_needed_for_each_round() -> None:
    with pytest.raises(SettingsError, match="2 trials for 1 observed rounds"):
        invert(
            CASE, Search(), labels=TWO.y, generator=generator(),
            trials=[simulated(0.1, [(0,)])] * 2,
        )  # fmt: skip


@pytest.mark.parametrize("name", ["iterations", "restarts"])
def test_numbers_must_be_one_or_more(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} = 0"):
        Search(**{name: 0})
