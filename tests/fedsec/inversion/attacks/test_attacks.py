"""Attacks of the literature: what all keep to, and what sets each apart."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from fedsec.core.record import Knowledge
from fedsec.errors import SettingsError
from fedsec.inversion.attack import Watch
from fedsec.inversion.attacks import (
    AGIC,
    ATTACKS,
    DLG,
    IDLG,
    SME,
    Attack,
    GradInversion,
    InvertingGradients,
    Simulation,
)
from fedsec.inversion.attacks.knowing import labels_of, local_batches
from fedsec.inversion.case import Case
from fedsec.inversion.optimisers import Adam
from fedsec.inversion.victim import classifier
from tests.fedsec.inversion.cases import (
    digits,
    generator,
    of_gradient,
    of_local_steps,
    smooth_net,
)

ONE, TWO = digits([3]), digits([3, 5])
STEPS = ((0,), (1,))
SHORT = 6


def dense_net() -> nn.Module:
    """Whose first layer is dense, for the analytic attack."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).double()


def case_for(name: str) -> Case:
    """One image for those that take one; local steps for those that need them."""
    if name == "analytic":
        return of_gradient(dense_net(), ONE)
    if name in ("agic", "simulation", "sme"):
        return of_local_steps(smooth_net(), TWO, 0.1, STEPS)
    return of_gradient(smooth_net(), ONE)


def short(name: str) -> Attack:
    attack: Attack = ATTACKS[name]() if name == "analytic" else ATTACKS[name](iterations=SHORT)
    return attack


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_answers_in_full_and_repeats_itself(name: str) -> None:
    case = case_for(name)
    sent = {key: value.clone() for key, value in case.observed[0].update.tensors.items()}
    found, again = (short(name)(case, generator=generator(3)) for _ in range(2))
    assert found.x.shape == (case.n, 1, 8, 8)
    assert float(found.x.min()) >= 0 and float(found.x.max()) <= 1
    assert torch.equal(found.x, again.x)
    if name != "analytic":  # which has no use for them
        assert found.labels is not None and len(found.labels) == case.n
    assert found.knowledge == case.knowledge
    assert found.stopped == "done"
    assert torch.equal(found.candidates[found.best], found.x)
    for key, value in case.observed[0].update.tensors.items():
        assert torch.equal(value, sent[key])


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_can_be_ended(name: str) -> None:
    watch = Watch(stop=lambda: True)
    found = short(name)(case_for(name), generator=generator(), watch=watch)
    assert found.x.isfinite().all()
    assert found.stopped == ("done" if name == "analytic" else "interrupted")


@pytest.mark.parametrize("attack", [DLG(iterations=120), IDLG(iterations=120)])
def test_dlg_finds_an_image(attack: DLG) -> None:
    case = of_gradient(smooth_net(), ONE)
    found = attack(case, generator=generator())
    assert float((found.x - ONE.x).abs().max()) < 1e-3


def test_idlg_reads_the_label_and_takes_one_image() -> None:
    unknown = of_gradient(smooth_net(), ONE, known=False)
    found = IDLG(iterations=SHORT)(unknown, generator=generator())
    assert found.labels is not None and found.labels.tolist() == ONE.y.tolist()
    assert found.knowledge == Knowledge()
    with pytest.raises(SettingsError, match="idlg rebuilds one image, not 2"):
        IDLG()(of_gradient(smooth_net(), TWO), generator=generator())


def test_inverting_gradients_finds_a_batch() -> None:
    case = of_gradient(smooth_net(), TWO)
    attack = InvertingGradients(iterations=400, tv=0.0)
    found = attack(case, generator=generator())
    first = attack(case, generator=generator(), watch=Watch(stop=lambda: True))
    errors = [float((x - TWO.x).square().mean()) for x in (found.x, first.x)]
    assert errors[0] < 1e-3 < errors[1]


