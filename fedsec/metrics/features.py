"""Distances between what a classifier that was trained here sees in images.

Pixels punish a shift by one pixel more than another digit in the same place; features of a
classifier less so. They are taken where the last dense layer takes them (the penultimate layer), of
a small network that `train_features` trains on the data set itself, from a seed.

This is not LPIPS, and not to be compared with it: LPIPS weighs many layers of a network that was
trained on ImageNet, by human judgement. Here nothing is downloaded, and a distance means something
only beside others of the same set, network and seed: `FeatureNet.name` says which.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedsec.core.functional import State, call, state_of
from fedsec.core.rng import torch_stream
from fedsec.data.images import ImageData, Images
from fedsec.errors import DataError, SettingsError
from fedsec.metrics.classification import evaluate
from fedsec.metrics.images import shown
from fedsec.nets import make_net

N_SCALE = 2000  # images, for a mean over two million pairs

_one_at_a_time = Lock()  # hooks sit on the network, which threads may share


@dataclass(frozen=True, eq=False)
class FeatureNet:
    """A trained classifier, asked for its features. `train_features` makes one.

    net        in evaluation mode; used as a function of `state`
    shape      (channel, height, width) of its images
    scale      root mean square distance of two different training images, in units of the features;
               of 2000 that the seed draws, where there are more
    accuracy   on the test set: features of a poor classifier say little
    name       network, set, training and seed, to stand beside every number
    """

    net: nn.Module = field(repr=False)
    state: State = field(repr=False)
    shape: tuple[int, int, int]
    scale: float
    accuracy: float
    name: str

    def features(
        self, x: Float[Tensor, "sample channel height width"], batch: int = 1024
    ) -> Float[Tensor, "sample feature"]:
        """Penultimate features of images as shown: clamped to [0, 1]. No gradients.

        `batch` images at a time; on the device of the network, float32. Raises DataError where
        there are no images, or they are not of the form that it was trained on.
        """
        return _features(self.net, self.state, self.shape, x, batch)

    def distance(
        self,
        found: Float[Tensor, "sample channel height width"],
        truth: Float[Tensor, "sample channel height width"],
    ) -> Float[Tensor, " sample"]:
        """Distance of the features of each pair: 0 for equal ones, 1 as far as two training images.

        Exactly: the Euclidean distance over `scale`, in float64.
        """
        apart = self.features(found).double() - self.features(truth).double()
        return apart.square().sum(dim=1).sqrt() / self.scale


def train_features(
    images: ImageData,
    seed: int,
    *,
    net: str = "cnn",
    steps: int = 400,
    batch: int = 64,
    lr: float = 5e-3,
) -> FeatureNet:
    """Train a network of the table NETS on the train split, where its images lie.

    `steps` steps of Adam on `batch` images each, in an order drawn from the seed, with a rate that
    falls to 0 along a cosine. The same seed gives the same features, to the bit on one machine's
    CPU; devices differ. By default there are 128 for digits, 1024 for 28 x 28, 1600 for 32 x 32. A
    network whose only dense layer is the first ("linear") has the pixels as features.

    Raises SettingsError for settings out of range, DataError where the network cannot take the
    images, or learns features that are all alike or not finite.
    """
    for name, value in (("steps", steps), ("batch", batch)):
        if value < 1:
            raise SettingsError(f"{name} = {value}: give at least 1")
    if not 0 < lr < float("inf"):
        raise SettingsError(f"lr = {lr}: give a learning rate above 0")
    device = images.train.x.device
    trained = make_net(net, images, seed).to(device)
    _train(trained, images.train, seed, steps, batch, lr)
    trained.eval()
    state = state_of(trained)
    _, channels, height, width = images.train.x.shape
    shape = (channels, height, width)
    drawn = torch.randperm(len(images.train), generator=torch_stream(seed, "scale"))[:N_SCALE]
    some = _features(trained, state, shape, images.train.subset(drawn).x, 1024).double()
    spread, length = some.var(dim=0).sum(), some.square().sum(dim=1).mean()
    if not spread > 1e-10 * length:  # so are NaN and infinity
        raise DataError(
            f"{images.name}: the features of the training images are all alike, or not finite: give"
            " another seed, or a lower lr"
        )
    scale = float((2 * spread).sqrt())
    accuracy = evaluate(trained, state, images.test.to(device)).accuracy
    how = f"{steps} steps of {batch}, lr {lr:g}, seed {seed}"
    name = f"penultimate features of {net}, {images.name}, {how}"
    return FeatureNet(trained, state, shape, scale, accuracy, name)


def penultimate(
    net: nn.Module, state: State, x: Float[Tensor, "sample ..."]
) -> Float[Tensor, "sample feature"]:
    """What enters the last Linear layer that is called, for any network; gradients pass.

    Raises DataError where no Linear layer is called, or more comes in than one row an image.
    """
    with _one_at_a_time, _watched(net) as seen:
        call(net, state, x)
    if not seen:
        raise DataError(
            "the network calls no Linear layer, before which its features could be taken: give one"
            " that ends in nn.Linear"
        )
    if seen[-1].shape[:-1] != x.shape[:1]:
        raise DataError(
            f"the last Linear layer takes {tuple(seen[-1].shape)} for {len(x)} images: features are"
            " (sample, feature), so pool or flatten before it"
        )
    return seen[-1]


def _train(net: nn.Module, images: Images, seed: int, steps: int, batch: int, lr: float) -> None:
    """Epoch after epoch in a new order, until the steps are made."""
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    for ids in _batches(len(images), seed, steps, batch):
        some = images.subset(ids)
        optimizer.zero_grad()
        cross_entropy(net(some.x), some.y).backward()
        optimizer.step()
        schedule.step()


def _batches(n: int, seed: int, steps: int, batch: int) -> Iterator[Tensor]:
    """A last batch that is smaller is left out, save where it is the only one."""
    generator = torch_stream(seed, "features")
    width = min(batch, n)
    made = 0
    while made < steps:
        for ids in torch.randperm(n, generator=generator)[: n // width * width].split(width):
            if made == steps:
                return
            yield ids
            made += 1


def _features(
    net: nn.Module, state: State, shape: tuple[int, int, int], x: Tensor, batch: int
) -> Tensor:
    if tuple(x.shape[1:]) != shape or not len(x):
        raise DataError(
            f"images are {tuple(x.shape)}: features are of (sample, {', '.join(map(str, shape))}),"
            " and at least one"
        )
    if batch < 1:
        raise SettingsError(f"batch = {batch}: give at least 1")
    like = next(iter(state.parameters.values()))
    with torch.no_grad():
        parts = [penultimate(net, state, shown(some).to(like)) for some in x.split(batch)]
    return torch.cat(parts)


@contextmanager
def _watched(net: nn.Module) -> Iterator[list[Tensor]]:
    """Within it, the list gains what enters each Linear layer, in the order of the calls."""
    seen: list[Tensor] = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0])

    hooks = [
        module.register_forward_pre_hook(look)
        for module in net.modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
