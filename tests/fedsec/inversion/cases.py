"""Cases that tests attack: small networks, digits, and what a client of theirs sends."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fedsec.core.record import Knowledge, Update
from fedsec.data.images import Images, load_images
from fedsec.inversion.case import Case, Observed
from fedsec.inversion.trials import plain_gradient
from fedsec.inversion.victim import Victim, classifier

DIGITS = load_images("digits")
SHAPE = (1, 8, 8)


def smooth_net(seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Two convolutions with a sigmoid, and a dense layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.Sigmoid(), nn.Conv2d(6, 6, 3, stride=2, padding=1),
            nn.Sigmoid(), nn.Flatten(), nn.Linear(96, 10),
        )  # fmt: skip
        for parameter in net.parameters():
            nn.init.uniform_(parameter, -0.5, 0.5)
    return net.to(dtype)


def digits(ids: Sequence[int], dtype: torch.dtype = torch.float64) -> Images:
    """Some digits of the training set."""
    chosen = DIGITS.train.subset(torch.tensor(ids))
    return Images(chosen.x.to(dtype), chosen.y)


def of_gradient(
    net: nn.Module, images: Images, knowledge: Knowledge | None = None, *, known: bool = True
) -> Case:
    """The gradient of all images at once; labels known, unless told otherwise."""
    victim = classifier(net)
    sent = {name: value.clone().requires_grad_() for name, value in victim.parameters.items()}
    slopes = plain_gradient(victim.loss, sent, images.x, images.y)
    update = Update(
        kind="gradient", tensors={name: value.detach() for name, value in slopes.items()}, round=1,
        client=0, n=len(images),
    )  # fmt: skip
    labels = tuple(images.y.tolist()) if known else None
    return Case(
        victim=victim, observed=(Observed(victim.parameters, update),), shape=SHAPE,
        n=len(images), n_classes=10, knowledge=knowledge or Knowledge(labels=labels),
    )  # fmt: skip


def local_steps(
    victim: Victim, images: Images, lr: float, batches: Sequence[Sequence[int]]
) -> dict[str, Tensor]:
    """Parameters after SGD, by torch's own optimiser."""
    leaves = {name: value.clone().requires_grad_() for name, value in victim.parameters.items()}
    sgd = torch.optim.SGD(list(leaves.values()), lr=lr)
    for batch in batches:
        sgd.zero_grad()
        rows = torch.tensor(batch)
        victim.loss(leaves, images.x[rows], images.y[rows]).backward()
        sgd.step()
    return {name: value.detach() for name, value in leaves.items()}


def of_local_steps(
    net: nn.Module, images: Images, lr: float, batches: Sequence[Sequence[int]], n_rounds: int = 1
) -> Case:
    """What a client sends after local steps; in later rounds it goes on from where it was."""
    victim = classifier(net)
    seen, at = [], victim
    for number in range(1, n_rounds + 1):
        after = local_steps(at, images, lr, batches)
        delta = {name: after[name] - value for name, value in at.parameters.items()}
        update = Update(kind="delta", tensors=delta, round=number, client=0, n=len(images))
        seen.append(Observed(at.parameters, update))
        at = at.with_parameters(after)
    return Case(
        victim=victim, observed=tuple(seen), shape=SHAPE, n=len(images), n_classes=10,
        knowledge=Knowledge(
            labels=tuple(images.y.tolist()), steps=len(batches), lr=lr,
            order=tuple(map(tuple, batches)), batch=max(map(len, batches)),
        ),
    )  # fmt: skip


def generator(seed: int = 0) -> torch.Generator:
    """A stream of its own."""
    return torch.Generator().manual_seed(seed)
