"""Selectors by name, with the settings that a command was given for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from fedsec.cli.checks import first, goes_with
from fedsec.cli.flags import Flags
from fedsec.cli.presets import Preset
from fedsec.errors import SettingsError
from fedsec.federated.rounds import Selector
from fedsec.federated.selectors import SELECTORS, selector

CONTROLS = ("always", "never")
ELSEWHERE = ("ids", "relative", "alpha", "beta")  # set by other means than --set


def selectors_of(
    names: Sequence[str], flags: Flags, preset: Preset, n_rounds: int, mavericks: tuple[int, ...]
) -> dict[str, Selector]:
    """The selectors of these names, which are in SELECTORS.

    Raises SettingsError for a setting that none of them has or that is out of its range, and for a
    control of Mavericks where there are none.
    """
    goes_with("--alpha", flags.alpha, "fedemd" in names, "--select fedemd")
    goes_with("--beta", flags.beta, "fedemd" in names, "--select fedemd")
    given = _pairs(flags.settings)
    known = sorted({kind for name in names for kind in _kinds(name)})
    for key in given:
        if key not in known:
            has = f"there are {', '.join(known)}" if known else "there are none"
            raise SettingsError(f"--set {key}: no such setting of {', '.join(names)}: {has}")
    made = {}
    for name in names:
        settings = {key: _typed(key, given[key], kind) for key, kind in _kinds(name).items()
                    if key in given}  # fmt: skip
        if name == "fedemd":
            settings["alpha"] = first(flags.alpha, preset.alpha)
            settings["beta"] = first(flags.beta, preset.beta_for(n_rounds))
        if name in CONTROLS:
            settings["ids"] = _controlled(name, mavericks)
        made[name] = selector(name, **settings)
    return made


def _kinds(name: str) -> dict[str, str]:
    """The settings that --set may give, and their types."""
    return {
        field.name: str(field.type)
        for field in fields(SELECTORS[name])
        if field.name not in ELSEWHERE
    }


def _controlled(name: str, mavericks: tuple[int, ...]) -> tuple[int, ...]:
    if not mavericks:
        raise SettingsError(
            f"--select {name} is about Mavericks, and there are none: take --partition mavericks"
        )
    return mavericks


def _pairs(texts: Sequence[str] | None) -> dict[str, str]:
    found = {}
    for text in texts or ():
        name, _, value = (part.strip() for part in text.partition("="))
        if not (name and value):
            raise SettingsError(f"--set {text!r}: write NAME=VALUE, as n_candidates=20")
        found[name.replace("-", "_")] = value
    return found


def _typed(name: str, text: str, kind: str) -> Any:
    if kind.startswith("str"):
        return text
    whole = kind.startswith("int")
    try:
        return int(text) if whole else float(text)
    except ValueError:
        wanted = "a whole number" if whole else "a number"
        raise SettingsError(f"--set {name}={text}: {text!r} is not {wanted}") from None
