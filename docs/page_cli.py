"""The page of the command line, from the commands' own help."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

INTRO = """# Command line

This page is made from the commands' own help by `docs/make_pages.py`.

Exit codes: 0 done; 2 bad input or settings, with one line on standard error; 130 stopped by Ctrl-C,
with the result so far written.
"""

FEDSEC_INTRO = """# Command line of fedsec

This page is made from the commands' own help by `docs/make_pages.py`.

Exit codes: 0 done; 2 bad input or settings, with one line on standard error; 130 stopped by Ctrl-C,
with a checkpoint or the result so far.
"""
PRESET_NOTE = """`sgd_lr` is `--lr` of fedsgd. `beta` is for that many rounds: with other `--rounds`
it is scaled, so that FedEMD turns at the same part of the run.
"""


def cli_page() -> str:
    """Every command with its usage, help text and options."""
    import typer.main

    from crowdlearn.cli import app

    sections = [command_section("crowdlearn", typer.main.get_command(app), 2)]
    return INTRO + "\n" + "\n".join(sections)


def fedsec_page() -> str:
    """The same for `fedsec`."""
    import typer.main

    from fedsec.cli import app

    section = command_section("fedsec", typer.main.get_command(app), 2)
    return "\n".join([FEDSEC_INTRO, section, preset_table()])


def preset_table() -> str:
    """The defaults of training that depend on the data set."""
    from fedsec.cli.presets import OWN_FILE, PRESETS

    columns = {**PRESETS, "your own": OWN_FILE}
    rows = [
        f"| {field.name} | " + " | ".join(f"{getattr(c, field.name)}" for c in columns.values())
        for field in dataclasses.fields(OWN_FILE)
    ]
    head = ["## Defaults by data set\n", f"| | {' | '.join(columns)} |", "|---" * 6 + "|"]
    return "\n".join([*head, *(f"{row} |" for row in rows)]) + "\n\n" + PRESET_NOTE


def command_section(name: str, command: Any, level: int) -> str:
    """The section of a command, those of its subcommands below it."""
    shown = [p for p in command.params if p.name != "help" and not getattr(p, "hidden", False)]
    usage = [name, *(f"{p.metavar or p.human_readable_name.upper()}" for p in arguments(shown))]
    if options(shown):
        usage.append("[OPTIONS]")
    subcommands = getattr(command, "commands", {})
    if subcommands:
        usage.append("COMMAND")
    parts = [f"{'#' * level} {name}\n", f"```text\n{' '.join(usage)}\n```\n", text(command.help)]
    if shown:
        parts.append(parameter_table(shown))
    for sub in subcommands.values():
        if not sub.hidden:
            parts.append(command_section(f"{name} {sub.name}", sub, min(level + 1, 4)))
    return "\n".join(part for part in parts if part)


def parameter_table(params: list[Any]) -> str:
    """One row a parameter: how it is written, what it does, its default."""
    rows = ["| | | default |", "|---|---|---|"]
    for p in [*arguments(params), *options(params)]:
        names = ", ".join([*p.opts, *p.secondary_opts]) if is_option(p) else p.metavar or p.name
        written = names.upper() if not is_option(p) else names
        rows.append(f"| `{written}` | {cell(getattr(p, 'help', '') or '')} | {default(p)} |")
    return "\n".join(rows) + "\n"


def default(param: Any) -> str:
    """The default as a reader would type it."""
    if param.required:
        return "required"
    value = param.default
    if value is None or callable(value) or value in ((), [], "") or value is False:
        return ""
    return f"`{' '.join(map(str, value)) if isinstance(value, list | tuple) else value}`"


def arguments(params: list[Any]) -> list[Any]:
    return [p for p in params if not is_option(p)]


def options(params: list[Any]) -> list[Any]:
    return [p for p in params if is_option(p)]


def is_option(param: Any) -> bool:
    return bool(param.param_type_name == "option")


def text(help_text: str | None) -> str:
    return inspect.cleandoc(help_text or "").replace("\b\n", "") + "\n"


def cell(help_text: str) -> str:
    return re.sub(r"\s+", " ", help_text).replace("|", "\\|").strip()
