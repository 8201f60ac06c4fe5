"""Victims of the benchmark, one a seed, trained once and kept beside the rows; and their copies.

digits    the package's own recipe: `cnn-bn`, all 1297 training images
fashion   on a CPU a small network of two strided convolutions, on a subset; with `wide` the
          package's `cnn-bn` on all images, for a GPU
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from benchmarks.inversion.cells import Key
from benchmarks.machine import ROOT
from fedsec.core.functional import State, load_state, state_of
from fedsec.core.rng import torch_stream
from fedsec.data.images import ImageData, Images, load_images
from fedsec.nets import make_net
from fedsec.stealing.generators import initialised
from fedsec.stealing.records import predict
from fedsec.stealing.surrogate import Surrogate, resized
from fedsec.stealing.victims import Recipe, recipe_for, train_victim

KEPT = ROOT / "build" / "benchmarks" / "stealing-victims"
SMALL = {"victim": (24, 48), "copy": (16, 32)}  # channels
FASHION_STEPS, FASHION_BATCH, FASHION_LR = 2000, 64, 3e-3
SURROGATES = {"digits": "fashion-mnist", "fashion-mnist": "mnist"}
COPY_SEED = 1_000_003


@functools.cache
def images_for(data: str, limit: int, n_test: int) -> ImageData:
    """A set, of which the first `limit` of a fixed order train; 0 for all."""
    found = load_images(data)
    return ImageData(
        found.name, _some(found.train, limit, "train"), _some(found.test, n_test, "test"),
        found.classes,
    )  # fmt: skip


@functools.cache
def surrogate_for(data: str) -> Surrogate:
    """Images of something else, of the same shape."""
    shape = images_for(data, 0, 0).train.x.shape
    name = SURROGATES[data]
    return Surrogate(resized(load_images(name).train, (shape[1], shape[2], shape[3])), name)


def data_of(key: Key) -> ImageData:
    """The images of a cell, on its device."""
    found = images_for(key["data"], key["limit"], key["test"])
    return ImageData(
        found.name, found.train.to(key["device"]), found.test.to(key["device"]), found.classes
    )


def victim_of(key: Key) -> tuple[nn.Module, State]:
    """The victim of this seed, trained where it is not kept yet."""
    name = f"{key['data']}-{key['net']}-{key['limit']}-{key['seed']}.safetensors"
    path, device = KEPT / name, key["device"]
    net = _victim_net(key)
    if not path.exists():
        state = _trained(net, key)
        KEPT.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{name}.{os.getpid()}")
        _save(part, state)
        os.replace(part, path)
    net.load_state_dict(safetensors.torch.load_file(path))
    net = net.to(device).eval()
    return net, state_of(net)


def copy_of(key: Key, net: str | None = None) -> nn.Module:
    """A copy that has learnt nothing, of the victim's family or of another network."""
    seed, name = key["seed"] + COPY_SEED, net or key["net"]
    if name == "small":
        return _small(key, "copy", seed).to(key["device"])
    return make_net(name, images_for(key["data"], 0, 0), seed).to(key["device"])


def trained_on_real(key: Key, net: str) -> nn.Module:
    """Another network, trained as victims are, from another seed, on the victim's own images."""
    images, seed = data_of(key), key["seed"] + COPY_SEED
    recipe = Recipe(net=net, steps=600 if key["data"] == "digits" else FASHION_STEPS)
    return train_victim(images, seed, recipe)[0]


def labels_by(net: nn.Module, state: State, x: torch.Tensor) -> torch.Tensor:
    """The victim's labels, as its owner gets them."""
    return predict(net, state, x)


def _victim_net(key: Key) -> nn.Module:
    if key["net"] == "small":
        return _small(key, "victim", key["seed"])
    return make_net(key["net"], images_for(key["data"], 0, 0), key["seed"])


def _trained(net: nn.Module, key: Key) -> State:
    images = data_of(key)
    if key["net"] != "small":
        recipe = recipe_for(images)
        made, state = train_victim(
            images, key["seed"], Recipe(net=key["net"], steps=recipe.steps, batch=recipe.batch,
                                        lr=recipe.lr, flipped=recipe.flipped),
        )  # fmt: skip
        return state
    net = net.to(key["device"]).train()
    rng = torch_stream(key["seed"], "benchmark victim")
    adam = torch.optim.Adam(net.parameters(), lr=FASHION_LR)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=FASHION_STEPS)
    for _ in range(FASHION_STEPS):
        rows = torch.randint(len(images.train), (FASHION_BATCH,), generator=rng)
        some = images.train.subset(rows)
        adam.zero_grad()
        nn.functional.cross_entropy(net(some.x), some.y).backward()
        adam.step()
        fall.step()
    return state_of(net)


def _small(key: Key, who: str, seed: int) -> nn.Module:
    """Two strided convolutions with batch normalisation, and a dense layer; for 28 x 28."""
    first, second = SMALL[who]
    n_classes = len(images_for(key["data"], 0, 0).classes)
    return initialised(
        lambda: nn.Sequential(
            nn.Conv2d(1, first, 5, stride=2), nn.BatchNorm2d(first), nn.ReLU(),
            nn.Conv2d(first, second, 3, stride=2, padding=1), nn.BatchNorm2d(second), nn.ReLU(),
            nn.Flatten(), nn.Linear(second * 36, n_classes),
        ),
        torch_stream(seed, f"benchmark {who}"),
    )  # fmt: skip


def _some(images: Images, n: int, purpose: str) -> Images:
    if not n or n >= len(images):
        return images
    order = torch.randperm(len(images), generator=torch_stream(0, f"benchmark {purpose}"))
    return images.subset(order[:n])


def _save(path: Path, state: State) -> None:
    tensors = {**state.parameters, **state.buffers}
    safetensors.torch.save_file(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path
    )


def loaded(net: nn.Module, state: State) -> nn.Module:
    """A network with this state, in evaluation mode."""
    return load_state(net, state).eval()
