"""Where JAX computes: this machine's processor, or its GPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import jax

from crowdlearn.errors import SettingsError


def on_device(device: str) -> AbstractContextManager[object]:
    """A context in which arrays are made on `device`.

    "auto" is JAX's own choice, "cpu" and "jax-cpu" the processor.

    Raises SettingsError where JAX sees no GPU.
    """
    if device == "auto":
        return nullcontext()
    try:
        found = jax.devices(device.removeprefix("jax-"))
    except RuntimeError as error:
        raise SettingsError(
            f"device {device!r}: JAX sees only {jax.default_backend()}; install jax with CUDA "
            "support, or choose device 'cpu'"
        ) from error
    return jax.default_device(found[0])
