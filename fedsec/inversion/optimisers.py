"""How dummy images move: Adam, Adam by signs, and L-BFGS, each for many restarts at once.

`Separate` moves every variable by an optimiser of its own, and in its own iterations.

Variables are stacked, a restart a row. No restart sees another: Adam works entry by entry, and
L-BFGS keeps a history for each row. So restarts side by side are restarts one after another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import cos, pi
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.linalg import vecdot

from fedsec.errors import SettingsError
from fedsec.inversion.trials import Variables

Losses = Float[Tensor, " restart"]


@runtime_checkable
class Stepper(Protocol):
    """Moves the variables that it was made for, in place."""

    def step(self, losses: Losses, slopes: Variables, share: float) -> None:
        """One step from where `losses` and `slopes` were found; `share` of the run is over."""


@runtime_checkable
class Optimiser(Protocol):
    """Settings of an optimiser."""

    def begin(self, variables: Variables) -> Stepper:
        """A stepper for these variables."""


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adam, with the gradient or only its signs (Geiping et al., 2020).

    lr          in units of the variables
    signed      the gradient's signs stand in for it
    milestones  shares of the run after which the rate falls
    factor      by which it falls
    cosine      instead, the rate falls to 0 along half a cosine
    warm_up     share of the run in which the rate rises from 0
    """

    lr: float = 0.1
    signed: bool = False
    milestones: tuple[float, ...] = (3 / 8, 5 / 8, 7 / 8)
    factor: float = 0.1
    cosine: bool = False
    warm_up: float = 0.0

    def __post_init__(self) -> None:
        _check_rate(self.lr)
        if not 0 < self.factor <= 1:
            raise SettingsError(f"factor = {self.factor}: give a number above 0, and at most 1")

    def rate(self, share: float) -> float:
        """The rate when `share` of the run is over, 0 to 1."""
        rising = min(1.0, share / self.warm_up) if self.warm_up else 1.0
        if self.cosine:
            return self.lr * rising * (1 + cos(pi * share)) / 2
        return self.lr * rising * self.factor ** sum(share >= one for one in self.milestones)

    def begin(self, variables: Variables) -> Stepper:
        """Moments start at zero."""
        return _AdamStepper(self, variables)


class _AdamStepper:
    def __init__(self, settings: Adam, variables: Variables) -> None:
        self._settings, self._variables = settings, variables
        self._adam = torch.optim.Adam(list(variables.values()), lr=settings.lr)

    def step(self, losses: Losses, slopes: Variables, share: float) -> None:
        for group in self._adam.param_groups:
            group["lr"] = self._settings.rate(share)
        for name, value in self._variables.items():
            value.grad = slopes[name].sign() if self._settings.signed else slopes[name]
        self._adam.step()


@dataclass(frozen=True, kw_only=True)
class LBFGS:
    """Limited-memory BFGS without line search, by the rules of `torch.optim.LBFGS`, row by row.

    One rule is another: torch remembers a step where step . change of slope > 1e-10, which small
    losses never reach; here it is where the cosine of the two is.

    lr       of every step but the first, which is shortened to min(1, 1/|slope|_1) of it
    history  pairs of steps and changes of slope that are remembered; a step that one row does not
             remember takes a place in it all the same, where another row does
    flat_slope, flat_change
             a row whose steepest slope, or whose last step or change of loss, is below these has
             arrived, and moves no more. torch's 1e-7 and 1e-9 end one call of its `step`, and the
             next call goes on: so 0 here

    One step is one evaluation: DLG's 300 steps of torch's optimiser are 6,000 of these.
    """

    lr: float = 1.0
    history: int = 100
    flat_slope: float = 0.0
    flat_change: float = 0.0

    def __post_init__(self) -> None:
        _check_rate(self.lr)
        if self.history < 1:
            raise SettingsError(f"history = {self.history}: give at least 1")

    def begin(self, variables: Variables) -> Stepper:
        """No history yet."""
        return _LBFGSStepper(self, variables)


@dataclass(frozen=True, eq=False)
class _Pair:
    """A step and the change of slope that came of it, in every row that remembers them."""

    move: Tensor  # (restart, entry)
    change: Tensor  # (restart, entry)
    weight: Tensor  # (restart,): 1 / (move . change); 0 in a row that does not remember


