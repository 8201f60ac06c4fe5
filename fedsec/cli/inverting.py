"""One attack, from options to files: what it knows, how it runs, what is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedsec import __version__
from fedsec.cli.checks import one_of
from fedsec.cli.defending import defended, protections_of
from fedsec.cli.exits import as_json
from fedsec.cli.output import write_settings
from fedsec.cli.target import TargetFlags
from fedsec.cli.targets import Target
from fedsec.core.record import Knowledge, Result, write_results
from fedsec.core.rng import torch_stream
from fedsec.errors import SettingsError
from fedsec.federated.history import described
from fedsec.inversion.attack import Watch
from fedsec.inversion.attacks import ATTACKS, DIFFUSION_ATTACKS, Attack
from fedsec.inversion.attacks.gidm_plus import TIME_RULES
from fedsec.inversion.audit.findings import Finding, Ground, find, ground_of
from fedsec.inversion.plots import side_by_side
from fedsec.inversion.true_images import to_arrays

UNKNOWN = ("labels", "lr", "steps", "batch", "order", "t", "noise")
DRAWS = ("server", "client")
USUAL_ATTACK = {"classifier": "inverting-gradients", "diffusion": "gidm+"}
FOR_PRIVATE = "gidm+"  # the attack that does without steps and noise
TYPES = ("int", "float")
DOTS = 150  # an inch


@dataclass(frozen=True, eq=False)
class Inversion:
    """One attack on one client, done."""

    target: Target
    ground: Ground
    finding: Finding
    defences: list[Any]
    adaptive: bool
    seed: int


def attack_from(
    name: str, settings: Sequence[str], given: Mapping[str, int | None], victim: str = "classifier"
) -> Attack:
    """The attack of this name; `settings` are NAME=VALUE, `given` those with options of their own.

    Raises SettingsError for a name or a setting that there is not, or a value out of its range.
    """
    table = DIFFUSION_ATTACKS if victim == "diffusion" else ATTACKS
    one_of("--attack", name, table)
    types = {field.name: str(field.type) for field in fields(table[name])}
    known = {key: kind for key, kind in types.items() if kind.split(" ")[0] in TYPES}
    known |= {key: kind for key, kind in types.items() if kind == "TimeRule"}
    made: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    for key in made:
        if key not in types:
            raise SettingsError(f"--{key} has no effect here: {name} has no {key}")
    for text in settings:
        key, _, value = (part.strip() for part in text.partition("="))
        if not (key and value):
            raise SettingsError(f"--set {text!r}: write NAME=VALUE, as tv=0.01")
        if key not in known:
            raise SettingsError(
                f"--set {key}: no such setting of {name}: there are {', '.join(known) or 'none'}"
            )
        if known[key] == "TimeRule":
            one_of(f"--set {key}", value, TIME_RULES)
            made[key] = TIME_RULES[value]
            continue
        whole = known[key].startswith("int")
        try:
            made[key] = int(value) if whole else float(value)
        except ValueError:
            wanted = "a whole number" if whole else "a number"
            raise SettingsError(f"--set {key}={value}: {value!r} is not {wanted}") from None
    attack: Attack = table[name](**made)
    return attack


def knowledge_of(
    facts: Knowledge, unknown: Sequence[str], recover_labels: bool, private: bool = False
) -> Knowledge:
    """The facts, but for what the attacker is not to know; `private` are time steps and noise.

    Raises SettingsError for other names.
    """
    for name in unknown:
        one_of("--unknown", name, UNKNOWN)
    hidden = {*unknown, *(["labels"] if recover_labels else [])}
    hidden |= {"t", "noise"} if private else set()
    return replace(facts, **dict.fromkeys(hidden))


def invert_target(
    target: Target, name: str, attack: Attack, knowledge: Knowledge, flags: TargetFlags, *,
    defences: Sequence[str], adaptive: bool, watch: Watch,
) -> Inversion:  # fmt: skip
    """Defend, attack, score. Raises SettingsError where the attack cannot be used."""
    protections = protections_of(defences)
    if adaptive and not protections:
        raise SettingsError("--adaptive has no effect here: it goes with --defence")
    draw = torch_stream(flags.seed, "defence", device=target.device)
    subject, adapt = defended(target.subject, protections, draw)
    ground = ground_of(subject, target.images.train, flags.seed)
    finding = find(
        subject, attack, knowledge=knowledge, ground=ground, seed=flags.seed, name=name,
        adapt=adapt if adaptive else None, watch=watch,
    )  # fmt: skip
    if finding.why_not is not None:
        raise SettingsError(f"--attack {name} cannot be used here: {finding.why_not}")
    return Inversion(target, ground, finding, protections, adaptive, flags.seed)


def result_of(done: Inversion) -> Result:
    """The line of results.jsonl."""
    found, scores = done.finding.found, done.finding.scores
    assert found is not None
    target = done.target
    measures: dict[str, Any] = {
        "loss": found.loss, "iterations": found.iterations, "evaluations": found.evaluations,
        "stopped": found.stopped,
        "labels": None if found.labels is None else found.labels.tolist(),
        "scored": scores is not None,
    }  # fmt: skip
    if found.t is not None:
        true = target.subject.facts.t
        measures |= {
            "t": found.t, "t_true": true,
            "share_t": None if true is None else shared(found.t, true) / len(true),
        }  # fmt: skip
    if scores is not None and done.finding.exposed is not None:
        measures |= scores.summary() | {
            "share_exposed": float(done.finding.exposed.mean()),
            "guesses": {name: one.summary() for name, one in done.ground.guesses.items()},
        }
    elif done.finding.nearest is not None:
        measures["nearest"] = done.finding.nearest.tolist()
    return Result(
        what="invert",
        seed=done.seed,
        settings={
            "attack": done.finding.attack, **dict(done.finding.settings), "model": target.model,
            "data": target.images.name, "client": target.client, "images": target.subject.n,
            "defences": described(done.defences), "adaptive": done.adaptive,
        },
        measures=as_json(measures),
        seconds=found.seconds,
        knowledge=done.finding.knowledge,
    )  # fmt: skip


def shared(found: Sequence[int], true: Sequence[int]) -> int:
    """How many of the true ones were found, each as often as it is there."""
    return (Counter(found) & Counter(true)).total()


def write_inversion(folder: Path, done: Inversion, result: Result, rerun: str) -> None:
    """results.jsonl, reconstructions.npz, pictures.png, settings.json."""
    found, scores, truth = done.finding.found, done.finding.scores, done.ground.truth
    assert found is not None
    write_settings(
        folder,
        {"fedsec": __version__, "torch": str(torch.__version__), "rerun": rerun,
         "settings": as_json(dict(result.settings)), "seed": result.seed,
         "knowledge": asdict(done.finding.knowledge)},
    )  # fmt: skip
    write_results([result], folder / "results.jsonl")
    arrays = {"x": to_arrays(found.x), "history": found.history,
              "candidates": np.stack([to_arrays(one) for one in found.candidates])}  # fmt: skip
    arrays |= {f"phase_{name}": to_arrays(x) for name, x in found.phases.items()}
    if found.t is not None:
        arrays["t"] = np.array(found.t)
    if found.labels is not None:
        arrays["y"] = found.labels.cpu().numpy()
    if truth is not None and scores is not None:
        arrays |= {"truth": to_arrays(truth), "match_of": scores.match_of, "psnr": scores.psnr}
    np.savez_compressed(folder / "reconstructions.npz", **arrays)  # type: ignore[arg-type]
    nearest = done.finding.nearest
    figure = side_by_side(
        found.x, truth=truth, match_of=None if scores is None else scores.match_of,
        psnr=None if scores is None else scores.psnr,
        nearest=None if nearest is None else done.ground.population.x[torch.from_numpy(nearest)],
        title=f"{done.finding.attack}, {done.target.images.name}",
    )  # fmt: skip
    figure.savefig(folder / "pictures.png", dpi=DOTS)
