"""Soteria: the features that say most about the images are cut from one layer's gradient.

Story       the gradient of the last dense layer's weight is a sum of outer products with what goes
            into that layer, the features r(x): it shows them. For every feature the client asks how
            much it answers to the images, |d r_i / dx| / |r_i|. Those where that is least would,
            if perturbed, move a reconstruction furthest; their columns of that one gradient are
            set to 0, and everything else is sent as it is.
Paper       Sun, Li, Wang, Yang, Yang, Li, Chen (2021), Soteria, CVPR (arXiv 2012.06043), its
            approximation for L0-bounded perturbations; shares seen in code: 0.01 and 0.1.
Departures  A batch has one set of features: the ratio is averaged over the images that switch the
            feature on. A feature that is 0 for all images comes last: its column is 0 already, and
            the formula, 0 / 0, says nothing. After local training the same columns of the change
            are cut, chosen at the parameters that were sent.

What it reads   the network in evaluation mode, the parameters and buffers that the server sent,
                and the client's own images; no labels. So it is no map of updates: it makes one,
                `CutFeatures`, which is. `own_data.DefendedClients` does so for each client.
What is left    all other gradients. An attacker who leaves the layer or the columns out of the
                comparison loses little: Balunović, Dimitrov, Staab, Vechev (2022), Bayesian
                framework for gradient leakage, ICLR, rebuild images in spite of it. The bias of
                the layer is sent whole, so labels show too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fedsec.core.functional import State, call
from fedsec.core.record import Update
from fedsec.errors import DataError, SettingsError, UpdateError
from fedsec.federated.privacy.sparsify import largest

AT_ONCE = 32  # features that are differentiated together


@dataclass(frozen=True, eq=False)
class CutFeatures:
    """A defence: set columns of one weight to 0.

    tensor  name of the weight, (output, feature)
    kept    the features whose columns stay
    """

    tensor: str
    kept: Bool[Tensor, " feature"]

    def __call__(self, update: Update, generator: torch.Generator) -> Update:
        """The update without those columns. Draws nothing.

        Raises UpdateError where it has no such tensor, or one of another width.
        """
        found = update.checked().tensors.get(self.tensor)
        if found is None or found.ndim != 2 or found.shape[1] != len(self.kept):
            raise UpdateError(
                f"client {update.client}, round {update.round}: there is no weight {self.tensor!r}"
                f" of {len(self.kept)} features; is the update of another network?"
            )
        cut = torch.where(self.kept.to(found.device), found, torch.zeros_like(found))
        return replace(update, tensors={**update.tensors, self.tensor: cut})


@dataclass(frozen=True, kw_only=True)
class Soteria:
    """Choose the features to cut, from a client's own images.

    share  of the features, in (0, 1]; ceil(share * features) are cut, read as `TopK` reads it
    """

    share: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise SettingsError(f"Soteria: share {self.share} is not in (0, 1]")

    def __call__(self, net: nn.Module, state: State, x: Float[Tensor, "sample ..."]) -> CutFeatures:
        """What this client does to its update. Needs a backward pass for each feature.

        Raises SettingsError where the network does not end in a dense layer that is given one row
        an image, DataError where there are no images.
        """
        tensor, answer = answers(net, state, x)
        n_cut = ceil(Fraction(str(self.share)) * len(answer))
        return CutFeatures(tensor, ~largest(-answer, n_cut))


def answers(
    net: nn.Module, state: State, x: Float[Tensor, "sample ..."]
) -> tuple[str, Float[Tensor, " feature"]]:
    """The weight of the last dense layer, by name, and |d r_i / dx| / |r_i| of each feature.

    The mean over the images with r_i != 0; infinite where there are none.
    """
    if not len(x):
        raise DataError("Soteria: the client has no images to choose the features by")
    net = copy.deepcopy(net).eval().requires_grad_(False)
    x = x.detach().clone().requires_grad_()
    layer, features = _last_dense(net, state, x)
    slopes = torch.cat(
        [_slopes(features, x, ids) for ids in torch.arange(features.shape[1]).split(AT_ONCE)]
    ).T  # (sample, feature)
    size = features.detach().abs()
    on = size > 0
    ratio = torch.where(on, slopes / torch.where(on, size, torch.ones_like(size)), 0)
    mean = ratio.sum(dim=0) / on.sum(dim=0)
    return f"{layer}.weight".lstrip("."), torch.where(on.any(dim=0), mean, float("inf"))


def _slopes(
    features: Float[Tensor, "sample feature"], x: Float[Tensor, "sample ..."], ids: Tensor
) -> Float[Tensor, "some sample"]:
    """|d r_i / dx| of every image, for some features i.

    The derivative of a sum over images is each image's own: evaluation mode mixes none.
    """
    one_hot = torch.zeros(len(ids), *features.shape, dtype=features.dtype, device=features.device)
    one_hot[torch.arange(len(ids)), :, ids] = 1
    (found,) = torch.autograd.grad(
        features, x, one_hot, retain_graph=True, is_grads_batched=True
    )  # fmt: skip
    return found.flatten(2).norm(dim=2)


def _last_dense(
    net: nn.Module, state: State, x: Tensor
) -> tuple[str, Float[Tensor, "sample feature"]]:
    """Name and input of the last dense layer that is called."""
    called: list[tuple[str, Tensor]] = []

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            called.append((name, given[0]))

        return hook

    handles = [
        module.register_forward_pre_hook(keep(name))
        for name, module in net.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        call(net, state, x)
    finally:
        for handle in handles:
            handle.remove()
    if not called:
        raise SettingsError("Soteria: the network has no dense layer (nn.Linear) to defend")
    name, features = called[-1]
    if features.ndim != 2 or len(features) != len(x):
        raise SettingsError(
            f"Soteria: layer {name!r} is given {tuple(features.shape)} for {len(x)} images; it"
            " needs one row of features an image"
        )
    return name, features
