"""Analytic: images read off the gradient of a first linear layer, without any search.

Story       with z = W x + b, each unit i has dW[i] = sum_j d[i, j] x_j and db[i] = sum_j d[i, j],
            where d[i, j] is what the loss sends back to it from image j. So dW[i] / db[i] is a mean
            of images, with weights that sum to one and may be negative; of a unit that a single
            image switches on, as ReLU can, it is that image.
One image   exact, from any unit that is on; all units are put together by least squares. It is
            exact for any number of local steps too, with any learning rate.
Batches     what several units agree on is taken to be an image, for mixtures hardly ever agree;
            the units left come after, those first whose ratio is least out of [0, 1]. A candidate
            that is a mixture of better ones is left out.
Limits      of n images, each on at a unit with chance 1/2, a unit has one alone with chance
            n / 2^n at best: wide layers show batches, narrow ones parts of them. Images that are
            alike and of one label switch on the same units by the same amounts, and are seen as
            their mean. With a smooth activation every unit has all images, and a batch shows
            mixtures only; noise on the gradient keeps units from agreeing. `loss` tells how much of
            the gradient the images leave unexplained: 0 for mixtures too, so no proof of success.
Source      Phong et al. (2018), Privacy-preserving deep learning via additively homomorphic
            encryption, section 3; the sorting of candidates is ours.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fedsec.core.functional import Parameters
from fedsec.errors import SettingsError
from fedsec.inversion.attack import Adaptation, Watch
from fedsec.inversion.attacks.knowing import refuse_diffusion
from fedsec.inversion.case import Case, Reconstruction

FAINT = 1e-6  # relative: a unit whose slope is below it is off


@dataclass(frozen=True, eq=False)
class FirstLayerImages:
    """Candidates, the likeliest first.

    x            as computed: a mixture can leave [0, 1]
    n_units      that agree on each
    unexplained  share of the first layer's gradient, by norm, that no mixture of these gives
    """

    x: Float[Tensor, "candidate channel height width"]
    n_units: Int[Tensor, " candidate"]
    unexplained: float


@dataclass(frozen=True, kw_only=True)
class Analytic:
    """Images from the first layer's gradient.

    tolerance  root mean square of pixels within which two units agree, above 0
    """

    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < float("inf"):
            raise SettingsError(f"tolerance = {self.tolerance}: give a number above 0")

    def __call__(
        self,
        case: Case,
        *,
        generator: torch.Generator,
        adapt: Adaptation | None = None,
        watch: Watch | None = None,
    ) -> Reconstruction:
        """The n likeliest images of the first round, grey where fewer are found; draws nothing.

        There is no trial that a defence could be applied to, nor anything to watch: `adapt` and
        `watch` change nothing. Raises SettingsError, naming the layer, where the first one is not a
        linear layer with a bias that sees the image itself.
        """
        refuse_diffusion(case)
        begun = time.perf_counter()
        found = first_layer_images(
            case.observed[0].update.tensors, case.victim.net, case.shape, n=case.n,
            tolerance=self.tolerance,
        )  # fmt: skip
        x = torch.full((case.n, *case.shape), 0.5, device=case.device, dtype=case.dtype)
        x[: len(found.x)] = found.x.clamp(0, 1).to(case.dtype)
        return Reconstruction(
            x=x, labels=None, loss=found.unexplained,
            history=np.full((1, 1), found.unexplained, dtype=np.float32), candidates=x[None],
            best=0, evaluations=0, seconds=time.perf_counter() - begun, stopped="done",
            knowledge=case.knowledge,
        )  # fmt: skip


def first_layer_images(
    gradient: Parameters,
    net: nn.Module,
    shape: tuple[int, int, int],
    *,
    n: int = 1,
    tolerance: float = 1e-4,
) -> FirstLayerImages:
    """At most n images, from a gradient or a change of parameters: its scale does not matter.

    None are found where every unit is off. Raises SettingsError as `Analytic` does.
    """
    name = first_linear(net, shape)
    dw = gradient[f"{name}.weight"].detach().double()
    db = gradient[f"{name}.bias"].detach().double()
    on = db.abs() > FAINT * db.abs().max()
    dw, db = dw[on], db[on]
    if n == 1:
        members = torch.ones(min(1, len(db)), len(db), device=db.device, dtype=db.dtype)
    else:
        members = agreeing(dw / db[:, None], db.abs(), tolerance)
    pooled = members * db
    x = (pooled @ dw) / (pooled @ db)[:, None]  # least squares over the units that agree
    n_units = members.sum(dim=1).long()
    order = likeliest(x, n_units)
    chosen = independent(x[order], n, tolerance)
    x, n_units = x[order][chosen], n_units[order][chosen]
    return FirstLayerImages(x.view(-1, *shape), n_units, unexplained(dw, db, x))


def agreeing(
    ratio: Float[Tensor, "unit pixel"], strength: Float[Tensor, " unit"], tolerance: float
) -> Float[Tensor, "group unit"]:
    """Groups of units whose ratios are alike, each around its strongest unit; 1 for a member."""
    free = torch.ones(len(ratio), dtype=torch.bool, device=ratio.device)
    groups = []
    for unit in strength.argsort(descending=True).tolist():
        if free[unit]:
            apart = (ratio - ratio[unit]).square().mean(dim=1).sqrt()
            members = free & (apart < tolerance)
            members[unit] = True  # it is at a distance of 0, unless it is not finite
            free &= ~members
            groups.append(members)
    return torch.stack(groups).to(ratio.dtype) if groups else ratio.new_zeros(0, len(ratio))


def likeliest(
    x: Float[Tensor, "candidate pixel"], n_units: Int[Tensor, " candidate"]
) -> Int[Tensor, " candidate"]:
    """Their order: those that units agree on by how many, then by how little leaves [0, 1]."""
    outside = (x - x.clamp(0, 1)).square().mean(dim=1)
    by_range = outside.argsort(stable=True)
    return by_range[n_units[by_range].argsort(descending=True, stable=True)]


def independent(
    x: Float[Tensor, "candidate pixel"], n: int, tolerance: float
) -> Int[Tensor, " chosen"]:
    """The first n that are not mixtures of those chosen before, to within the tolerance."""
    chosen: list[int] = []
    basis = x.new_zeros(0, x.shape[1])  # orthonormal: of the differences from the first
    for at, image in enumerate(x):
        if len(chosen) == n:
            break
        left = image - x[chosen[0]] if chosen else image
        left = left - (left @ basis.T) @ basis
        if chosen and left.square().mean().sqrt() < tolerance:
            continue
        if chosen:
            basis = torch.cat([basis, (left / left.norm())[None]])
        chosen.append(at)
    return torch.tensor(chosen, dtype=torch.int64, device=x.device)


def unexplained(
    dw: Float[Tensor, "unit pixel"], db: Float[Tensor, " unit"], x: Float[Tensor, "image pixel"]
) -> float:
    """Share of weight and bias gradient, by norm, that no mixture of the images gives; 0 to 1."""
    given = torch.cat([dw, db[:, None]], dim=1)
    if not len(x) or not len(db):
        return 1.0
    images = torch.cat([x, x.new_ones(len(x), 1)], dim=1)
    left = given - given @ torch.linalg.pinv(images) @ images
    return float(left.norm() / given.norm())


def first_linear(net: nn.Module, shape: tuple[int, int, int]) -> str:
    """The name of the first layer. Raises SettingsError, naming what is there, as `Analytic` does.

    The network, in evaluation mode, is shown an image, to see that the layer is given its pixels in
    their order and nothing else.
    """
    net = copy.deepcopy(net).eval()
    name, layer = next(
        (
            (name, module)
            for name, module in net.named_modules()
            if next(module.parameters(recurse=False), None) is not None
        ),
        ("", net),
    )
    if not isinstance(layer, nn.Linear) or layer.bias is None:
        what = "a Linear without a bias" if isinstance(layer, nn.Linear) else type(layer).__name__
        raise SettingsError(
            f"analytic reads images off a first layer that is Linear with a bias, and {name!r} is"
            f" {what}: use inverting-gradients"
        )
    image = torch.linspace(0, 1, int(np.prod(shape)), dtype=layer.weight.dtype)
    image = image.to(layer.weight.device)
    given: list[Tensor] = []
    layer.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    try:
        with torch.no_grad():
            net(image.expand(2, -1).view(2, *shape))
    except RuntimeError as error:
        raise SettingsError(
            f"images of {' x '.join(map(str, shape))} do not pass through this network:"
            f" {str(error).splitlines()[0]}"
        ) from error
    if not given or given[0].shape != (2, len(image)) or not torch.equal(given[0][0], image):
        raise SettingsError(
            f"analytic reads what layer {name!r} is given, and that is not the image's pixels in"
            " their order: something comes before it; use inverting-gradients"
        )
    return name
