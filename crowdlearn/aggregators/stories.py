"""From a user's words to a story: a name in the table, a function, or "module:function"."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from crowdlearn.errors import SettingsError


def check_story(story: Any, parameters: Any) -> None:
    """Raises SettingsError for what cannot be a story or hyperparameters; imports nothing."""
    if not (callable(story) or isinstance(story, str)):
        raise SettingsError(f"story must be a name, a function or 'module:function', not {story!r}")
    if parameters is not None and not (
        isinstance(parameters, dict) and all(isinstance(name, str) for name in parameters)
    ):
        raise SettingsError(
            f"parameters must map names of hyperparameters to values, not {parameters!r}"
        )


def find_story(story: Any) -> Callable[..., Any]:
    """The function itself. Raises SettingsError that says what there is instead."""
    from crowdlearn.models import STORIES

    if callable(story):
        return story
    if story in STORIES:
        return STORIES[story]
    if ":" not in story:
        raise SettingsError(
            f"story {story!r} is not one of {', '.join(STORIES)}; a story of your own is named "
            "'module:function'"
        )
    module_name, _, name = story.partition(":")
    found = getattr(_module(story, module_name), name, None)
    if not callable(found):
        raise SettingsError(f"story {story!r}: module {module_name!r} has no function {name!r}")
    return found


def story_text(story: Any) -> str:
    """How a story is recorded: the name in the table, or "module:function"."""
    if isinstance(story, str):
        return story
    from crowdlearn.models import STORIES

    for name, function in STORIES.items():
        if function is story:
            return name
    name = getattr(story, "__qualname__", type(story).__name__)
    return f"{getattr(story, '__module__', '?')}:{name}"


def _module(story: str, name: str) -> Any:
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise
        raise SettingsError(
            f"story {story!r}: there is no module {name!r} in {here} or among the installed ones"
        ) from error
    finally:
        sys.path.remove(here)
