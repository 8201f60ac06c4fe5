"""A small residual network: eight layers, with batch normalisation.

Shape       conv; three blocks of two 3 x 3 convolutions with a way past them, the second and third
            with stride 2; mean over places; dense. Batch normalisation after every convolution
Paper       He, Zhang, Ren and Sun (2016), Deep residual learning for image recognition, CVPR: the
            shape of section 4.2 (for CIFAR-10) with one block a width.
Departures  Where the width changes, the way past a block is a 1 x 1 convolution with normalisation,
            as in the paper's networks for ImageNet; its own for CIFAR-10 pads with zeros.
"""

from __future__ import annotations

from torch import Tensor, nn

WIDTHS = (16, 32, 64)


class Block(nn.Module):
    """ReLU(x + f(x)), where f is conv, norm, ReLU, conv, norm."""

    def __init__(self, seen: int, width: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            *_normalised(seen, width, 3, stride), nn.ReLU(), *_normalised(width, width, 3, 1)
        )
        same = stride == 1 and seen == width
        self.past = nn.Identity() if same else nn.Sequential(*_normalised(seen, width, 1, stride))
        self.last = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """The images' features after this block."""
        found: Tensor = self.last(self.past(x) + self.path(x))
        return found


def resnet(
    channels: int, size: int, n_classes: int, widths: tuple[int, ...] = WIDTHS, side: int = 1
) -> nn.Module:
    """One block a width. 77,754 parameters for digits or 28 x 28, 78,042 for CIFAR-10.

    The dense layer sees means over side x side fields of the image; the paper's is one field.
    """
    layers: list[nn.Module] = [*_normalised(channels, widths[0], 3, 1), nn.ReLU()]
    seen = widths[0]
    for place, width in enumerate(widths):
        layers.append(Block(seen, width, stride=2 if place else 1))
        seen = width
    dense = nn.Linear(seen * side**2, n_classes)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(side), nn.Flatten(), dense)


def _normalised(seen: int, width: int, kernel: int, stride: int) -> list[nn.Module]:
    """A convolution that keeps the size at stride 1, without a bias, and its normalisation."""
    convolution = nn.Conv2d(seen, width, kernel, stride, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(width)]
