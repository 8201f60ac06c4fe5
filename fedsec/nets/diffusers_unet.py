"""The U-Net of Hugging Face's diffusers, for images of real sizes (extra `diffusion`).

Shape       `UNet2DModel`: at each level residual blocks, attention where it is wanted, and half
            the size; the same back up. With attention anywhere there is some at the bottom, too
Departures  Attention is by plain products (diffusers' `AttnProcessor`), which can be differentiated
            twice; its usual one calls a fused kernel, which cannot. `fused=True` keeps that one,
            for training alone: attacks refuse it, unless they run under
            `fedsec.core.functional.double_backward`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from threading import Lock
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from fedsec.errors import SettingsError
from fedsec.nets.unet import refuse_sizes

HEAD_WIDTH = 8  # channels of a head of attention

Pictures = Float[Tensor, "sample channel height width"]
Times = Int[Tensor, " sample"] | Float[Tensor, " sample"]

_one_at_a_time = Lock()  # a hook sits on the network, which threads may share


class DiffusersUNet(nn.Module):
    """Images in model space and their steps -> as many images, by a `UNet2DModel` of diffusers.

    channels   of the images
    widths     channels of each level; each level but the first has half the size
    attention  which levels have attention, one a level; none where empty
    layers     residual blocks a level
    groups     of the normalisation
    fused      attention by the fused kernels, which cannot be differentiated twice

    Raises ImportError, which names the extra, without diffusers, and SettingsError where the
    numbers do not fit each other.
    """

    time_layer = "net.time_embedding.linear_1"

    def __init__(
        self,
        channels: int = 3,
        widths: tuple[int, ...] = (64, 128, 256, 256),
        attention: tuple[bool, ...] = (),
        layers: int = 2,
        groups: int = 8,
        fused: bool = False,
    ) -> None:
        super().__init__()
        looks = tuple(attention) or (False,) * len(widths)
        _check(channels, widths, looks, layers, groups)
        self.channels, self.n_levels = channels, len(widths)
        self.net = _unet2d(channels, widths, looks, layers, groups)
        if not fused:
            _use_plain_attention(self.net)

    def forward(self, x: Pictures, t: Times) -> Pictures:
        """The answer to images x, in [-1, 1], at steps t. Raises SettingsError where x does not
        fit.
        """
        self.refuse(x.shape[1:])
        answer: Tensor = self.net(x, t, return_dict=False)[0]
        return answer

    def hidden(
        self, x: Pictures, t: Times
    ) -> tuple[Pictures, Float[Tensor, "sample feature height width"]]:
        """The answer, and what the last convolution makes it of, with widths[0] channels."""
        seen: list[Tensor] = []

        def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.append(inputs[0])

        with _one_at_a_time:
            hook = self.net.conv_out.register_forward_pre_hook(look)
            try:
                answer = self(x, t)
            finally:
                hook.remove()
        return answer, seen[0]

    def embed_time(self, t: Times) -> Float[Tensor, "sample feature"]:
        """What `time_layer` is given: cosines of t, then as many sines, widths[0] in all."""
        waves: Tensor = self.net.time_proj(t)
        return waves.to(self.net.conv_in.weight.dtype)

    def refuse(self, shape: Sequence[int]) -> None:
        """Raises SettingsError where images of (channel, height, width) do not fit."""
        refuse_sizes(shape, self.channels, self.n_levels)


def _unet2d(
    channels: int, widths: Sequence[int], attention: Sequence[bool], layers: int, groups: int
) -> Any:
    """A new UNet2DModel. Raises ImportError, which names the extra, without diffusers."""
    try:
        diffusers = importlib.import_module("diffusers")
    except ImportError as error:
        raise ImportError(
            "this U-Net needs diffusers: pip install 'crowdlearn[diffusion]'"
        ) from error
    return diffusers.UNet2DModel(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=tuple(widths),
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attention),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)),
        layers_per_block=layers,
        norm_num_groups=groups,
        attention_head_dim=HEAD_WIDTH,
        add_attention=any(attention),
    )


def _use_plain_attention(net: nn.Module) -> None:
    processors = importlib.import_module("diffusers.models.attention_processor")
    for module in net.modules():
        if isinstance(module, processors.Attention):
            module.set_processor(processors.AttnProcessor())
            module.upcast_softmax = False  # to float32, which would round a float64 network


def _check(
    channels: int, widths: Sequence[int], attention: Sequence[bool], layers: int, groups: int
) -> None:
    if min(channels, layers, groups, len(widths), *widths) < 1:
        raise SettingsError(
            f"channels = {channels}, layers = {layers}, groups = {groups}, widths = {widths}: give"
            " at least 1"
        )
    if len(attention) != len(widths):
        raise SettingsError(
            f"attention says {len(attention)} levels, where widths has {len(widths)}: give one each"
        )
    for width, looks in zip(widths, attention, strict=True):
        if width % groups:
            raise SettingsError(
                f"{width} channels do not divide into {groups} groups: change widths or groups"
            )
        if any(attention) and (looks or width == widths[-1]) and width % HEAD_WIDTH:
            raise SettingsError(
                f"{width} channels do not divide into attention heads of {HEAD_WIDTH}: change"
                " widths"
            )
    if widths[0] < 4 or widths[0] % 2:
        raise SettingsError(f"widths begin with {widths[0]}: give an even number, 4 or more")
