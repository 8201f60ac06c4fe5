"""Defences of answers as a user writes them: a name, and settings behind a colon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from fedsec.cli.checks import one_of
from fedsec.cli.settings import typed
from fedsec.errors import SettingsError
from fedsec.stealing.answers import LabelFlips, RateLimit, Rounded, TopOne
from fedsec.stealing.detection import Detector

KINDS: dict[str, Callable[..., Any]] = {
    "label-flips": LabelFlips,
    "rounded": Rounded,
    "top-one": TopOne,
    "rate-limit": RateLimit,
    "detector": Detector,
}
NEEDED = {"label-flips": ("share",), "rate-limit": ("images", "window")}
STATELESS = (LabelFlips, Rounded, TopOne)
"""Those that remember nothing: what they do to test images is what they do to customers."""


def defences_of(given: Sequence[str]) -> list[Any]:
    """Defences, made anew, in the order given: NAME, or NAME:SETTING=VALUE,SETTING=VALUE.

    Raises SettingsError for a name or a setting that there is not, or a value out of range.
    """
    return [_made(text) for text in given]


def described(defence: Any) -> dict[str, Any]:
    """Its name and settings, as data fit for JSON; not what it remembers."""
    name = next(name for name, kind in KINDS.items() if type(defence) is kind)
    return {"is": name, **{key: getattr(defence, key) for key in _types(type(defence))}}


def _types(kind: Any) -> dict[str, str]:
    """Setting -> its annotated type."""
    return {
        field.name: str(field.type)
        for field in fields(kind)
        if field.init and not field.name.startswith("_") and field.name != "clock"
    }


def _made(text: str) -> Any:
    name, _, rest = text.partition(":")
    one_of("--defence", name, KINDS)
    kind, types = KINDS[name], _types(KINDS[name])
    settings: dict[str, Any] = {}
    for pair in filter(None, rest.split(",")):
        key, _, value = (part.strip() for part in pair.partition("="))
        if not (key and value):
            raise SettingsError(
                f"--defence {text!r}: write NAME:SETTING=VALUE, as label-flips:share=0.2"
            )
        if key not in types:
            has = f"there are {', '.join(types)}" if types else "there are none"
            raise SettingsError(f"--defence {name}: no such setting as {key!r}: {has}")
        settings[key] = typed(f"--defence {name}:{key}", value, types[key])
    missing = [one for one in NEEDED.get(name, ()) if one not in settings]
    if missing:
        raise SettingsError(f"--defence {name}: needs {missing[0]}, as {name}:{missing[0]}=VALUE")
    return kind(**settings)
