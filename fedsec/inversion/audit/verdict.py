"""From scores to plain words, by rules that the report states.

An image is exposed where its reconstruction is nearer to it than to any other training image, and
its PSNR is 3 dB above the best guess without an update (`findings.exposed`). A verdict is about the
strongest attack that the threat model allows:

    exposed      half of the images or more
    partly       at least one; or more images are re-identified than chance would have
    not shown    neither, by these attacks with these settings: that is no proof of safety
    unknown      the true images are not known, or no attack could be run
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from scipy.stats import binom

from fedsec.inversion.audit.findings import MARGIN, Finding
from fedsec.inversion.audit.threats import EVERY_THREAT
from fedsec.inversion.scores import Scores

ONCE_IN = 1000  # how rarely chance may do as well, for re-identification to count
EXPOSED, PARTLY, NOT_SHOWN, UNKNOWN = "exposed", "partly", "not shown", "unknown"

RULES = (
    "An image counts as exposed where the true image is nearer to its reconstruction than any other"
    f" training image is, and the PSNR is {MARGIN:g} dB above that of the best guess without an"
    " update: the mean image, random images, or the mean of its class.",
    "“Exposed” is a verdict where half of the images or more are exposed; “partly” where at least"
    " one is, or where so many are re-identified that chance would have it once in"
    f" {ONCE_IN:,} times; “not shown” where neither is so.",
    "A verdict goes by the strongest attack that the threat model allows: of an attacker who knows"
    " more, also by the attacks of those who know less.",
)


@dataclass(frozen=True)
class Verdict:
    """What an attacker of a threat model gets.

    attack   the strongest one, and the threat model that it stands under; None where there is none
    exposed  images that are exposed, of `n`
    """

    threat: str
    level: str
    says: str
    attack: str | None = None
    under: str | None = None
    exposed: int | None = None
    n: int | None = None


def verdict(
    threat: str, findings: Sequence[Finding], guesses: Mapping[str, Scores], unfinished: bool
) -> Verdict:
    """The verdict of a threat model, given the findings of all."""
    allowed = [
        one
        for one in findings
        if one.found is not None and EVERY_THREAT[threat].includes(EVERY_THREAT[one.threat])
    ]
    if not allowed:
        said = "No attack was run." if unfinished else "No attack could be used: see why below."
        return Verdict(threat, UNKNOWN, said)
    best = max(allowed, key=lambda one: one.strength)
    if best.scores is None or best.exposed is None:
        return Verdict(
            threat, UNKNOWN,
            "The true images are not known, so nothing is scored: look at the pictures, and give"
            " the client's images (--truth) for a verdict.",
        )  # fmt: skip
    n_hit, n = int(best.exposed.sum()), len(best.exposed)
    level = (
        EXPOSED if 2 * n_hit >= n else PARTLY if n_hit or beyond_chance(best.scores) else NOT_SHOWN
    )
    return Verdict(threat, level, _in_words(best, guesses), best.attack, best.threat, n_hit, n)


def beyond_chance(scores: Scores) -> bool:
    """Whether chance, 1 in the population for each image, would re-identify as many too rarely."""
    if scores.reidentified is None or not scores.n_population:
        return False
    n_hit, n = int(scores.reidentified.sum()), len(scores.reidentified)
    return n_hit > 0 and float(binom.sf(n_hit - 1, n, 1 / scores.n_population)) < 1 / ONCE_IN


def _in_words(best: Finding, guesses: Mapping[str, Scores]) -> str:
    assert best.scores is not None and best.exposed is not None
    name, guess = best_guess(guesses)
    median = float(np.nanmedian(best.scores.psnr))
    scored = f"median PSNR {median:.1f} dB, where {name} has {guess:.1f}"
    if best.exposed.any():
        return f"{_of(best.exposed).capitalize()} can be rebuilt by {best.attack} ({scored})."
    if best.scores.reidentified is not None and beyond_chance(best.scores):
        return (
            f"No image is rebuilt well, but {_of(best.scores.reidentified)} can be told from all"
            f" others of the data set by what {best.attack} makes of the update ({scored})."
        )
    return (
        f"No image was rebuilt by {best.attack}, the strongest attack here ({scored}). Another"
        " attack, or more iterations, may do better."
    )


def _of(hit: Bool[np.ndarray, " truth"]) -> str:
    n_hit, n = int(hit.sum()), len(hit)
    if n == 1:
        return "the one image"
    return f"all {n} images" if n_hit == n else f"{n_hit} of {n} images"


def best_guess(guesses: Mapping[str, Scores]) -> tuple[str, float]:
    """The guess without an update that has the highest median PSNR, in words, and that PSNR."""
    medians = {name: float(np.nanmedian(one.psnr)) for name, one in guesses.items()}
    name = max(medians, key=lambda one: medians[one])
    return GUESSES[name], medians[name]


GUESSES = {
    "mean_image": "the mean image",
    "random_images": "a random image",
    "class_mean_images": "the mean of the class",
}
"""Controls in words."""
