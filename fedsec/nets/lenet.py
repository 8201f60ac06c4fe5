"""The network of deep leakage from gradients: smooth, so that L-BFGS can follow its gradients.

Shape       three 5 x 5 convolutions of 12 channels with strides 2, 2, 1, each with a sigmoid; dense
Start       weights and biases U(-0.5, 0.5): with the usual small ones the sigmoids pass on little
Paper       Zhu, Liu and Han (2019), arXiv 1906.08935, and its code, for CIFAR images.
"""

from __future__ import annotations

from torch import nn

WIDTH = 12
BOUND = 0.5


def lenet_sigmoid(channels: int, size: int, n_classes: int) -> nn.Module:
    """8,026 parameters for digits, 13,426 for 28 x 28, 15,826 for CIFAR-10."""
    left = -(-size // 4)  # halved twice, rounded up
    net = nn.Sequential(
        nn.Conv2d(channels, WIDTH, 5, stride=2, padding=2),
        nn.Sigmoid(),
        nn.Conv2d(WIDTH, WIDTH, 5, stride=2, padding=2),
        nn.Sigmoid(),
        nn.Conv2d(WIDTH, WIDTH, 5, padding=2),
        nn.Sigmoid(),
        nn.Flatten(),
        nn.Linear(WIDTH * left * left, n_classes),
    )
    for parameter in net.parameters():
        nn.init.uniform_(parameter, -BOUND, BOUND)
    return net
