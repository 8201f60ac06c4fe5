"""Small networks that can be differentiated twice. `NETS` names them; `make_net` makes one.

A maker is a function `(channels, size, n_classes) -> nn.Module` of square images, whose output is
`(sample, class)` logits. It draws its parameters from torch's global generator, as all modules of
torch do; `make_net` puts a stream of our own in its place. None has drop-out, so a network computes
the same in every call; max pooling, ReLU and normalisation all have second derivatives (almost
everywhere), which inversion needs.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

import torch
from torch import nn

from fedsec.core.rng import torch_stream
from fedsec.data.images import ImageData
from fedsec.errors import DataError, SettingsError
from fedsec.nets.cnn import cnn, cnn_bn, cnn_gn
from fedsec.nets.deep import cnn3, cnn6
from fedsec.nets.dense import linear, mlp
from fedsec.nets.lenet import lenet_sigmoid
from fedsec.nets.residual import resnet

NETS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "linear": linear,
    "mlp": mlp,
    "cnn": cnn,
    "cnn-bn": cnn_bn,
    "cnn-gn": cnn_gn,
    "cnn3": cnn3,
    "cnn6": cnn6,
    "lenet-sigmoid": lenet_sigmoid,
    "resnet": resnet,
}

_one_at_a_time = Lock()


def make_net(name: str, images: ImageData, seed: int) -> nn.Module:
    """A network of the table for these images, in training mode, on the CPU, in float32.

    The modules of torch draw from its global generator and take no other. So that generator is
    forked: it holds our stream (seed, "net") while the network is made, and what it held before
    afterwards. A lock keeps networks that are made in several threads from mixing their draws.

    Raises SettingsError for an unknown name, DataError where images are not square, or too small.
    """
    if name not in NETS:
        raise SettingsError(f"there is no network {name!r}: choose from {', '.join(NETS)}")
    _, channels, height, width = images.train.x.shape
    if height != width:
        raise DataError(
            f"{images.name}: images are {height} x {width}: networks here need square ones, so pad"
            f" to {max(height, width)} x {max(height, width)}"
        )
    with _one_at_a_time, torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(torch_stream(seed, "net").get_state())
        return NETS[name](channels, height, len(images.classes))
