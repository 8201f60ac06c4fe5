"""Labels read off a gradient of the last layer.

Story       logits are z = W h + b. The gradient of the mean cross-entropy of n images is, for bias
            and weight of class c,
                db[c] = mean_i (p_i[c] - [y_i = c]),  dW[c] = mean_i (p_i[c] - [y_i = c]) h_i,
            where p = softmax(z). So counts = n (mean softmax - db). What is left to guess is the
            mean softmax, which an untrained network gives nearly alike to every image.
One image   db is negative for the true class alone (iDLG: Zhao, Mopuri, Bilen, 2020): exact.
            Without db: sum_c dW[c] = 0 and all rows but the true one point along h. So the true
            one is as long as the others together (ours; exact for 3 classes or more), and where
            h >= 0 it has the one negative sum (iDLG).
Batches     `counts_from_slope` with the softmax of grey images; where the weight's gradient is
            there too, `refined_counts` goes on from it (ours): it alternates between features of
            each class that explain dW, and the softmax that the network gives these. Dividing dW[c]
            by db[c] for the features of a class (iLRG: Ma et al., 2023) fails where db[c] is near
            0, as it is for a class with n / C images of an untrained network.
Minima      GradInversion (Yin et al., 2021): the n classes whose smallest entry of dW is smallest.
            For distinct labels, and h >= 0.

An update of local training, divided by -lr steps, is a mean of such gradients along the way; it is
read as if all were taken at the parameters sent. One image is exact all the same. Where lr or steps
are not known, `scaled=False` finds the scale: a class that has no image has db[c] = mean p[c], and
where there are fewer images than classes there is such a class.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call

from fedsec.core.functional import Parameters
from fedsec.errors import SettingsError, UpdateError
from fedsec.inversion.victim import Victim

GREY_LEVELS = 5  # from black to white: what the network is shown where no image is at hand
SWEEPS = 20
CUT_OFF = 1e-3  # relative singular values below it are noise


@dataclass(frozen=True)
class LastLayer:
    """The linear layer that gives the logits: its name, and those of its parameters."""

    name: str
    weight: str
    bias: str | None


@dataclass(frozen=True, eq=False)
class RecoveredLabels:
    """Labels, sorted, for which image is not told; and the rule that gave them."""

    labels: Int[Tensor, " sample"]
    rule: str


def last_layer(net: nn.Module) -> LastLayer:
    """The last module with parameters, in the order of the network's modules.

    Raises SettingsError, naming what was found, where that is not an `nn.Linear`.
    """
    found = None
    for name, module in net.named_modules():
        if next(module.parameters(recurse=False), None) is not None:
            found = name, module
    if found is None:
        raise SettingsError("labels are read off the last layer, and the network has no parameters")
    name, module = found
    if not isinstance(module, nn.Linear) or "weight" not in module._parameters:
        raise SettingsError(
            f"labels are read off a Linear layer at the end, and this network's last layer with"
            f" parameters, {name!r}, is {type(module).__name__}: give the labels as known"
        )
    path = f"{name}." if name else ""
    return LastLayer(name, f"{path}weight", None if module.bias is None else f"{path}bias")


def recover_labels(
    victim: Victim,
    gradient: Parameters,
    n: int,
    shape: tuple[int, int, int],
    *,
    images: Float[Tensor, "image channel height width"] | None = None,
    scaled: bool = True,
) -> RecoveredLabels:
    """The labels of n images, by the best rule that the gradient allows.

    gradient  of the mean loss, by name; what it lacks of the last layer, or has as zeros only, is
              done without
    images    alike to those looked for, for a better guess of the mean softmax; grey ones if None
    scaled    False where the gradient is known up to a factor only

    Exact for one image. For batches see the module: nearly always right on untrained networks, and
    less so the better the network knows the images. Raises SettingsError where the network does not
    end in a linear layer, UpdateError where the gradient shows nothing of it.
    """
    if n < 1:
        raise SettingsError(f"n = {n}: give the number of images, 1 or more")
    layer = last_layer(victim.net)
    db, dw = _shown(gradient, layer.bias), _shown(gradient, layer.weight)
    if n == 1 and db is not None:
        return _one(idlg_label(db), db, "one image: negative bias gradient")
    if n == 1 and dw is not None:
        if len(dw) > 2:
            return _one(longest_row(dw), dw, "one image: longest row of the weight gradient")
        return _one(idlg_label_from_rows(dw), dw, "one image: negative row of the weight gradient")
    h, p = _seen(victim, layer, _grey(victim, shape) if images is None else images)
    if db is not None:
        slope, rule = db, "counts from the bias gradient"
    elif dw is not None:
        slope, rule = slope_from_rows(dw, h), "counts from the weight gradient"
    else:
        raise UpdateError(
            f"the gradient of the last layer, {layer.name!r}, is missing or zero: no label can be"
            " read off it; give the labels as known"
        )
    factor = 1.0 if scaled else scale_of(slope, p, n)
    counts = nearest_counts(counts_from_slope(factor * slope, p, n), n)
    if dw is not None and db is not None:
        weight, bias = victim.parameters[layer.weight].double(), _bias(victim, layer)
        counts = refined_counts(factor * dw, factor * db, weight, bias, h, counts)
        rule = "counts from the bias gradient, refined by the weight gradient"
    return RecoveredLabels(_listed(counts), rule)


def idlg_label(db: Float[Tensor, " class"]) -> int:
    """The label of one image: softmax - onehot is negative there alone."""
    return int(db.argmin())


def idlg_label_from_rows(dw: Float[Tensor, "class feature"]) -> int:
    """The label of one image whose features are not negative, nor all zero."""
    return int(dw.sum(dim=1).argmin())


def longest_row(dw: Float[Tensor, "class feature"]) -> int:
    """The label of one image, whatever the signs of its features; 3 classes or more."""
    return int(torch.linalg.vector_norm(dw, dim=1).argmax())


def labels_by_minima(dw: Float[Tensor, "class feature"], n: int) -> Int[Tensor, " sample"]:
    """GradInversion's rule: the n classes with the smallest minima. Distinct labels, h >= 0."""
    if n > len(dw):
        raise SettingsError(f"{n} images have no distinct labels of {len(dw)} classes")
    return dw.amin(dim=1).argsort()[:n].sort().values


