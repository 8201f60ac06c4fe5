"""How well adversarial examples that were made on a copy deceive the original.

Rule        untargeted: of the images that the victim labels rightly, the share whose label the
            perturbation changes. Targeted: of the images that the victim does not give the target
            anyway, the share that it gives the target afterwards.
Source      The evaluation code of TandemGAN and of DaST. The first takes class 1 for all targets,
            the second draws them.

What makes the examples may be a setting of `perturbations`, an attack of foolbox (give `eps`), an
attack of torchattacks, or any `(x, y) -> x_adv`. The last two hold their model themselves.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fedsec.data.images import Images
from fedsec.errors import DataError, SettingsError
from fedsec.stealing.perturbations import Model, Perturbation

Victim = Callable[[Tensor], Tensor]
"""Images -> labels, probabilities or logits: an oracle, or a network."""


@dataclass(frozen=True)
class Transfer:
    """What adversarial examples did.

    success   share in [0, 1]; NaN where no image counts
    n         images that count: what the share is of
    largest   the largest change of a pixel; an attack may leave its own eps
    targeted  by which rule
    """

    success: float
    n: int
    largest: float
    targeted: bool


def transfer_success(
    substitute: nn.Module,
    victim: Victim,
    images: Images,
    attack: Perturbation | Callable[..., Any],
    *,
    targets: int | Int[Tensor, " sample"] | None = None,
    eps: float | int | None = None,
    generator: torch.Generator | None = None,
    batch: int = 256,
) -> Transfer:
    """Make examples on the substitute, hand them to the victim, and count by the rule above.

    substitute  as it is, in evaluation mode; neither it nor its gradients are touched
    victim      an oracle answers 2 questions an image, and counts them; a network is put into
                evaluation mode for the while
    images      test images with their true labels, in [0, 1]
    targets     the class, or each image's own, for targeted success; None for untargeted
    eps         for a foolbox attack only: others hold theirs
    generator   for attacks that draw, as PGD does

    Raises SettingsError for targets that do not fit, an eps that would not be used or is missing;
    DataError where the attack gives something else than one finite image for each.
    """
    wanted = None if targets is None else _targets(targets, images)
    if batch < 1:
        raise SettingsError(f"batch = {batch}: give at least 1")
    make = crafting(attack, substitute, eps=eps, targeted=wanted is not None, generator=generator)
    ask = answering(victim)
    hits, largest = [], 0.0
    for start in range(0, len(images), batch):
        ids = torch.arange(start, min(start + batch, len(images)), device=images.x.device)
        x, truth = images.x[ids], images.y[ids]
        goal = truth if wanted is None else wanted[ids]
        before = ask(x).to(goal.device)
        counts = before == truth if wanted is None else before != goal
        if not bool(counts.any()):
            continue
        x, goal, before = x[counts], goal[counts], before[counts]
        found = _checked(make(x, goal), x)
        largest = max(largest, float((found - x).abs().max()))
        after = ask(found).to(goal.device)
        hits.append(after != before if wanted is None else after == goal)
    n = sum(len(hit) for hit in hits)
    success = float(torch.cat(hits).double().mean()) if n else float("nan")
    return Transfer(success, n, largest, wanted is not None)


def eps_sweep(
    substitute: nn.Module,
    victim: Victim,
    images: Images,
    attack: Callable[[float], Perturbation | Callable[..., Any]],
    epsilons: Iterable[float],
    *,
    targets: int | Int[Tensor, " sample"] | None = None,
    generator: torch.Generator | None = None,
    batch: int = 256,
) -> list[Transfer]:
    """`transfer_success` at each eps, in their order, of `attack(eps)`.

    For example `lambda eps: Bim(eps=eps, steps=10, step=eps / 4)`. With `FoolboxAttack` another
    library's attack is swept: `lambda eps: FoolboxAttack(attack, eps)`.
    """
    return [
        transfer_success(
            substitute, victim, images, attack(eps),
            targets=targets, generator=generator, batch=batch,
        )
        for eps in epsilons
    ]  # fmt: skip


@dataclass(frozen=True)
class FoolboxAttack:
    """An attack of foolbox at one eps. Its model is the substitute, its images are in [0, 1]."""

    attack: Any
    eps: float | int

    def craft(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        *,
        targeted: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Images held within eps by foolbox. What foolbox draws, it draws from torch's generator.

        Raises SettingsError where the model is not a module, which foolbox needs.
        """
        import foolbox

        if not isinstance(model, nn.Module):
            raise SettingsError(f"foolbox needs a torch module: the model is {type(model)}")
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=x.device)
        goal = foolbox.criteria.TargetedMisclassification if targeted else None
        criterion = foolbox.criteria.Misclassification(y) if goal is None else goal(y)
        _, held, _ = self.attack(wrapped, x, criterion, epsilons=float(self.eps))
        found: Tensor = held
        return found


