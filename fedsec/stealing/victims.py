"""Victims: classifiers that are trained here, from a seed, to be stolen.

A recipe for each image set says what is trained and how long, on one CPU core from seconds (digits)
to some ten minutes (CIFAR-10). Images go in as they are, in [0, 1]: a network that wants them
normalised does it inside, so that victims, copies and adversarial examples share one convention.
Published victims (VGG-16, ResNet-34) are larger; any module does for what steals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from fedsec.core.functional import State, state_of
from fedsec.core.rng import torch_stream
from fedsec.data.images import ImageData, Images
from fedsec.errors import SettingsError
from fedsec.nets import make_net

MARGIN = 4  # pixels of zeros around an image that a crop is taken from


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a victim is trained: Adam, at a rate that falls to 0 along a cosine.

    net      of the table NETS
    steps    on `batch` images each, in a new order every epoch
    lr       at the start
    flipped  show crops and mirror images, as is usual for photographs
    """

    net: str = "cnn-bn"
    steps: int = 1000
    batch: int = 64
    lr: float = 3e-3
    flipped: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} = {getattr(self, name)}: give at least 1")
        if not 0 < self.lr < float("inf"):
            raise SettingsError(f"lr = {self.lr}: give a learning rate above 0")


RECIPES = {
    "digits": Recipe(steps=600),
    "mnist": Recipe(steps=2000),
    "fashion-mnist": Recipe(steps=4000),
    "cifar10": Recipe(net="resnet", steps=12000, batch=128, lr=1e-2, flipped=True),
}


def recipe_for(images: ImageData) -> Recipe:
    """Of the set's name; a user's own set is trained as Fashion-MNIST is."""
    return RECIPES.get(images.name, RECIPES["fashion-mnist"])


def train_victim(
    images: ImageData,
    seed: int,
    recipe: Recipe | None = None,
    *,
    progress: Callable[[int, int, float], None] | None = None,
) -> tuple[nn.Module, State]:
    """A network in evaluation mode and its state, trained on the train split, where it lies.

    The same seed gives the same victim, to the bit on one machine's CPU; devices differ. Without a
    recipe the set's own. `progress` is told (step, of how many, loss) every 50 steps.

    Raises SettingsError for an unknown network, DataError where it cannot take the images.
    """
    recipe = recipe_for(images) if recipe is None else recipe
    net = make_net(recipe.net, images, seed).to(images.train.x.device)
    optimizer = torch.optim.Adam(net.parameters(), lr=recipe.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=recipe.steps)
    for made, (x, y) in enumerate(_batches(images.train, recipe, seed), start=1):
        optimizer.zero_grad()
        loss = cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        schedule.step()
        if progress is not None and (made % 50 == 0 or made == recipe.steps):
            progress(made, recipe.steps, float(loss.detach()))
    net.eval()
    return net, state_of(net)


def varied(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each image mirrored or not, and moved by up to four pixels either way; zeros come in."""
    n, _, height, width = x.shape
    mirrored = (torch.rand(n, generator=generator) < 0.5).to(x.device)
    x = torch.where(mirrored.view(n, 1, 1, 1), x.flip(3), x)
    moved = torch.randint(2 * MARGIN + 1, (2, n), generator=generator).to(x.device)
    rows = moved[0, :, None] + torch.arange(height, device=x.device)
    columns = moved[1, :, None] + torch.arange(width, device=x.device)
    framed = pad(x, (MARGIN,) * 4).permute(0, 2, 3, 1)
    sample = torch.arange(n, device=x.device)[:, None, None]
    return framed[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def _batches(images: Images, recipe: Recipe, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Epoch after epoch. A last batch that is smaller is left out, save where it is the only."""
    generator = torch_stream(seed, "victim")
    n, made = len(images), 0
    width = min(recipe.batch, n)
    while True:
        for ids in torch.randperm(n, generator=generator)[: n // width * width].split(width):
            if made == recipe.steps:
                return
            some = images.subset(ids)
            yield (varied(some.x, generator) if recipe.flipped else some.x), some.y
            made += 1
