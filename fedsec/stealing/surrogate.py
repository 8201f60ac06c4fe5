"""Images of something else that an attacker has, brought to the form that the victim takes."""

from __future__ import annotations

import hashlib
from dataclasses import InitVar, dataclass, field

import torch
from torch.nn.functional import interpolate

from fedsec.data.images import Images
from fedsec.errors import DataError
from fedsec.stealing.oracle import Shape


@dataclass(frozen=True, eq=False)
class Surrogate:
    """Images that an attacker has, of the victim's shape; `resized` makes them so.

    pictures  with labels of their own, which the adaptive attack goes by
    name      to stand in the record
    digest    of the pixels: a checkpoint goes on with the same images alone
    """

    pictures: InitVar[Images]
    name: str = "surrogate"
    digest: str = field(init=False)

    def __post_init__(self, pictures: Images) -> None:
        if not len(pictures):
            raise DataError(f"{self.name}: there are no images")
        pixels = pictures.x.detach().cpu().contiguous().numpy()
        object.__setattr__(self, "digest", hashlib.sha256(pixels.tobytes()).hexdigest()[:16])
        object.__setattr__(self, "_images", pictures)

    @property
    def images(self) -> Images:
        """The images and their own labels."""
        found: Images = self.__dict__["_images"]
        return found


def resized(pictures: Images, shape: Shape) -> Images:
    """Images of this (channel, height, width): enlarged or reduced smoothly, grey or coloured.

    Colour becomes grey as the mean of the channels, grey becomes colour by repeating it. Raises
    DataError for other changes of channels.
    """
    channels, height, width = shape
    x = pictures.x
    if x.shape[1] != channels:
        if 1 not in (x.shape[1], channels):
            raise DataError(f"images have {x.shape[1]} channels: {channels} cannot be made of them")
        x = x.mean(dim=1, keepdim=True).expand(-1, channels, -1, -1)
    if tuple(x.shape[2:]) != (height, width):
        x = torch.cat(
            [
                interpolate(part, (height, width), mode="bilinear", antialias=True)
                for part in x.split(4096)
            ]
        )
    return Images(x.clamp(0, 1).contiguous(), pictures.y)
