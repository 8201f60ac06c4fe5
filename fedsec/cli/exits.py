"""How commands end: errors as one line each, Ctrl-C, and the exit codes."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click
import typer
from click.exceptions import NoArgsIsHelpError
from typer.core import TyperGroup

from fedsec.errors import FedsecError

BAD_INPUT, INTERRUPTED = 2, 130
EXTRA = ("torch", "safetensors", "sklearn", "ot")  # modules of the extra `fedsec`


class Commands(TyperGroup):
    """Commands that turn this package's errors, and misspelt options, into one line on stderr."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            of = error.ctx.command_path if error.ctx else "fedsec"
            said = error.format_message()
            raise _refused(f"{said}{'' if said.endswith('.') else '.'} See {of} --help") from None
        except FedsecError as error:
            raise _refused(str(error)) from None
        except ModuleNotFoundError as error:
            if error.name not in EXTRA:
                raise
            raise _refused(f"{error}: pip install 'crowdlearn[fedsec]'") from None
        except ImportError as error:
            if "pip install 'crowdlearn[" not in str(error):
                raise
            raise _refused(str(error)) from None
        except KeyboardInterrupt:
            say("interrupted: nothing was written", "red")
            raise typer.Exit(INTERRUPTED) from None


def say(text: str, colour: str | None = None) -> None:
    """One line on stderr, coloured where stderr is a terminal; control characters become spaces."""
    line = "".join(c if c.isprintable() else " " for c in text)
    typer.secho(line, err=True, fg=colour)


@contextmanager
def first_interrupt(when: str = "after this round") -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second one raises KeyboardInterrupt."""
    said = f"\nstopping {when}; Ctrl-C again leaves at once\n".encode()
    asked = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        os.write(2, said)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def as_json(value: Any) -> Any:
    """The value with nan and infinities, which JSON does not have, as None."""
    if isinstance(value, dict):
        return {key: as_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def print_json(value: dict[str, Any]) -> None:
    """One JSON object as one line on stdout."""
    import json

    typer.echo(json.dumps(as_json(value), ensure_ascii=False, allow_nan=False))


def _refused(text: str) -> typer.Exit:
    say(text, "red")
    return typer.Exit(BAD_INPUT)
