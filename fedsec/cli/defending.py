"""Defences as a user writes them: a name, and settings behind a colon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import torch

from fedsec.cli.checks import one_of
from fedsec.errors import SettingsError
from fedsec.federated.privacy import DEFENCES, PrivateSGD, Soteria, gaussian, laplace
from fedsec.inversion.adapt import adaptation_to
from fedsec.inversion.attack import Adaptation
from fedsec.inversion.audit.ladders import Protection, protected
from fedsec.inversion.audit.subject import Subject

KINDS: dict[str, Callable[..., Protection]] = {
    **DEFENCES,
    "soteria": Soteria,
    "dp-sgd": PrivateSGD,
}
LAWS = {"gaussian": gaussian, "laplace": laplace}


def protections_of(given: Sequence[str]) -> list[Protection]:
    """Defences, in the order given: NAME, or NAME:SETTING=VALUE,SETTING=VALUE.

    Raises SettingsError for a name or a setting that there is not, or a value out of range.
    """
    made = [_made(text) for text in given]
    if any(isinstance(one, PrivateSGD) for one in made[1:]):
        raise SettingsError("--defence dp-sgd takes the gradient itself: name it first")
    return made


def defended(
    subject: Subject, protections: Sequence[Protection], generator: torch.Generator
) -> tuple[Subject, Adaptation | None]:
    """The client with all of them, and what an attacker who knows them does."""
    known = []
    for one in protections:
        subject, as_known = protected(subject, one, generator)
        known.append(as_known)
    return subject, adaptation_to(*known) if known else None


def _made(text: str) -> Protection:
    name, _, rest = text.partition(":")
    one_of("--defence", name, KINDS)
    kind = KINDS[name]
    types = {field.name: str(field.type) for field in fields(kind)}  # type: ignore[arg-type]
    settings: dict[str, Any] = {}
    for pair in filter(None, rest.split(",")):
        key, _, value = (part.strip() for part in pair.partition("="))
        if not (key and value):
            raise SettingsError(f"--defence {text!r}: write NAME:SETTING=VALUE, as top-k:share=0.1")
        if key not in types:
            has = f"there are {', '.join(types)}" if types else "there are none"
            raise SettingsError(f"--defence {name}: no such setting as {key!r}: {has}")
        settings[key] = _typed(name, key, value, types[key])
    return kind(**settings)


def _typed(name: str, key: str, value: str, kind: str) -> Any:
    if key == "law":
        one_of(f"--defence {name}:law", value, LAWS)
        return LAWS[value]
    try:
        return int(value) if kind.startswith("int") else float(value)
    except ValueError:
        wanted = "a whole number" if kind.startswith("int") else "a number"
        raise SettingsError(f"--defence {name}:{key}: {value!r} is not {wanted}") from None
