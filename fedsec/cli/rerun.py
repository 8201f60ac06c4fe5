"""The present command as a user would type it again."""

from __future__ import annotations

import shlex

import click
from click.core import ParameterSource


def rerun_command() -> str:
    """The present command, with the options that were given."""
    context = click.get_current_context()
    words = ["fedsec", context.info_name or ""]
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is not ParameterSource.COMMANDLINE or parameter.name == "out":
            continue
        value = context.params[parameter.name or ""]
        option = parameter.opts[0]
        if isinstance(value, bool):
            words.append(option)
        else:
            each = value if isinstance(value, list | tuple) else [value]
            words += [word for one in each for word in (option, str(one))]
    return shlex.join(words)