def crafting(
    attack: Perturbation | Callable[..., Any],
    substitute: nn.Module,
    *,
    eps: float | int | None = None,
    targeted: bool = False,
    generator: torch.Generator | None = None,
) -> Callable[[Tensor, Tensor], Tensor]:
    """Any attack as `(x, y) -> x_adv`, with `y` the labels to leave, or to reach if `targeted`.

    Raises SettingsError as `transfer_success` does.
    """
    if _of(attack, "foolbox"):
        if eps is None:
            raise SettingsError("an attack of foolbox holds no eps: give eps")
        attack = FoolboxAttack(attack, eps)
    elif eps is not None:
        raise SettingsError(f"eps = {eps} has no effect here: the attack holds its own")
    if isinstance(attack, Perturbation):
        model, chosen = frozen(substitute), attack
        return lambda x, y: chosen.craft(model, x, y, targeted=targeted, generator=generator)
    if targeted and getattr(attack, "targeted", True) is False:
        raise SettingsError(
            "this attack leaves labels: call its set_mode_targeted_by_label() for targeted success"
        )
    if not callable(attack):
        raise SettingsError(f"an attack is called as attack(x, y): this is {type(attack)}")
    return attack


def answering(
    victim: Victim,
) -> Callable[[Float[Tensor, "sample channel height width"]], Int[Tensor, " sample"]]:
    """The victim's labels, whatever it answers: labels, or a row a sample whose largest counts."""
    asked = frozen(victim) if isinstance(victim, nn.Module) else victim

    def label(x: Tensor) -> Tensor:
        with torch.no_grad():
            answer = asked(x)
        if answer.ndim == 1 and not answer.is_floating_point():
            return answer
        if answer.ndim != 2:
            raise DataError(
                f"the victim answers {answer.dtype} of shape {tuple(answer.shape)}: labels are"
                " (sample,) whole numbers, probabilities and logits (sample, class)"
            )
        return answer.argmax(dim=1)

    return label


def frozen(net: nn.Module) -> nn.Module:
    """A copy in evaluation mode, whose parameters gather no gradients."""
    return copy.deepcopy(net).eval().requires_grad_(False)


def _targets(targets: int | Tensor, images: Images) -> Tensor:
    if isinstance(targets, int):
        targets = torch.full_like(images.y, targets)
    if targets.shape != images.y.shape:
        raise SettingsError(f"{len(targets)} targets for {len(images)} images: give one each")
    if len(targets) and int(targets.min()) < 0:
        raise SettingsError(f"a target is {int(targets.min())}: classes are numbered from 0")
    return targets.to(images.y.device)


def _checked(found: Tensor, x: Tensor) -> Tensor:
    if not isinstance(found, Tensor) or found.shape != x.shape:
        what = tuple(found.shape) if isinstance(found, Tensor) else type(found)
        raise DataError(f"the attack gives {what} for images {tuple(x.shape)}: give one for each")
    found = found.detach().to(x)
    if not bool(found.isfinite().all()):
        raise DataError("the attack gives pixels that are NaN or infinite")
    return found.clamp(0, 1)


def _of(attack: object, package: str) -> bool:
    """Whether the object's class, or one that it inherits from, is of this package."""
    return any(kind.__module__.split(".")[0] == package for kind in type(attack).__mro__)
