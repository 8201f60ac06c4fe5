"""An audit of a client that trains a diffusion model: both threat models, and defences."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.func import grad

from fedsec.core.functional import flatten
from fedsec.core.record import Knowledge
from fedsec.errors import SettingsError
from fedsec.federated.local import FullGradient, LocalTraining
from fedsec.federated.privacy import PrivateSGD, RelativeNoise, Soteria, TopK
from fedsec.inversion.attacks import DIFFUSION_ATTACKS
from fedsec.inversion.audit import (
    DIFFUSION,
    DIFFUSION_THREATS,
    About,
    Audit,
    Recipe,
    Scope,
    audit,
    make_client,
    make_diffusion_client,
    render,
    to_record,
)
from fedsec.inversion.audit.ladders import protected
from fedsec.inversion.audit.threats import EVERY_THREAT, THREATS, threats_on
from fedsec.inversion.audit.words import DIFFUSION_WORDS
from fedsec.inversion.denoiser import victim_of
from tests.fedsec.inversion.audit.audits import DIGITS, client
from tests.fedsec.inversion.audit.test_page import Page
from tests.fedsec.inversion.cases import generator
from tests.fedsec.inversion.denoisers import client_of, small_model, small_victim

RECIPE = Recipe(images=2, local=FullGradient())
TINY: Scope = replace(
    DIFFUSION, iterations=6, restarts=1, clients=1, curve_iterations=3, batches=(1,),
    ladders=("top-k",), rungs=1,
)  # fmt: skip
VICTIM = victim_of(small_model())


@pytest.fixture(scope="module")
def full() -> Audit:
    subject = make_diffusion_client(VICTIM, DIGITS, RECIPE, 2, t=(3, 9), prior=small_model(seed=1))
    return audit(subject, DIGITS, recipe=RECIPE, scope=TINY)


def test_every_attack_is_run_under_its_threat_model(full: Audit) -> None:
    ran = [(one.threat, one.attack) for one in full.findings]
    assert ran == [(name, attack) for name, one in DIFFUSION_THREATS.items()
                   for attack in one.attacks]  # fmt: skip
    for one in full.findings:
        assert one.why_not is None and one.scores is not None
        assert one.knowledge.t == ((3, 9) if one.threat == "known-noise" else None)
    (plus,) = (one for one in full.findings if one.attack == "gidm+")
    assert plus.found is not None and plus.found.t == (3, 9)
    assert [one.threat for one in full.verdicts] == list(DIFFUSION_THREATS)


def test_the_report_says_what_the_time_layer_shows(full: Audit) -> None:
    record = to_record(full, About(model="a U-Net", client="a test"))
    said = "".join(Page(render(full, record)).text)
    assert "shows the client's time steps" in said and "t = 3, 9, which is right" in said
    assert "The attacker knows the time steps and the noise and runs" in said
    assert record["curves_by"]["knows"] == ("t", "noise") or record["curves_by"]["knows"] == [
        "t", "noise"
    ]  # fmt: skip
    assert {one["t"] and tuple(one["t"]) for one in record["findings"]
            if one["attack"] == "gidm+"} == {(3, 9)}  # fmt: skip
    assert [one["name"] for one in record["curves"]] == ["batches", "top-k"]


def test_a_readable_client_is_exposed_where_all_is_known() -> None:
    """S1 at an early step: the image comes back, and the verdict says so."""
    subject = make_diffusion_client(VICTIM, DIGITS, replace(RECIPE, images=1), 4, t=(1,))
    scope = replace(
        TINY, threats=("known-noise",), attacks=("dlg",), clients=0, iterations=120,
    )  # fmt: skip
    found = audit(subject, DIGITS, recipe=RECIPE, scope=scope)
    (verdict,) = found.verdicts
    assert verdict.level == "exposed" and verdict.attack == "dlg"


def test_threat_models_keep_to_their_kind() -> None:
    with pytest.raises(SettingsError, match="'labels' is not one of this kind of network"):
        audit(client_of([1], victim=VICTIM), DIGITS, recipe=RECIPE,
              scope=replace(TINY, threats=("labels",)))  # fmt: skip
    with pytest.raises(SettingsError, match="'private-noise' is not one of this kind"):
        audit(client(), DIGITS, recipe=RECIPE, scope=TINY)
    assert threats_on(VICTIM) is DIFFUSION_THREATS and EVERY_THREAT == THREATS | DIFFUSION_THREATS
    assert set(DIFFUSION_WORDS) == set(DIFFUSION_ATTACKS)
    assert {name for one in DIFFUSION_THREATS.values() for name in one.attacks} == set(
        DIFFUSION_ATTACKS
    )


def test_what_nobody_told_the_auditor_is_asked_for() -> None:
    with pytest.raises(SettingsError, match="the client's t or noise: give t and noise"):
        DIFFUSION_THREATS["known-noise"].told(Knowledge(), "gradient")
    with pytest.raises(SettingsError, match=r"FullGradient\(\)"):
        make_client(VICTIM, DIGITS, Recipe(images=1, local=LocalTraining()), 0)


def test_a_client_is_made_by_the_seed_with_private_steps() -> None:
    one, two, other = (make_client(VICTIM, DIGITS, RECIPE, seed) for seed in (1, 1, 2))
    assert one.facts == two.facts and one.facts != other.facts
    assert one.noise is not None and two.noise is not None
    assert torch.equal(one.noise, two.noise) and one.facts.noise
    sent, again = (flatten(who.observed[0].update.tensors) for who in (one, two))
    assert torch.equal(sent, again)
    assert one.case(one.facts).noise is not None and one.case(Knowledge()).noise is None


def test_defences_map_a_diffusion_gradient() -> None:
    subject = client_of([3, 9], victim=VICTIM)
    plain = flatten(subject.observed[0].update.tensors)
    cut, _ = protected(subject, TopK(share=0.05), generator())
    noisy, _ = protected(subject, RelativeNoise(scale=1.0), generator())
    left = flatten(cut.observed[0].update.tensors)
    assert float((left != 0).float().mean()) < 0.1 and bool((left[left != 0] == plain[
        left != 0]).all())  # fmt: skip
    away = flatten(noisy.observed[0].update.tensors) - plain
    assert float(away.square().mean() / plain.square().mean()) == pytest.approx(1, rel=0.05)
    with pytest.raises(SettingsError, match="a diffusion model has none"):
        protected(subject, Soteria(), generator())


def test_dp_sgd_clips_the_gradient_of_every_image() -> None:
    """Oracle: without noise, and with a norm that is never reached, it is the gradient itself; else
    the mean of gradients that are scaled one by one.
    """
    victim = small_victim()
    subject = client_of([3, 9], victim=victim)
    plain = subject.observed[0].update.tensors
    wide, _ = protected(subject, PrivateSGD(noise_multiplier=0.0, norm=1e9), generator())
    torch.testing.assert_close(flatten(wide.observed[0].update.tensors), flatten(plain))
    norm = 1e-3
    assert subject.truth is not None and subject.noise is not None
    expected = torch.zeros_like(flatten(plain))
    for k, t in enumerate((3, 9)):
        one = flatten(grad(victim.loss)(
            victim.parameters, subject.truth.x[k : k + 1],
            (torch.tensor([t]), subject.noise[k : k + 1]),
        ))  # fmt: skip
        expected += one * min(1, norm / float(one.norm())) / 2
    clipped, _ = protected(subject, PrivateSGD(noise_multiplier=0.0, norm=norm), generator())
    torch.testing.assert_close(flatten(clipped.observed[0].update.tensors), expected)
