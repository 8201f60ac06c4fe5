"""The network that is attacked: one of ours, or one that a function of the user's makes."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from fedsec.cli.checks import one_of
from fedsec.core.rng import torch_stream
from fedsec.data.images import ImageData
from fedsec.errors import SettingsError
from fedsec.nets import NETS, make_net

WRITTEN = "write MODULE:FUNCTION, as mine:make_net for make_net() in mine.py"


def network_of(net: str | None, model: str | None, images: ImageData, seed: int) -> nn.Module:
    """The network, with parameters that the seed draws where its maker draws them.

    Raises SettingsError where there is no such network, or the user's function fails.
    """
    if model is None:
        assert net is not None
        one_of("--net", net, NETS)
        return make_net(net, images, seed)
    make = imported(model)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(torch_stream(seed, "net").get_state())
        with _from_this_folder():
            made = _called(model, make)
    if not isinstance(made, nn.Module):
        raise SettingsError(f"--model {model}: gave {type(made).__name__}, no torch.nn.Module")
    return made


def imported(model: str) -> Callable[[], object]:
    """The function of a module that this folder, or the Python path, holds."""
    module, _, name = model.partition(":")
    if module.endswith(".py") or "/" in module:
        raise SettingsError(f"--model {model!r}: is a path: {WRITTEN}")
    if not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise SettingsError(f"--model {model!r}: {WRITTEN}")
    with _from_this_folder():
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is not None and f"{module}.".startswith(f"{error.name}."):
                raise SettingsError(
                    f"--model {model}: there is no module {error.name!r} in {Path.cwd()}"
                ) from error
            raise SettingsError(f"--model {model}: {module} needs {error.name}") from error
        except Exception as error:  # the user's code may raise anything
            raise SettingsError(f"--model {model}: {_said(error)}") from error
    make = getattr(found, name, None)
    if not callable(make):
        what = "is not a function" if hasattr(found, name) else "is not there"
        raise SettingsError(f"--model {model}: {name} in {module} {what}")
    function: Callable[[], object] = make
    return function


def _called(model: str, make: Callable[[], object]) -> object:
    try:
        return make()
    except Exception as error:  # the user's code may raise anything
        raise SettingsError(f"--model {model}: {_said(error)}") from error


def _said(error: Exception) -> str:
    """The error and where it was raised."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    line = f"{Path(last.filename).name}, line {last.lineno}"
    if isinstance(error, SyntaxError):
        line = f"{Path(error.filename or '').name}, line {error.lineno}"
    first = (str(error).splitlines() or [""])[0]
    return f"{line}: {type(error).__name__}{f': {first}' if first else ''}"


@contextmanager
def _from_this_folder() -> Iterator[None]:
    """Within it, modules of the current folder can be imported."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
