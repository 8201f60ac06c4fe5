"""Settings of a method as a user writes them, METHOD.NAME=VALUE, by the types that it declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from fedsec.cli.checks import one_of
from fedsec.errors import SettingsError
from fedsec.stealing.attack import StealSettings

TRUE, FALSE = ("yes", "true", "1"), ("no", "false", "0")
TYPES = ("int", "float", "bool")


def with_settings(
    methods: Mapping[str, StealSettings], given: Sequence[str]
) -> dict[str, StealSettings]:
    """The methods with these of their settings changed.

    Raises SettingsError for a method that was not asked for, a setting that it does not have, or a
    value out of its range.
    """
    changed: dict[str, dict[str, Any]] = {name: {} for name in methods}
    for text in given:
        where, _, value = (part.strip() for part in text.partition("="))
        name, _, key = where.partition(".")
        if not (name and key and value):
            raise SettingsError(f"--set {text!r}: write METHOD.NAME=VALUE, as mega.lr_g=1e-4")
        one_of("--set: method", name, methods)
        types = {
            field.name: str(field.type)
            for field in fields(methods[name])
            if str(field.type).split(" ")[0] in TYPES and field.init
        }
        if key not in types:
            raise SettingsError(
                f"--set {where}: no such setting of {name}: there are {', '.join(types)}"
            )
        changed[name][key] = typed(f"--set {where}", value, types[key])
    return {name: replace(method, **changed[name]) for name, method in methods.items()}


def typed(option: str, value: str, kind: str) -> int | float | bool:
    """A value of this annotated type: int, float or bool. Raises SettingsError."""
    if kind.startswith("bool"):
        if value not in (*TRUE, *FALSE):
            raise SettingsError(f"{option}: {value!r} is neither yes nor no")
        return value in TRUE
    try:
        return int(value) if kind.split(" ")[0] == "int" else float(value)
    except ValueError:
        wanted = "a whole number" if kind.split(" ")[0] == "int" else "a number"
        raise SettingsError(f"{option}: {value!r} is not {wanted}") from None