def counts_from_slope(
    db: Float[Tensor, " class"], softmax: Float[Tensor, " class"], n: int
) -> Float[Tensor, " class"]:
    """How many of n images are of each class, not yet in whole numbers: n (mean softmax - db)."""
    return n * (softmax - db)


def slope_from_rows(
    dw: Float[Tensor, "class feature"], h: Float[Tensor, " feature"]
) -> Float[Tensor, " class"]:
    """What the bias gradient would be, had all images the features h: dW h / |h|^2."""
    return dw @ h / h.square().sum()


def scale_of(db: Float[Tensor, " class"], softmax: Float[Tensor, " class"], n: int) -> float:
    """What a bias gradient of unknown scale must be multiplied with.

    A class without an image has db = softmax times the scale, others less. At least C - n classes
    are without; where n >= C there may be none, and the scale is the largest possible one.
    """
    share = (db / softmax).topk(max(1, len(db) - n)).values.mean()
    if not share > 0:
        raise UpdateError("the last layer's bias gradient has no positive entry: it is none")
    return float(1 / share)


def nearest_counts(estimate: Float[Tensor, " class"], n: int) -> Int[Tensor, " class"]:
    """The whole numbers >= 0 of sum n that are nearest by squares.

    One by one they go where most is missing. Of an estimate >= 0 of sum n it is rounding by largest
    remainders.
    """
    left = estimate.double().cpu().clone()
    counts = torch.zeros(len(left), dtype=torch.int64)
    for _ in range(n):
        most = left.argmax()
        counts[most] += 1
        left[most] -= 1
    return counts.to(estimate.device)


