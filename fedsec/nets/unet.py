"""A small U-Net that tells the noise in an image, for CPUs, tests and attacks.

Shape       7 x 7 convolution to `width` channels, kept for the end; on the way down a residual
            block a level, then half the size; at the bottom a block (and attention, if wanted); on
            the way up twice the size, what the level had, and a block; at the end the first
            convolution again, a block whose output is the "hidden feature", and a 1 x 1 convolution
Block       conv, group norm, times (1 + scale) plus shift by the time, SiLU; conv, group norm,
            SiLU; and a way past them
Time        sines and cosines -> Linear (`time_mlp.0`) -> GELU -> Linear
Paper       Ho, Jain and Abbeel (2020), appendix B, in the form of the code of SFDDM and GIDM
            (lucidrains' denoising-diffusion-pytorch 1.9.4): size is halved by space-to-depth and a
            1 x 1 convolution, and doubled by repetition and a 3 x 3 one
Departures  One block a level in place of two, and attention at the bottom alone, or nowhere: 179
            thousand parameters for digits, in place of 35.7 million. Attention is written out, as
            the fused kernels cannot be differentiated twice.

SiLU and GELU are smooth, so it has second derivatives everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_unshuffle

from fedsec.errors import SettingsError

PERIOD = 10_000.0  # of the slowest wave of the time's embedding, over 2 pi
HEADS = 4

Pictures = Float[Tensor, "sample channel height width"]
Times = Int[Tensor, " sample"] | Float[Tensor, " sample"]


class DiffusionUNet(nn.Module):
    """Images in model space and their steps -> as many images.

    channels    of the images
    width       channels at full size; even, and at least 4
    mults       channels of each level, in widths; each level but the first has half the size
    groups      of the normalisation
    attention   between the places of the lowest level

    Raises SettingsError where channels do not divide into the groups, or the attention's heads.
    """

    time_layer = "time_mlp.0"  # the first that sees the time: a Linear with a bias

    def __init__(
        self,
        channels: int = 1,
        width: int = 16,
        mults: tuple[int, ...] = (1, 2, 4),
        groups: int = 8,
        attention: bool = False,
    ) -> None:
        super().__init__()
        _check(channels, width, mults, groups, attention)
        self.channels, self.width, self.mults = channels, width, tuple(mults)
        widths = [width * mult for mult in mults]
        told = 4 * width
        self.time_mlp = nn.Sequential(nn.Linear(width, told), nn.GELU(), nn.Linear(told, told))
        self.first = nn.Conv2d(channels, width, 7, padding=3)
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        seen = width
        for level in widths[:-1]:
            self.down.append(Block(seen, level, told, groups))
            self.shrink.append(nn.Conv2d(4 * level, level, 1))
            seen = level
        self.middle = Block(seen, widths[-1], told, groups)
        self.attend = Attention(widths[-1], groups) if attention else nn.Identity()
        seen = widths[-1]
        for level in reversed(widths[:-1]):
            self.grow.append(nn.Conv2d(seen, level, 3, padding=1))
            self.up.append(Block(2 * level, level, told, groups))
            seen = level
        self.final = Block(seen + width, width, told, groups)
        self.last = nn.Conv2d(width, channels, 1)

    def forward(self, x: Pictures, t: Times) -> Pictures:
        """The answer to images x, in [-1, 1], at steps t. Raises SettingsError as `hidden`."""
        return self.hidden(x, t)[0]

    def hidden(
        self, x: Pictures, t: Times
    ) -> tuple[Pictures, Float[Tensor, "sample feature height width"]]:
        """The answer, and what the last 1 x 1 convolution makes it of, with `width` channels.

        Raises SettingsError for sizes that cannot be halved so often, and other channels.
        """
        self.refuse(x.shape[1:])
        time = self.time_mlp(self.embed_time(t))
        h = kept = self.first(x)
        levels = []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            h = block(h, time)
            levels.append(h)
            h = shrink(pixel_unshuffle(h, 2))
        h = self.attend(self.middle(h, time))
        for grow, block in zip(self.grow, self.up, strict=True):
            h = grow(interpolate(h, scale_factor=2, mode="nearest"))
            h = block(torch.cat([h, levels.pop()], dim=1), time)
        h = self.final(torch.cat([h, kept], dim=1), time)
        return self.last(h), h

    def refuse(self, shape: Sequence[int]) -> None:
        """Raises SettingsError where images of (channel, height, width) do not fit."""
        refuse_sizes(shape, self.channels, len(self.mults))

    def embed_time(self, t: Times) -> Float[Tensor, "sample feature"]:
        """What `time_mlp` is given: width / 2 sines of t, then as many cosines.

        A function of t alone, in the dtype of the parameters; no parameter takes part.
        """
        half = self.width // 2
        like = self.first.weight
        place = torch.arange(half, device=like.device, dtype=torch.float64)
        rate = torch.exp(-log(PERIOD) * place / (half - 1)).to(like.dtype)
        angle = t.to(like)[:, None] * rate
        return torch.cat([angle.sin(), angle.cos()], dim=1)


class Block(nn.Module):
    """Two convolutions that the time scales and shifts, and a way past them."""

    def __init__(self, seen: int, width: int, told: int, groups: int) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.SiLU(), nn.Linear(told, 2 * width))
        self.first, self.first_norm = nn.Conv2d(seen, width, 3, padding=1), _norm(groups, width)
        self.second, self.second_norm = nn.Conv2d(width, width, 3, padding=1), _norm(groups, width)
        self.past = nn.Identity() if seen == width else nn.Conv2d(seen, width, 1)
        self.act = nn.SiLU()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Features x (sample, seen, height, width) and time (sample, told) -> `width` channels."""
        scale, shift = self.time(time)[:, :, None, None].chunk(2, dim=1)
        h = self.act((scale + 1) * self.first_norm(self.first(x)) + shift)
        found: Tensor = self.past(x) + self.act(self.second_norm(self.second(h)))
        return found


