"""Cells of `benchmarks.gidm`: one attack on some clients of a diffusion model, side by side.

known      steps and noise known: every attack, at each step, on an untrained and a trained victim,
           pixels from noise, grey and the mean image of the attacker's training set
private    GIDM+ with steps read off and joint noise, beside the windows of the released code, one
           random draw that is kept (DLG-dm), and the same attack with all known
defended   noise on the gradient, and its largest entries alone
times      how often the time layer shows the steps; no attack is run
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.inversion.cells import Key, Row
from benchmarks.inversion.clients import images_of
from benchmarks.inversion.denoisers import (
    SIZES,
    TRAINED,
    UNTRAINED,
    clients,
    kept_images,
)
from fedsec.core.record import Knowledge
from fedsec.core.rng import stream, torch_stream
from fedsec.federated.privacy import RelativeNoise, TopK
from fedsec.inversion.adapt import adaptation_to
from fedsec.inversion.attacks import DLG, GIDM, GIDMPlus, InvertingGradients, PixelSearch
from fedsec.inversion.attacks.gidm import RELEASED
from fedsec.inversion.attacks.gidm_plus import released_noise_window, times_of
from fedsec.inversion.attacks.knowing import told_or_drawn
from fedsec.inversion.audit.ladders import protected
from fedsec.inversion.audit.subject import Subject
from fedsec.inversion.case import Reconstruction
from fedsec.inversion.denoiser import extra_of
from fedsec.inversion.each import invert_each
from fedsec.inversion.optimisers import Adam
from fedsec.inversion.scores import controls, score
from fedsec.inversion.starts import Start, grey, mean_image, noise

STARTS = ("noise", "grey", "mean")
DEFENCES: dict[str, Any] = {
    "noise, 1 x RMS": RelativeNoise(scale=1.0), "noise, 5 x RMS": RelativeNoise(scale=5.0),
    "top 1 %": TopK(share=0.01),
}  # fmt: skip
WINDOWS = 1300  # iterations: the released windows open at 1,000
RESTARTS, PRIOR_RESTARTS = 6, 2  # of GIDM+: latents cost more
EARLY, LATE = 1, 8  # steps of the private and the defended cells
BATCH = 4


def known_keys(given: Any) -> list[Key]:
    """The grid; GIDM is its own start, and holds phase 1."""
    size = SIZES[given.size]
    attacks = [("gidm", "latent")] + [("pixels", start) for start in STARTS]
    attacks += [("dlg-dm", "noise"), ("invg-dm", "noise")]
    return [
        {"victim": victim, "t": t, "attack": attack, "start": start, **_common(given)}
        for victim in (UNTRAINED, TRAINED)
        for t in size.t
        for attack, start in attacks
        if victim == UNTRAINED or t != size.t[-1]
    ]


def private_keys(given: Any) -> list[Key]:
    """At an early and a late step."""
    attacks = ("all known", "gidm+", "one random draw")
    return [
        {"victim": UNTRAINED, "t": t, "attack": attack, **_common(given)}
        for t, attack in (
            *((t, attack) for t in (EARLY, LATE) for attack in attacks),
            (EARLY, "released windows"),
            (LATE, "gidm+ with prior"),
        )
    ] + [{"victim": UNTRAINED, "t": "distinct", "attack": "gidm+", **_common(given)}]


def defended_keys(given: Any) -> list[Key]:
    """At the late step, half of the iterations."""
    common = _common(given)
    common["iterations"] = max(common["iterations"] // 2, 2)
    return [
        {"victim": UNTRAINED, "t": LATE, "defence": name, "attack": attack, "start": start,
         **common}
        for name in DEFENCES
        for attack, start in (("gidm", "latent"), ("pixels", "noise"), ("pixels", "mean"))
    ]  # fmt: skip


def times_keys(given: Any) -> list[Key]:
    """Every step at batch 1; different steps, and any steps, at batch 4."""
    return [
        {"victim": victim, "what": what, **_common(given)}
        for victim in (UNTRAINED, TRAINED)
        for what in ("batch 1", f"batch {BATCH}, different steps", f"batch {BATCH}, any steps")
    ]


def _common(given: Any) -> Key:
    return {
        "size": given.size, "images": given.images, "iterations": given.iterations,
        "prior_steps": given.prior_steps, "device": given.device,
    }  # fmt: skip


def known(key: Key) -> Row:
    """One attack on all clients."""
    return _attacked(key, _clients(key), None)


def defended(key: Key) -> Row:
    """The same after a defence, which the attacker knows where that helps."""
    defence = DEFENCES[key["defence"]]
    some = []
    for seed, subject in enumerate(_clients(key)):
        draw = torch_stream(seed, "defence", device=key["device"])
        some.append(protected(subject, defence, draw)[0])
    return _attacked(key, some, adaptation_to(defence) if isinstance(defence, TopK) else None)


def _attacked(key: Key, some: list[Subject], adapt: Any) -> Row:
    cases = [one.case(one.facts) for one in some]
    n, generator = key["iterations"], torch_stream(0, "attack", device=key["device"])
    start = start_of(key)
    if key["attack"] == "gidm":
        attack = GIDM(iterations=n, latent=SIZES[key["size"]].latent)
        found = attack.each(cases, generator=generator, adapt=adapt)
    elif key["attack"] == "pixels":
        found = PixelSearch(iterations=n, start=start, optimiser=RELEASED).each(
            cases, generator=generator, adapt=adapt
        )
    else:
        make: Any = {"dlg-dm": DLG, "invg-dm": InvertingGradients}[key["attack"]]
        search = make(iterations=n, start=start).search()
        given = [told_or_drawn(case, generator) for case in cases]
        found = invert_each(
            cases, search, extra=extra_of, given=given, generator=generator, adapt=adapt
        )
    return row_of(key, some, found)


def private(key: Key) -> Row:
    """Steps and noise as the attack has it; the victim's are private but for "all known"."""
    some, n = _clients(key), key["iterations"]
    generator = torch_stream(0, "private attack", device=key["device"])
    attack = key["attack"]
    if attack != "gidm+ with prior":
        some = [replace(one, prior=None) for one in some]
    cases = [one.case(one.facts if attack == "all known" else Knowledge()) for one in some]
    if attack == "all known":
        found = PixelSearch(iterations=n).each(cases, generator=generator)
    elif attack == "one random draw":
        given = [told_or_drawn(case, generator) for case in cases]
        search = DLG(iterations=n, optimiser=Adam(lr=0.05, cosine=True)).search()
        found = invert_each(cases, search, extra=extra_of, given=given, generator=generator)
    elif attack == "released windows":
        found = GIDMPlus(
            iterations=max(n, WINDOWS) if n > 100 else n, restarts=1, polish=0.0, start=noise,
            lr_pixel=0.01, lr_noise=0.01, noise_moves=released_noise_window,
        ).each(cases, generator=generator)  # fmt: skip
    else:
        with_prior = attack == "gidm+ with prior"
        found = GIDMPlus(
            iterations=n // 2, latent=0.8, polish=0.6 if with_prior else 0.95,
            restarts=PRIOR_RESTARTS if with_prior else RESTARTS,
        ).each(cases, generator=generator)  # fmt: skip
    return row_of(key, some, found)