def refined_counts(
    dw: Float[Tensor, "class feature"],
    db: Float[Tensor, " class"],
    weight: Float[Tensor, "class feature"],
    bias: Float[Tensor, " class"],
    h: Float[Tensor, " feature"],
    counts: Int[Tensor, " class"],
) -> Int[Tensor, " class"]:
    """Counts that explain both gradients, from given ones on; `h` is a guess of the mean features.

    All images of a class are taken to have one feature vector: the nearest to h that explain dW
    with the softmax at hand. Their softmax gives new counts. Of all counts seen, those that leave
    least of both gradients unexplained are returned.
    """
    n, identity = int(counts.sum()), torch.eye(len(db), device=db.device, dtype=db.dtype)
    softmax = (weight @ h + bias).softmax(dim=0).repeat(len(db), 1)
    best, least = counts, torch.inf
    for _ in range(SWEEPS):
        of = counts > 0
        share = counts[of, None] / n
        mixing = (share * (softmax[of] - identity[of])).T  # (class, class that has images)
        left = dw - mixing.sum(dim=1, keepdim=True) * h
        features = h + torch.linalg.pinv(mixing, rtol=CUT_OFF) @ left
        softmax[of] = (features @ weight.T + bias).softmax(dim=1)
        mixing = (share * (softmax[of] - identity[of])).T
        unexplained = float(
            (mixing.sum(dim=1) - db).norm() / db.norm()
            + (dw - mixing @ features).norm() / dw.norm()
        )
        if unexplained < least:
            best, least = counts, unexplained
        again = nearest_counts(counts_from_slope(db, (share * softmax[of]).sum(dim=0), n), n)
        if torch.equal(again, counts):
            break
        counts = again
    return best


def _shown(gradient: Parameters, name: str | None) -> Tensor | None:
    """In double precision; None where there is nothing but zeros."""
    if name is None or name not in gradient or not bool(gradient[name].any()):
        return None
    return gradient[name].detach().double()


def _one(label: int, like: Tensor, rule: str) -> RecoveredLabels:
    return RecoveredLabels(torch.tensor([label], device=like.device), rule)


def _listed(counts: Int[Tensor, " class"]) -> Int[Tensor, " sample"]:
    return torch.arange(len(counts), device=counts.device).repeat_interleave(counts)


def _bias(victim: Victim, layer: LastLayer) -> Tensor:
    assert layer.bias is not None
    return victim.parameters[layer.bias].double()


def _grey(victim: Victim, shape: tuple[int, int, int]) -> Tensor:
    like = next(iter(victim.parameters.values()))
    levels = torch.linspace(0, 1, GREY_LEVELS, device=like.device, dtype=like.dtype)
    return levels.view(-1, 1, 1, 1).expand(-1, *shape).contiguous()


def _seen(
    victim: Victim, layer: LastLayer, x: Tensor
) -> tuple[Float[Tensor, " feature"], Float[Tensor, " class"]]:
    """Mean input of the last layer, and mean softmax, over images."""
    kept: list[tuple[Tensor, Tensor]] = []
    module = victim.net.get_submodule(layer.name)
    handle = module.register_forward_hook(lambda _, given, out: kept.append((given[0], out)))
    try:
        with torch.no_grad():
            logits = functional_call(victim.net, (victim.parameters, victim.buffers), (x,))
    finally:
        handle.remove()
    h, out = kept[-1] if kept else (x, x)
    as_given = out.shape == logits.shape and torch.allclose(
        out.log_softmax(dim=-1), logits.log_softmax(dim=-1), atol=1e-4
    )
    if h.ndim != 2 or not as_given:
        raise SettingsError(
            f"labels are read off the layer that gives the logits, and what the network answers is"
            f" not the output of {layer.name!r}, its last Linear: give the labels as known"
        )
    return h.double().mean(dim=0), logits.double().softmax(dim=1).mean(dim=0)