class _LBFGSStepper:
    def __init__(self, settings: LBFGS, variables: Variables) -> None:
        first = next(iter(variables.values()))
        self._settings, self._variables = settings, variables
        self._pairs: deque[_Pair] = deque(maxlen=settings.history)
        self._scale = torch.ones(len(first), 1, device=first.device, dtype=first.dtype)
        self._moving = torch.ones(len(first), dtype=torch.bool, device=first.device)
        self._last: tuple[Tensor, Tensor, Losses] | None = None  # slope, move, losses

    def step(self, losses: Losses, slopes: Variables, share: float) -> None:
        settings, moving = self._settings, self._moving
        slope = torch.cat([slopes[name].reshape(len(losses), -1) for name in slopes], dim=1)
        moving &= slope.abs().amax(1) > settings.flat_slope
        if self._last is None:
            direction = -slope
            rate = (1 / slope.abs().sum(1)).clamp(max=1) * settings.lr
        else:
            before, move, losses_before = self._last
            moving &= (losses - losses_before).abs() >= settings.flat_change
            moving &= move.abs().amax(1) > settings.flat_change
            self._remember(move, slope - before)
            direction = -self._times_inverse_hessian(slope)
            rate = torch.full_like(losses, settings.lr)
        moving &= vecdot(slope, direction) <= -settings.flat_change
        move = torch.where(moving[:, None], rate[:, None] * direction, 0)
        self._last = slope, move, losses
        widths = [value[0].numel() for value in self._variables.values()]
        for value, part in zip(self._variables.values(), move.split(widths, dim=1), strict=True):
            value += part.reshape(value.shape)

    def _remember(self, move: Tensor, change: Tensor) -> None:
        """A row whose curvature is not positive does not: by its angle, for losses of any scale."""
        curvature = vecdot(move, change)
        kept = (curvature > 1e-10 * move.norm(dim=1) * change.norm(dim=1)) & self._moving
        if not bool(kept.any()):
            return
        self._pairs.append(_Pair(move, change, torch.where(kept, 1 / curvature, 0)))
        scale = (curvature / vecdot(change, change))[:, None]
        self._scale = torch.where(kept[:, None], scale, self._scale)

    def _times_inverse_hessian(self, slope: Tensor) -> Tensor:
        """The two loops over the history, newest first and then oldest first."""
        found, shares = slope, []
        for pair in reversed(self._pairs):
            share = (pair.weight * vecdot(pair.move, found))[:, None]
            shares.append(share)
            found = torch.addcmul(found, share, pair.change, value=-1)
        found = found * self._scale
        for pair, share in zip(self._pairs, reversed(shares), strict=True):
            other = (pair.weight * vecdot(pair.change, found))[:, None]
            found = torch.addcmul(found, share - other, pair.move)
        return found


def always(iteration: int) -> bool:
    """In every iteration."""
    return True


@dataclass(frozen=True, eq=False, kw_only=True)
class Separate:
    """An optimiser for each variable, which may rest.

    of     by the name of the variable; each has one
    moves  iteration from 0 -> whether the variable moves in it, by name; always where it has none.
           An optimiser that rests does not see the slopes
    """

    of: Mapping[str, Optimiser]
    moves: Mapping[str, Callable[[int], bool]] = field(default_factory=dict)

    def begin(self, variables: Variables) -> Stepper:
        """A stepper of each. Raises SettingsError for a variable without an optimiser."""
        missing = [name for name in variables if name not in self.of]
        if missing:
            raise SettingsError(f"no optimiser is given for {', '.join(missing)}")
        return _SeparateStepper(self, variables)


class _SeparateStepper:
    def __init__(self, settings: Separate, variables: Variables) -> None:
        self._steppers = {
            name: settings.of[name].begin({name: value}) for name, value in variables.items()
        }
        self._moves, self._n_steps = settings.moves, 0

    def step(self, losses: Losses, slopes: Variables, share: float) -> None:
        for name, stepper in self._steppers.items():
            if self._moves.get(name, always)(self._n_steps):
                stepper.step(losses, {name: slopes[name]}, share)
        self._n_steps += 1


def _check_rate(lr: float) -> None:
    if not 0 < lr < float("inf"):
        raise SettingsError(f"lr = {lr}: give a learning rate above 0")
