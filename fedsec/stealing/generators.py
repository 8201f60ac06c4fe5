"""Networks that make images from codes z ~ N(0, I), in the two halves that TandemGAN trains apart.

Tiny        8 x 8: dense to 32 x 2 x 2, twice enlarged and convolved, last convolution; 28,000
            parameters with 32 numbers in a code
28 x 28     dense to 5 x 4 x 4, two transposed convolutions, last convolution 6 x 6 (MEGA's code)
Others      any size that is a multiple of 4, as 32 x 32: dense to 128 channels at a quarter of the
            size, twice enlarged and convolved, last convolution (MAZE, DFME, TandemGAN)
Halves      `explore` is all before the last convolution, `exploit` the last convolution and the
            normalisation after it; the activation comes last
Sources     authors' code of MEGA and TandemGAN (Hong et al. 2022, arXiv 2202.00008, and 2023)
Departures  the default activation is (1 + tanh) / 2, so that images lie in [0, 1], as those of a
            prediction API do. The published ones are ReLU, which has no upper end and is clipped by
            the oracle, and tanh, half of which is. Parameters are drawn from a generator that is
            passed in, with PyTorch's laws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fedsec.core.rng import torch_stream
from fedsec.errors import SettingsError
from fedsec.stealing.oracle import Shape

Activation = Callable[[Tensor], Tensor]
Net = TypeVar("Net", bound=nn.Module)


def unit_tanh(x: Tensor) -> Tensor:
    """(1 + tanh x) / 2, in (0, 1)."""
    return torch.sigmoid(2 * x)


def unit_relu(x: Tensor) -> Tensor:
    """ReLU, clipped at 1 as an oracle would."""
    return x.clamp(0, 1)


ACTIVATIONS: dict[str, Activation] = {
    "tanh": unit_tanh,
    "clipped-relu": unit_relu,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
}
"""Last layer of a generator by name; only "relu" leaves [0, 1]."""


class Generator(nn.Module):
    """Codes to images.

    explore     codes to features, Gx of TandemGAN
    exploit     features to images before the activation, Ge
    activation  the last step
    latent      numbers in a code
    """

    def __init__(
        self, explore: nn.Module, exploit: nn.Module, activation: Activation, latent: int
    ) -> None:
        super().__init__()
        self.explore, self.exploit = explore, exploit
        self.activation, self.latent = activation, latent

    def forward(
        self, z: Float[Tensor, "sample latent"], activated: bool = True
    ) -> Float[Tensor, "sample channel height width"]:
        """Images; without `activated` as they are before the activation."""
        x: Tensor = self.exploit(self.explore(z))
        return self.activation(x) if activated else x


def make_generator(
    shape: Shape,
    latent: int,
    seed: int,
    activation: Activation = unit_tanh,
    *,
    positive: bool = False,
) -> Generator:
    """A generator of such images, in training mode, on the CPU, in float32.

    positive   negative weights of convolutions become 0 at the start, as the authors' code does for
               28 x 28

    Raises SettingsError where no generator here fits the shape.
    """
    channels, height, width = shape
    if height != width or height % 4 or height < 8:
        raise SettingsError(
            f"images of {height} x {width}: generators here make square ones whose side is a"
            " multiple of 4, from 8: pad the images, and let the victim crop them"
        )
    if latent < 1:
        raise SettingsError(f"latent = {latent}: give at least 1")
    make = GENERATORS.get(height, generator_quarter)
    net = initialised(
        lambda: make(channels, height, latent, activation),
        torch_stream(seed, "steal generator net"),
    )
    if positive:
        _cut_negative(net)
    return net


def generator_tiny(channels: int, size: int, latent: int, activation: Activation) -> Generator:
    """For 8 x 8."""
    explore = nn.Sequential(
        nn.Linear(latent, 32 * 2 * 2), nn.Unflatten(1, (32, 2, 2)), nn.BatchNorm2d(32),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.LeakyReLU(0.2),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(32, 16, 3, padding=1), nn.BatchNorm2d(16), nn.LeakyReLU(0.2),
    )  # fmt: skip
    exploit = nn.Sequential(nn.Conv2d(16, channels, 3, padding=1), nn.BatchNorm2d(channels))
    return Generator(explore, exploit, activation, latent)


def generator_28(channels: int, size: int, latent: int, activation: Activation) -> Generator:
    """For 28 x 28; features are 10 x 33 x 33."""
    explore = nn.Sequential(
        nn.Linear(latent, 5 * 4 * 4), nn.Unflatten(1, (5, 4, 4)),
        nn.ConvTranspose2d(5, 10, 5), nn.BatchNorm2d(10), nn.LeakyReLU(0.01),
        nn.ConvTranspose2d(10, 10, 5, stride=4), nn.BatchNorm2d(10), nn.LeakyReLU(0.01),
    )  # fmt: skip
    exploit = nn.Sequential(nn.Conv2d(10, channels, 6), nn.BatchNorm2d(channels))
    return Generator(explore, exploit, activation, latent)


def generator_quarter(channels: int, size: int, latent: int, activation: Activation) -> Generator:
    """For sizes that are a multiple of 4; features are 64 x size x size."""
    start = size // 4
    explore = nn.Sequential(
        nn.Linear(latent, 128 * start * start), nn.Unflatten(1, (128, start, start)),
        nn.BatchNorm2d(128), nn.Upsample(scale_factor=2),
        nn.Conv2d(128, 128, 3, padding=1), nn.BatchNorm2d(128), nn.LeakyReLU(0.2),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(128, 64, 3, padding=1), nn.BatchNorm2d(64), nn.LeakyReLU(0.2),
    )  # fmt: skip
    last = nn.BatchNorm2d(channels, affine=False)
    exploit = nn.Sequential(nn.Conv2d(64, channels, 3, padding=1), last)
    return Generator(explore, exploit, activation, latent)


GENERATORS: dict[int, Callable[[int, int, int, Activation], Generator]] = {
    8: generator_tiny,
    28: generator_28,
}
"""Side of an image -> maker (channels, side, latent, activation); `generator_quarter` elsewhere."""


def initialised(make: Callable[[], Net], generator: torch.Generator) -> Net:
    """The network that `make` gives, its parameters drawn from a generator by PyTorch's laws.

    It is made without memory first, so that nothing is drawn from the global generator. Knows
    dense layers, convolutions and batch normalisation.
    """
    with torch.device("meta"):
        net = make()
    net.to_empty(device=generator.device)
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
            if module.bias is not None:
                fan_in, _ = nn.init._calculate_fan_in_and_fan_out(module.weight)
                bound = 1 / math.sqrt(fan_in)
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_parameters()
    return net


@torch.no_grad()
def _cut_negative(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.weight.clamp_min_(0)
