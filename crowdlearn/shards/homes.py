"""Which votes are coded, and where they are then fitted."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

from crowdlearn.errors import SettingsError
from crowdlearn.shards.votes import METHODS


def home_of(
    method: str, device: str | None, memory: int | None, n_actors: int | None, asked: bool
) -> str | None:
    """The device that coded votes are fitted on; None where votes are read into memory instead.

    They are coded for the device "ray" or "ray://...", for "auto" in a process that belongs to a
    Ray cluster, and where `memory`, `n_actors` or anything else that only coded votes have is
    `asked` for. Raises SettingsError for a method that does not take them, and for a wish that the
    device cannot grant.
    """
    on_ray = device is not None and (device == "ray" or device.startswith("ray://"))
    if device == "auto" and memory is None and method in METHODS and belongs_to_cluster():
        return "ray"
    if not (on_ray or asked or memory is not None or n_actors is not None):
        return None
    if method not in METHODS:
        raise SettingsError(
            f"method {method}: is none that fits coded votes: choose from {', '.join(METHODS)}"
        )
    if on_ray and memory is not None:
        raise SettingsError(
            "memory: is what one machine may take, and on a cluster every actor keeps its part:"
            " leave it out, or the device"
        )
    if not on_ray and n_actors is not None:
        raise SettingsError("actors: are for device 'ray' or 'ray://HOST'")
    if not on_ray and device not in (None, "auto", "cpu"):
        raise no_such_device(device)
    return device or "cpu"


def no_such_device(device: str | None) -> SettingsError:
    """What to raise for a device that coded votes have no home on."""
    return SettingsError(
        f"device {device!r}: coded votes are fitted on auto, cpu, ray or ray://HOST"
    )


def belongs_to_cluster() -> bool:
    """Whether this process has joined a Ray cluster, or RAY_ADDRESS names one."""
    joined = sys.modules.get("ray")
    if joined is not None and joined.is_initialized():
        return True
    return bool(os.environ.get("RAY_ADDRESS")) and find_spec("ray") is not None
