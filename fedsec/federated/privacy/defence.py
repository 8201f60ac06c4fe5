"""A defence maps what a client sends, before anybody else sees it.

A defence is a function `(update, generator) -> update`: the update given is left alone, and what is
drawn comes from the generator. So a client's stream of randomness makes its defended update
reproducible, whoever runs it. Settings are frozen dataclasses, a defence each.

A defence maps the tensors of an update only. Its `n` and its buffers (running statistics) are sent
as they are; a defence that promises something about all that is sent refuses buffers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch

from fedsec.core.record import Update
from fedsec.errors import UpdateError


@runtime_checkable
class Defence(Protocol):
    """Maps an update before it is sent."""

    def __call__(self, update: Update, generator: torch.Generator) -> Update:
        """The update to send: same names, shapes, dtypes and device, on the generator's device.

        Raises UpdateError, naming client and round, where the update is not finite.
        """


def apply_defences(
    update: Update, defences: Sequence[Defence], generator: torch.Generator
) -> Update:
    """The update after each defence in turn, first to last. No defence: the update itself."""
    for defence in defences:
        update = defence(update, generator)
    return update


def without_buffers(update: Update, promise: str) -> Update:
    """This update. Raises UpdateError where it has buffers, which void the promise."""
    if update.buffers:
        raise UpdateError(
            f"client {update.client}, round {update.round}: {promise} does not cover the buffers"
            f" {', '.join(map(repr, update.buffers))}; use a network without batch normalisation"
            " (GroupNorm has no running statistics), or send the update without its buffers"
        )
    return update
