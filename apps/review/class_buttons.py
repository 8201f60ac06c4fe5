"""One button a class, with a digit as its key; every button says which item it is for.

Keys are 1 to 9 and 0 in the order of the classes; but where every class is a digit, its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from apps.review.words import escaped
from crowdlearn.service.projects import Project

KEYS = "1234567890"


def class_buttons(
    project: Project,
    name: str,
    token: str,
    chosen: str | None,
    decide: Callable[..., None],
    *given: Any,
) -> None:
    """Buttons that call `decide(*given, label)`; `chosen` stands out. `token` is the loan's."""
    shown = project.classes[: len(KEYS)]
    keys = keys_of(project.classes)
    columns = _columns(shown)
    for start in range(0, len(shown), columns):
        places = st.columns(columns, gap="small")
        for place, k in zip(places, range(start, min(start + columns, len(shown))), strict=False):
            place.button(
                escaped(shown[k]), key=f"class {k} of {name} {token}", shortcut=keys[k],
                type="primary" if shown[k] == chosen else "secondary", width="stretch",
                on_click=decide, args=(*given, shown[k]),
            )  # fmt: skip
    if len(project.classes) > len(KEYS):
        _others(project, name, token, decide, *given)


def keys_of(classes: tuple[str, ...]) -> str:
    """The keys of the first classes, one character each."""
    own = all(name in KEYS and len(name) == 1 for name in classes)
    return "".join(classes) if own else KEYS[: len(classes)]


def _others(
    project: Project, name: str, token: str, decide: Callable[..., None], *given: Any
) -> None:
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    label = left.selectbox(
        "All classes", project.classes, index=None, key=f"all classes of {name} {token}",
        placeholder=f"One of {len(project.classes)} classes",
    )  # fmt: skip
    right.button(
        "Choose", key=f"choose for {name} {token}", disabled=label is None, width="stretch",
        on_click=decide, args=(*given, label),
    )  # fmt: skip


def _columns(shown: tuple[str, ...]) -> int:
    longest = max(map(len, shown))
    widest = 5 if longest <= 3 else 4 if longest <= 5 else 2 if longest <= 18 else 1
    return min(widest, len(shown))