def test_one_local_step_makes_agic_the_simulation_and_the_cosine_attack() -> None:
    case = of_local_steps(smooth_net(), TWO, 0.1, [(0, 1)])
    same = {"iterations": 30, "tv": 1e-3}
    found = [
        attack(case, generator=generator(1))
        for attack in (AGIC(**same, weights=None), Simulation(**same), InvertingGradients(**same))
    ]
    for other in found[1:]:
        torch.testing.assert_close(other.x, found[0].x, rtol=0, atol=1e-6)
        assert abs(other.loss - found[0].loss) < 1e-6


def test_layer_weights_and_rounds_are_used() -> None:
    case = of_local_steps(smooth_net(), TWO, 0.1, STEPS, n_rounds=2)
    losses = {
        attack(case, generator=generator(1)).loss
        for attack in (
            AGIC(iterations=1), AGIC(iterations=1, weights=None), AGIC(iterations=1, rounds=1),
        )
    }  # fmt: skip
    assert len(losses) == 3


def test_the_simulation_is_exact_where_agic_is_not() -> None:
    case = of_local_steps(smooth_net(), TWO, 2.0, STEPS)

    def true_start(
        shape: tuple[int, ...], generator: torch.Generator, device: torch.device
    ) -> torch.Tensor:
        return TWO.x

    known = Simulation(iterations=1, tv=0.0, start=true_start)(case, generator=generator())
    approximate = AGIC(iterations=1, tv=0.0, start=true_start)(case, generator=generator())
    assert known.loss < 1e-12 < 1e-6 < approximate.loss


def test_a_simulation_needs_the_recipe_and_guesses_the_order() -> None:
    case = of_local_steps(smooth_net(), TWO, 0.1, STEPS)
    no_rate, no_steps = {"lr": None}, {"steps": None, "order": None}
    for lacking, says in ((no_rate, "learning rate"), (no_steps, "steps")):
        with pytest.raises(SettingsError, match=says):
            Simulation()(
                replace(case, knowledge=replace(case.knowledge, **lacking)),  # type: ignore[arg-type]
                generator=generator(),
            )
    assert local_batches(case) == STEPS
    blind = replace(case, knowledge=Knowledge(steps=5, lr=0.1, batch=1))
    assert local_batches(blind) == ((0,), (1,), (0,), (1,), (0,))
    wide = replace(case, n=5, knowledge=Knowledge(steps=2, lr=0.1))
    assert local_batches(wide) == ((0, 1, 2), (3, 4))
    wrong = replace(case, knowledge=Knowledge(order=((0, 7),)))
    with pytest.raises(SettingsError, match="give images from 0 to 1"):
        local_batches(wrong)


def test_labels_of_local_steps_are_recovered() -> None:
    case = of_local_steps(smooth_net(), TWO, 0.1, STEPS)
    for known in (Knowledge(), Knowledge(lr=0.1, steps=2)):
        found = labels_of(replace(case, knowledge=known))
        assert sorted(found.tolist()) == sorted(TWO.y.tolist())


def test_sme_learns_where_on_the_way() -> None:
    case = of_local_steps(smooth_net(), TWO, 2.0, STEPS)
    found = SME(iterations=60, tv=0.0)(case, generator=generator())
    assert found.history[-1, 0] < found.history[0, 0]
    with pytest.raises(SettingsError, match="for changes of parameters"):
        SME()(of_gradient(smooth_net(), TWO), generator=generator())
    with pytest.raises(SettingsError, match="alpha = 2.0"):
        SME(alpha=2.0)


def test_gradinversion_uses_the_running_statistics() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Sigmoid(), nn.Flatten(), nn.Linear(144, 10)
        ).double()
        net(digits(range(20, 60)).x)
    case = of_gradient(net, TWO)
    losses = [
        GradInversion(iterations=1, restarts=2, statistics=weight)(case, generator=generator()).loss
        for weight in (0.0, 0.1)
    ]
    assert losses[1] > losses[0]
    assert classifier(net).buffers


def test_an_optimiser_of_ones_own_can_be_given() -> None:
    case = of_gradient(smooth_net(), ONE)
    found = DLG(iterations=SHORT, optimiser=Adam(lr=0.05))(case, generator=generator())
    assert found.iterations == SHORT