def times(key: Key) -> Row:
    """Shares of clients, and of their different steps, whose steps are read off right."""
    size, what = SIZES[key["size"]], key["what"]
    n_steps = 16
    rng = stream(0, f"steps, {what}")
    if what == "batch 1":
        drawn = [[t] for t in range(n_steps)]
    else:
        drawn = [
            rng.choice(n_steps, BATCH, replace="any" in what).tolist() for _ in range(2 * n_steps)
        ]
    some = clients(key["size"], key["victim"], key["prior_steps"], drawn, key["device"], first=1000)
    right, steps, of = 0, 0, 0
    for subject, true in zip(some, drawn, strict=True):
        found = times_of(subject.case(Knowledge()))
        right += found.t == tuple(sorted(set(true)))
        steps += len(set(found.t) & set(true))
        of += len(set(true))
    return {"clients": len(drawn), "right": right / len(drawn), "steps": steps / of,
            "data": size.data}  # fmt: skip


def row_of(key: Key, some: list[Subject], found: list[Reconstruction]) -> Row:
    """Scores of each image, of each phase, and of guesses; images are kept for pictures."""
    population = images_of(SIZES[key["size"]].data).train
    row: Row = {"psnr": [], "ssim": [], "loss": [], "phases": {}, "guess": [], "t_right": []}
    pictures: dict[str, list[Tensor]] = {"true": [], "rebuilt": []}
    for seed, (subject, one) in enumerate(zip(some, found, strict=True)):
        assert subject.truth is not None
        truth = subject.truth.x.cpu()
        scored = score(one.x.cpu(), truth)
        row["psnr"] += scored.psnr.tolist()
        row["ssim"] += scored.ssim.tolist()
        row["loss"].append(one.loss)
        for name, x in one.phases.items():
            row["phases"].setdefault(name, []).extend(score(x.cpu(), truth).psnr.tolist())
            pictures.setdefault(name, []).append(x.cpu()[scored.match_of])
        pictures["true"].append(truth)
        pictures["rebuilt"].append(one.x.cpu()[scored.match_of])
        guesses = controls(truth, population, generator=torch_stream(seed, "guess"))
        row["guess"] += guesses["mean_image"].psnr.tolist()
        row["t_right"].append(one.t is not None and sorted(one.t) == sorted(subject.facts.t or ()))
    row["seconds"] = sum(one.seconds for one in found)
    row["iterations_done"] = found[0].iterations
    row["pictures"] = {
        name: kept_images(f"{_slug(key)}-{name}", torch.cat(x)) for name, x in pictures.items()
    }
    return row


def start_of(key: Key) -> Start:
    """Where pixels start."""
    if key.get("start") == "mean":
        return mean_image(images_of(SIZES[key["size"]].data).train.x)
    return grey if key.get("start") == "grey" else noise


def _clients(key: Key) -> list[Subject]:
    n = key["images"]
    if key["t"] == "distinct":
        rng = stream(0, "different steps")
        steps = [rng.choice(16, BATCH, replace=False).tolist() for _ in range(max(n // BATCH, 1))]
    else:
        steps = [[key["t"]] for _ in range(n)]
    return clients(key["size"], key["victim"], key["prior_steps"], steps, key["device"])


def _slug(key: Key) -> str:
    said = [key["size"], key["victim"], f"t{key['t']}", key.get("defence", ""), key["attack"],
            key.get("start", ""), str(key["iterations"])]  # fmt: skip
    return (
        "-".join(one for one in said if one)
        .replace(" ", "_")
        .replace("%", "percent")
        .replace(",", "")
    )


PARTS: dict[str, tuple[Callable[[Any], list[Key]], Callable[[Key], Row]]] = {
    "times": (times_keys, times),
    "known": (known_keys, known),
    "private": (private_keys, private),
    "defended": (defended_keys, defended),
}
"""Name -> which cells, and how one is computed."""


def median(values: list[float]) -> float:
    """Of the images of a cell."""
    return float(np.median(values))
