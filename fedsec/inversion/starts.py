"""Where dummy images start.

A start is a function `(shape, generator, device) -> images`, in single precision. What is drawn is
drawn on the generator's device, so that a seed means the same images wherever they go.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from fedsec.errors import SettingsError

Shape = tuple[int, int, int, int]
Images = Float[Tensor, "sample channel height width"]
Start = Callable[[Shape, torch.Generator, torch.device], Images]
"""(shape (n, channel, height, width), generator, device) -> images."""


def noise(shape: Shape, generator: torch.Generator, device: torch.device) -> Images:
    """N(0, 1) for each pixel, as in DLG and Inverting Gradients; it leaves [0, 1]."""
    return torch.randn(shape, generator=generator, device=generator.device).to(device)


def uniform(shape: Shape, generator: torch.Generator, device: torch.device) -> Images:
    """U(0, 1) for each pixel."""
    return torch.rand(shape, generator=generator, device=generator.device).to(device)


def grey(shape: Shape, generator: torch.Generator, device: torch.device) -> Images:
    """0.5 everywhere: restarts are all alike. Draws nothing."""
    return torch.full(shape, 0.5, device=device)


def mean_image(images: Images) -> Start:
    """The mean of images that the attacker has. Draws nothing.

    Raises SettingsError where there are none, and later where they are of another shape.
    """
    if not len(images):
        raise SettingsError("there are no images to take the mean of")
    mean = images.mean(dim=0)

    def start(shape: Shape, generator: torch.Generator, device: torch.device) -> Images:
        if tuple(mean.shape) != tuple(shape[1:]):
            raise SettingsError(
                f"the mean image is {' x '.join(map(str, mean.shape))}, and those looked for are"
                f" {' x '.join(map(str, shape[1:]))}"
            )
        return mean.to(device).expand(shape).clone()

    return start


STARTS: dict[str, Start] = {"noise": noise, "uniform": uniform, "grey": grey}
