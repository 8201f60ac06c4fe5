"""Clients that benchmarks attack: a network, images that a seed draws, and what it would send.

Networks are untrained and called in evaluation mode, by clients too, so that batch normalisation
goes by its running statistics. Local steps are plain SGD over the images in their order, each image
in one step. In a second round the client goes on from where it was, with the same images: a server
whose only client it is.
"""

from __future__ import annotations

import os
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.inversion.tiny import CHANNELS
from fedsec.core.functional import Parameters
from fedsec.core.record import Knowledge, Update
from fedsec.core.rng import stream, torch_stream
from fedsec.data.images import ImageData, Images, load_images
from fedsec.inversion.audit.subject import Subject
from fedsec.inversion.case import Observed
from fedsec.inversion.scores import score
from fedsec.inversion.trials import plain_gradient
from fedsec.inversion.victim import Victim, classifier
from fedsec.nets import make_net
from fedsec.nets.residual import resnet

THIN = (8, 16, 32)
"""A residual network for a CPU. Its dense layer sees the last block's whole map: behind a mean over
all places an image of 28 x 28 does not come back within a few hundred iterations."""


def convnet(channels: int, size: int, n_classes: int, width: int = 16) -> nn.Module:
    """Three convolutions with SiLU, the first two of stride 2, and a dense layer."""
    left = -(-size // 4)
    return nn.Sequential(
        nn.Conv2d(channels, width, 5, stride=2, padding=2), nn.SiLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.SiLU(),
        nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.SiLU(),
        nn.Flatten(), nn.Linear(2 * width * left * left, n_classes),
    )  # fmt: skip


@cache
def images_of(name: str) -> ImageData:
    """A set, read once a process; "digits in colour" has each channel thrice, as the notes have."""
    if name == "digits in colour":
        digits = load_images("digits")
        train, test = (
            Images(one.x.repeat(1, CHANNELS, 1, 1), one.y) for one in (digits.train, digits.test)
        )
        return ImageData(name, train, test, digits.classes)
    return load_images(name, os.environ.get("FEDSEC_DATA"))


def net_of(name: str, data: ImageData, seed: int, wide: bool = False) -> nn.Module:
    """ "convnet" and "resnet", thin unless `wide`, or a network of the table."""
    if name not in ("convnet", "resnet"):
        return make_net(name, data, seed)
    _, channels, size, _ = data.train.x.shape
    n_classes = len(data.classes)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(torch_stream(seed, "net").get_state())
        if name == "convnet":
            return convnet(channels, size, n_classes, 64 if wide else 16)
        if wide:
            return resnet(channels, size, n_classes)
        return resnet(channels, size, n_classes, THIN, side=-(-size // 4))


def drawn(data: ImageData, n: int, seed: int, distinct: bool = False) -> Images:
    """Some training images; `distinct` ones have a label each."""
    rng = stream(seed, "images of a client")
    labels = data.train.y.numpy()
    if not distinct:
        return data.train.subset(rng.choice(len(labels), n, replace=False))
    chosen = rng.choice(len(data.classes), n, replace=False)
    return data.train.subset(
        np.array([rng.choice(np.flatnonzero(labels == label)) for label in chosen])
    )


def gradient_at(victim: Victim, images: Images) -> Parameters:
    """Of the mean loss over the images, at the victim's parameters."""
    leaves = {name: value.clone().requires_grad_() for name, value in victim.parameters.items()}
    slopes = plain_gradient(victim.loss, leaves, images.x, images.y)
    return {name: value.detach() for name, value in slopes.items()}


def with_gradient(net: nn.Module, images: Images, n_classes: int) -> Subject:
    """A client that sends one gradient."""
    victim = classifier(net)
    update = Update("gradient", gradient_at(victim, images), 1, 0, len(images))
    labels = tuple(images.y.tolist())
    return Subject(
        victim=victim, observed=(Observed(victim.parameters, update),),
        shape=tuple(images.x.shape[1:]), n=len(images), n_classes=n_classes,
        facts=Knowledge(labels=labels, batch=len(images)), truth=images,
    )  # fmt: skip


def with_steps(
    net: nn.Module, images: Images, n_classes: int, *, steps: int, lr: float, rounds: int = 1
) -> Subject:
    """A client that sends what some local steps changed, in one round or more."""
    device = images.x.device
    victim = classifier(net).to(device)
    batch = len(images) // steps
    order = tuple(tuple(range(at, at + batch)) for at in range(0, len(images), batch))
    seen, at = [], victim
    for number in range(1, rounds + 1):
        after = at.parameters
        for rows in order:
            some = images.subset(torch.tensor(rows))
            slopes = gradient_at(victim.with_parameters(after), some)
            after = {name: value - lr * slopes[name] for name, value in after.items()}
        change = {name: after[name] - value for name, value in at.parameters.items()}
        update = Update("delta", change, number, 0, len(images))
        seen.append(Observed(at.parameters, update))
        at = victim.with_parameters(after)
    return Subject(
        victim=victim, observed=tuple(seen), shape=tuple(images.x.shape[1:]), n=len(images),
        n_classes=n_classes, truth=images,
        facts=Knowledge(
            labels=tuple(images.y.tolist()), lr=lr, steps=steps, batch=batch, order=order
        ),
    )  # fmt: skip


def measures(found: Tensor, truth: Tensor) -> dict[str, list[float]]:
    """Of each image of a client, matched by total MSE."""
    scores = score(found.cpu(), truth.cpu())
    return {"psnr": scores.psnr.tolist(), "ssim": scores.ssim.tolist()}
