"""The audit: all attacks that fit, then the curves, then what follows from both.

    found = audit(subject, data, recipe=Recipe(images=4), scope=QUICK)
    write_audit(found, Path("report"))

Every attack is tried under the threat model that it belongs to; one that cannot be used says why.
Curves are measured on clients that are made from the data set with the same network, parameters and
recipe, so they need no truth about the client itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from fedsec.core.record import Knowledge
from fedsec.data.images import ImageData
from fedsec.errors import FedsecError, SettingsError
from fedsec.inversion.attack import Watch
from fedsec.inversion.attacks import Attack
from fedsec.inversion.attacks.gidm_plus import times_of
from fedsec.inversion.audit.client import Recipe
from fedsec.inversion.audit.clock import Clock, Follow, Job
from fedsec.inversion.audit.cost import Cost
from fedsec.inversion.audit.curves import Curve, curves_know
from fedsec.inversion.audit.findings import (
    Finding,
    Ground,
    attack_of,
    begun,
    find,
    ground_of,
    settings_of,
)
from fedsec.inversion.audit.scope import DIFFUSION, Scope
from fedsec.inversion.audit.subject import Subject
from fedsec.inversion.audit.sweeps import Sweeps
from fedsec.inversion.audit.threats import EVERY_THREAT, threats_on
from fedsec.inversion.audit.verdict import Verdict, verdict
from fedsec.inversion.denoiser import DiffusionVictim
from fedsec.inversion.layers import refuse_unfit, remarks
from fedsec.inversion.scores import Scores


@dataclass(frozen=True, eq=False)
class Audit:
    """What an audit came to; `record.to_json` and `page.render` show it.

    recipe      of the clients that curves are measured on
    guesses     scores without an update; empty without the truth
    curve_by    attacks that curves are measured by
    remarks     what the network's layers mean
    left_out    what there was no time for; empty where the audit is finished
    cut_short   attacks that ended by time, before their iterations were done
    """

    subject: Subject
    data: ImageData
    recipe: Recipe
    scope: Scope
    seed: int
    ground: Ground
    findings: tuple[Finding, ...]
    verdicts: tuple[Verdict, ...]
    curves: tuple[Curve, ...]
    curve_by: tuple[str, ...]
    remarks: tuple[str, ...]
    left_out: tuple[str, ...]
    seconds: float

    @property
    def guesses(self) -> Mapping[str, Scores]:
        """Scores of guesses that use no update."""
        return self.ground.guesses

    @property
    def cut_short(self) -> tuple[str, ...]:
        """Attacks that did not get all their iterations."""
        return tuple(
            f"{one.attack} ({EVERY_THREAT[one.threat].title})"
            for one in self.findings
            if one.found is not None and one.found.stopped in ("time", "interrupted")
        )


def audit(
    subject: Subject,
    data: ImageData,
    *,
    recipe: Recipe,
    scope: Scope | None = None,
    cost: Cost | None = None,
    seed: int = 0,
    follow: Follow | None = None,
) -> Audit:
    """Attack a client in all ways that its threat models allow, and vary what might protect it.

    recipe  how clients train that curves are measured on
    cost    a federation that the accuracy with each defence is measured in; None for no cost

    Raises SettingsError where the network cannot be attacked, images do not fit it, or a threat
    model is of another kind of network.
    """
    if scope is None:
        scope = DIFFUSION if isinstance(subject.victim, DiffusionVictim) else Scope()
    refuse_other_threats(subject, scope)
    refuse_unfit(subject.victim, subject.shape, subject.n_classes)
    ground = ground_of(subject, data.train, seed)
    jobs = attack_jobs(subject, ground, scope, seed)
    sweeps = Sweeps(subject.victim, data, recipe, scope, cost, seed, subject.prior)
    clock = Clock(Follow() if follow is None else follow, len(jobs) + sweeps.n_jobs)
    findings = tuple(clock.play(jobs))
    chosen = curve_attacks(findings, subject)
    curves = sweeps.measured(clock, {name: _for_curves(name, scope) for name in chosen})
    unfinished = bool(clock.left_out)
    return Audit(
        subject=subject, data=data, recipe=recipe, scope=scope, seed=seed, ground=ground,
        findings=findings, curves=curves, curve_by=chosen, seconds=clock.seconds,
        verdicts=tuple(
            verdict(name, findings, ground.guesses, unfinished) for name in scope.threats
        ),
        remarks=(*remarks(subject.victim.net), *time_remarks(subject)),
        left_out=tuple(clock.left_out),
    )  # fmt: skip


def refuse_other_threats(subject: Subject, scope: Scope) -> None:
    """Raises SettingsError for a threat model that is not of this kind of network."""
    fit = threats_on(subject.victim)
    for name in scope.threats:
        if name not in fit:
            raise SettingsError(
                f"threat model {name!r} is not one of this kind of network: there are"
                f" {', '.join(fit)}"
            )


def time_remarks(subject: Subject) -> Iterator[str]:
    """What the gradient of a diffusion model says of its time steps, without any attack."""
    if not isinstance(subject.victim, DiffusionVictim):
        return
    try:
        found = times_of(subject.case(Knowledge()))
    except FedsecError as error:
        yield f"The client's time steps cannot be read off its gradient: {error}."
        return
    true = subject.facts.t
    if true is None:
        right = ""
    elif set(found.t) == set(true):
        right = ", which is right"
    else:
        right = f", where they were {', '.join(map(str, sorted(true)))}"
    yield (
        "The gradient of the first layer that sees the time shows the client's time steps, whatever"
        f" its images and noise: {found}{right}."
    )


def attack_jobs(subject: Subject, ground: Ground, scope: Scope, seed: int) -> list[Job[Finding]]:
    """One for each attack under each threat model that it belongs to."""

    def job(threat: str, name: str) -> Job[Finding]:
        attack = attack_of(name, iterations=scope.iterations, restarts=scope.restarts)

        def run(watch: Watch) -> Finding:
            try:
                knowledge = EVERY_THREAT[threat].told(subject.facts, subject.kind)
            except SettingsError as error:
                blank = Finding(threat, name, settings_of(attack), Knowledge())
                return replace(blank, why_not=str(error))
            found = find(
                subject, attack, knowledge=knowledge, ground=ground, seed=seed, threat=threat,
                name=name, watch=watch,
            )  # fmt: skip
            return begun(found)

        return Job(f"{name}: {EVERY_THREAT[threat].title}", run)

    return [
        job(threat, name)
        for threat in scope.threats
        for name in EVERY_THREAT[threat].attacks
        if name in scope.attacks
    ]


EXACT = "analytic"  # takes no time where it can be used


def curve_attacks(findings: tuple[Finding, ...], subject: Subject) -> tuple[str, ...]:
    """The strongest attack that knows what those of curves do, and the analytic one where it fits.

    What is known is labels, or steps and noise of a diffusion model.
    """
    threat, usual = curves_know(subject.victim), "agic"
    if isinstance(subject.victim, DiffusionVictim):
        usual = "pixels" if subject.prior is None else "gidm"
    of = [one for one in findings if one.threat == threat and one.scores is not None]
    best = max(of, key=lambda one: one.strength, default=None)
    fits = any(one.attack == EXACT and one.found is not None for one in findings)
    return (usual if best is None else best.attack, *([EXACT] if fits else []))


def _for_curves(name: str, scope: Scope) -> Attack:
    return attack_of(name, iterations=scope.curve_iterations, restarts=1)
