"""An audit as plain data: what the JSON file holds, and what the page is made of.

The page shows nothing but this, and pictures; so page and file cannot disagree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch

from fedsec import __version__
from fedsec.core.record import Knowledge
from fedsec.federated.history import described
from fedsec.inversion.audit.curves import Curve, Leak, Point, curves_know
from fedsec.inversion.audit.findings import Finding
from fedsec.inversion.audit.run import Audit
from fedsec.inversion.audit.threats import EVERY_THREAT, IN_WORDS
from fedsec.inversion.audit.verdict import GUESSES, RULES
from fedsec.inversion.audit.words import ATTACK_WORDS, DIFFUSION_WORDS, LIMITS
from fedsec.inversion.denoiser import DiffusionVictim

FORMAT = "fedsec audit 1"


@dataclass(frozen=True, kw_only=True)
class About:
    """What only the caller can say.

    model   the network's name, as a reader knows it
    client  where the update comes from
    rerun   the command, or code, that makes this audit again
    """

    model: str
    client: str
    rerun: str = ""


def to_record(audit: Audit, about: About) -> dict[str, Any]:
    """The audit as data fit for JSON: no NaN, no infinities, no arrays."""
    subject, data = audit.subject, audit.data
    curves_known = EVERY_THREAT[curves_know(subject.victim)].knows
    words = DIFFUSION_WORDS if isinstance(subject.victim, DiffusionVictim) else ATTACK_WORDS
    return plain({
        "format": FORMAT,
        "fedsec": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "finished": not audit.left_out,
        "left_out": audit.left_out,
        "cut_short": audit.cut_short,
        "seconds": audit.seconds,
        "model": {
            "name": about.model,
            "parameters": sum(value.numel() for value in subject.victim.parameters.values()),
        },
        "data": {
            "name": data.name, "images": len(data.train), "shape": subject.shape,
            "classes": data.classes,
        },
        "client": {
            "from": about.client,
            "sent": "one gradient" if subject.kind == "gradient" else "a change of parameters",
            "images": subject.n,
            "rounds": [seen.update.round for seen in subject.observed],
            "truth": subject.truth is not None,
            "facts": known(subject.facts),
        },
        "seed": audit.seed,
        "scope": asdict(audit.scope),
        "guesses": {
            name: {"title": GUESSES[name], **scores.summary()}
            for name, scores in audit.guesses.items()
        },
        "threats": [
            {"name": one.threat, "title": EVERY_THREAT[one.threat].title,
             "says": EVERY_THREAT[one.threat].says, "knows": EVERY_THREAT[one.threat].knows,
             "verdict": asdict(one)}
            for one in audit.verdicts
        ],
        "findings": [of_finding(one) for one in by_strength(audit.findings)],
        "curves": [of_curve(one) for one in audit.curves],
        "curves_by": {
            "attacks": audit.curve_by, "iterations": audit.scope.curve_iterations,
            "knows": curves_known, "clients": audit.scope.clients,
            "recipe": str(audit.recipe), "settings": described(audit.recipe),
            "knows_in_words": " and ".join(IN_WORDS.get(one, one) for one in curves_known),
            "cost_rounds": audit.scope.cost_rounds, "cost_seeds": audit.scope.cost_seeds,
        },
        "attacks": {one.attack: words[one.attack] for one in audit.findings},
        "remarks": audit.remarks,
        "rules": RULES,
        "limits": LIMITS,
        "rerun": about.rerun,
    })  # fmt: skip


def by_strength(findings: Sequence[Finding]) -> list[Finding]:
    """Threat model by threat model, in each the strongest attack first."""
    place = {threat: at for at, threat in enumerate(EVERY_THREAT)}
    return sorted(findings, key=lambda one: (place[one.threat], *(-x for x in one.strength)))


def of_finding(one: Finding) -> dict[str, Any]:
    """An attack under a threat model."""
    found, scores = one.found, one.scores
    record: dict[str, Any] = {
        "threat": one.threat, "attack": one.attack,
        "settings": one.settings, "knowledge": known(one.knowledge),
        "knowledge_in_words": str(one.knowledge), "why_not": one.why_not,
    }  # fmt: skip
    if found is not None:
        record |= {
            "loss": found.loss, "iterations": found.iterations, "evaluations": found.evaluations,
            "seconds": found.seconds, "stopped": found.stopped,
            "labels": None if found.labels is None else found.labels.tolist(),
            "nearest": one.nearest, "t": found.t,
        }  # fmt: skip
    if scores is not None and one.exposed is not None:
        record |= {
            "measures": {**scores.summary(), "share_exposed": float(one.exposed.mean())},
            "psnr": scores.psnr, "reidentified": scores.reidentified, "exposed": one.exposed,
            "match_of": scores.match_of,
        }  # fmt: skip
    return record


def of_curve(one: Curve) -> dict[str, Any]:
    """A curve, or why there is none."""
    return {
        "name": one.name, "title": one.title, "axis": one.axis, "says": one.says,
        "why_not": one.why_not, "plain": None if one.plain is None else of_point(one.plain),
        "points": [of_point(point) for point in one.points],
    }  # fmt: skip


def of_point(one: Point) -> dict[str, Any]:
    """One place on a curve; `knowing` is the stronger of both attackers."""
    return {
        "at": one.at, "guess": one.guess, "leak": of_leak(one.leak),
        "adapts": one.adaptive is not None, "knowing": of_leak(one.knowing),
        "accuracy": None if one.accuracy is None else float(one.accuracy.mean()),
        "accuracies": one.accuracy,
    }  # fmt: skip


def of_leak(one: Leak | None) -> dict[str, Any] | None:
    """The best of the attacks, measure by measure; quartiles of the one with the best median."""
    if one is None:
        return None
    best = one.best
    low, median, high = np.nanquantile(best.psnr, (0.25, 0.5, 0.75))
    return {
        "attack": best.attack, "psnr_median": median, "psnr_quartiles": (low, high),
        "share_reidentified": one.reidentified, "share_exposed": one.exposed,
        "images": len(best.psnr),
        "attacks": [
            {"attack": each.attack, "psnr": each.psnr, "reidentified": each.reidentified,
             "exposed": each.exposed}
            for each in one.each
        ],
    }  # fmt: skip


def known(knowledge: Knowledge) -> dict[str, Any]:
    """What is known, by name; what is not is None."""
    return {field.name: getattr(knowledge, field.name) for field in fields(knowledge)}


def plain(value: Any) -> Any:
    """Fit for JSON: arrays as lists, and None for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