class Attention(nn.Module):
    """Every place looks at every other one: softmax attention, by plain products."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm = _norm(groups, width)
        self.ask = nn.Conv2d(width, 3 * width, 1)
        self.answer = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Features (sample, width, height, width) -> the same form."""
        n, channels, height, width = x.shape
        asked = self.ask(self.norm(x)).view(n, 3, HEADS, channels // HEADS, height * width)
        query, key, value = asked.unbind(dim=1)  # each (sample, head, feature, place)
        score = query.transpose(2, 3) @ key * (channels // HEADS) ** -0.5
        found = value @ score.softmax(dim=-1).transpose(2, 3)
        out: Tensor = x + self.answer(found.reshape(n, channels, height, width))
        return out


def refuse_sizes(shape: Sequence[int], channels: int, n_levels: int) -> None:
    """Raises SettingsError where images of (channel, height, width) do not fit such a U-Net."""
    factor = 2 ** (n_levels - 1)
    if shape[0] != channels:
        raise SettingsError(
            f"images have {shape[0]} channels, where the network takes {channels}: make one for"
            f" channels={shape[0]}"
        )
    for what, size in (("height", shape[1]), ("width", shape[2])):
        if size % factor or not size:
            raise SettingsError(
                f"images are {shape[1]} x {shape[2]}: {n_levels} levels halve the {what}"
                f" {n_levels - 1} times, so pad it to a multiple of {factor}, or take fewer levels"
            )


def _norm(groups: int, width: int) -> nn.GroupNorm:
    return nn.GroupNorm(groups, width)


def _check(channels: int, width: int, mults: tuple[int, ...], groups: int, attention: bool) -> None:
    if min(channels, groups, *mults, len(mults)) < 1:
        raise SettingsError(
            f"channels = {channels}, groups = {groups}, mults = {tuple(mults)}: give at least 1"
        )
    if width < 4 or width % 2:
        raise SettingsError(f"width = {width}: give an even number, 4 or more")
    for mult in (1, *mults):
        if width * mult % groups:
            raise SettingsError(
                f"{width * mult} channels do not divide into {groups} groups: change width ="
                f" {width} or groups = {groups}"
            )
    if attention and width * mults[-1] % HEADS:
        raise SettingsError(
            f"{width * mults[-1]} channels do not divide into {HEADS} heads: change width = {width}"
        )
