"""The time steps of a diffusion client, read off its gradient: no search, no images needed.

Story       the first layer that sees the time is a = W e(t) + b, where e is a fixed embedding. With
            d_i what the loss sends back to it from image i,
                dW = sum_i d_i e(t_i)^T,    db = sum_i d_i
One image   e(t) = dW^T db / |db|^2: compared with the T known embeddings it says which step it was,
            whatever the image, the noise and the rest of the network are.
Batches     the rows of dW span the embeddings of the batch's steps. Those embeddings that lie in
            that span are its steps; `scores` says how much of each lies outside. With r different
            steps the rank is r, and any r up to the width of the embedding, less one, are read.
Repeats     images that share a step are one term of the sum: the rank is then lower than the number
            of images, and how many images have which step cannot be told from this layer. So
            `t` holds every step once, and `assignments` what the batch may be.
Scale       does not matter: a change of parameters after one local step does as well, and one of
            several steps shows the steps of all of them, nearly.
Source      ours; no publication is known to have it. Checked against every step of a schedule.
Limits      noise on the gradient fills the span: with n images the n strongest directions are then
            taken, and scores are no longer near 0. A sparsified gradient may have lost the layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations_with_replacement

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fedsec.core.functional import Parameters
from fedsec.errors import SettingsError, UpdateError

NAMES = ("time_layer", "embed_time")  # what our networks say of themselves
DIFFUSERS = ("time_proj", "time_embedding.linear_1")  # what those of diffusers are called
CLEAR = 0.1  # the worst step that is taken scores below this share of the best that is not


@dataclass(frozen=True, eq=False)
class TimeLayer:
    """The first layer that sees the time.

    name   of the layer, a Linear: its parameters are NAME.weight and, if it has one, NAME.bias
    embed  steps (sample,) -> what the layer is given, (sample, feature)
    """

    name: str
    embed: Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Timesteps:
    """What a gradient says of the time steps.

    t         the different steps of the batch, rising
    n         images of the batch
    rank      of the layer's gradient, at most n: so many different steps it shows
    scores    of every step of the schedule: squared share of its embedding that the gradient does
              not explain, 0 for a step of the batch
    """

    t: tuple[int, ...]
    n: int
    rank: int
    scores: Float[Tensor, " step"]

    @property
    def repeats(self) -> int:
        """Images whose step another image has too, as far as the rank tells."""
        return self.n - self.rank

    @property
    def clear(self) -> bool:
        """Whether the steps that were taken stand out from all others."""
        ordered = self.scores.sort().values
        if len(ordered) == self.rank:
            return True
        return bool(ordered[self.rank - 1] < CLEAR * ordered[self.rank])

    def assignments(self) -> list[tuple[int, ...]]:
        """The steps that the n images may have, each rising: one where no step is repeated."""
        return [
            tuple(sorted((*self.t, *more)))
            for more in combinations_with_replacement(self.t, self.repeats)
        ]

    def __str__(self) -> str:
        said = f"t = {', '.join(map(str, self.t))}"
        if self.repeats:
            said += f"; of {self.n} images, {self.repeats} share a step with another one"
        return said if self.clear else f"{said}; other steps fit nearly as well"


def recover_timesteps(
    gradient: Parameters,
    layer: TimeLayer,
    steps: int,
    n: int = 1,
    *,
    time_map: Int[Tensor, " step"] | None = None,
    tolerance: float = 3e-7,
) -> Timesteps:
    """The steps of n images, from a gradient or a change of parameters.

    steps      T, of the schedule
    time_map   what the network is told in place of each step, where that is something else
    tolerance  singular values below this share of the largest count as 0. Rounding in single
               precision leaves 2e-8 of it; a late step, whose loss weighs little, 4e-6

    Raises UpdateError where the gradient has no such layer, or it is 0; SettingsError where n is
    below 1, or so large that any step would fit.
    """
    if n < 1:
        raise SettingsError(f"n = {n}: give the number of images, 1 or more")
    dw, db = _of_layer(gradient, layer.name)
    told = torch.arange(steps) if time_map is None else time_map
    known = layer.embed(told).detach().to(dw)  # (step, feature)
    if known.shape[1] != dw.shape[1]:
        raise UpdateError(
            f"{layer.name}.weight takes {dw.shape[1]} features, and the embedding has"
            f" {known.shape[1]}: is it another layer?"
        )
    if n == 1 and db is not None:
        scores = _of_one(dw, db, known)
        return Timesteps((int(scores.argmin()),), 1, 1, scores)
    _, values, directions = torch.linalg.svd(dw, full_matrices=False)
    rank = min(int((values > tolerance * values[0]).sum()), n)
    most = int(torch.linalg.matrix_rank(known, rtol=tolerance))
    if rank >= most:
        raise SettingsError(
            f"{n} images, and the embeddings of {steps} steps span {most} dimensions: any step"
            " would fit; a batch must be smaller than that"
        )
    inside = known @ directions[:rank].T @ directions[:rank]
    scores = (known - inside).square().sum(dim=1) / known.square().sum(dim=1)
    chosen = scores.argsort(stable=True)[:rank]
    return Timesteps(tuple(sorted(chosen.tolist())), n, rank, scores)


def time_layer_of(net: nn.Module) -> TimeLayer:
    """The time layer of a network of ours, or of one that diffusers makes.

    Raises SettingsError, which says what would do, for any other.
    """
    for name, module in net.named_modules():
        front = f"{name}." if name else ""
        if all(hasattr(module, one) for one in NAMES):
            return TimeLayer(f"{front}{module.time_layer}", module.embed_time)
        embed = getattr(module, DIFFUSERS[0], None)
        if isinstance(embed, nn.Module) and _has(module, DIFFUSERS[1]):
            return TimeLayer(f"{front}{DIFFUSERS[1]}", embed)
    raise SettingsError(
        f"{type(net).__name__} does not say where it is told the time: give TimeLayer(name of the"
        " first Linear that sees it, function that embeds it)"
    )


def _of_layer(gradient: Parameters, name: str) -> tuple[Tensor, Tensor | None]:
    """Weight and bias, in double precision."""
    if f"{name}.weight" not in gradient:
        raise UpdateError(f"there is no {name}.weight in this update; is it of another network?")
    dw = gradient[f"{name}.weight"].detach().double()
    db = gradient.get(f"{name}.bias")
    if dw.ndim != 2 or not bool(dw.any()):
        what = "is 0" if dw.ndim == 2 else f"has {dw.ndim} axes"
        raise UpdateError(f"{name}.weight {what} in this update: it says nothing of the time")
    return dw, db.detach().double() if db is not None and bool(db.any()) else None


def _of_one(
    dw: Float[Tensor, "unit feature"], db: Float[Tensor, " unit"], known: Float[Tensor, "step _"]
) -> Float[Tensor, " step"]:
    seen = dw.T @ db / db.square().sum()
    return (known - seen).square().sum(dim=1) / known.square().sum(dim=1)


def _has(module: nn.Module, name: str) -> bool:
    try:
        return isinstance(module.get_submodule(name), nn.Linear)
    except AttributeError:
        return False
