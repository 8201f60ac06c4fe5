"""The game of one round: what would the model have been worth, had only these clients sent theirs?

Story       K clients sent updates. A coalition S is a set of them, written as a bit mask: bit i is
            the i-th update. Its model is what the server would have made of their updates alone,
                model(S) = before + sum_{k in S} share_S(k) * delta_k,
            and v(S) is the model's utility; v(nobody) is that of the model before the round.
Paper       The round game of FedSV, Wang et al. (2020), arXiv 2009.06192, with the models weighed
            by data size as in FedEMD, arXiv 2106.10734, section 3.
Weights     They matter: under the plain mean a client with much data is no longer the hardest to
            leave out, and the order of leave-one-out values can turn round.
Memory      One float for every coalition that was asked for, and one matrix of all updates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from fedsec.core.functional import Parameters, State, flatten, unflatten
from fedsec.core.record import Update
from fedsec.data.images import Images
from fedsec.errors import SettingsError, UpdateError
from fedsec.federated.aggregate import Weighting, by_samples
from fedsec.federated.contribution.result import Contribution
from fedsec.metrics.classification import evaluate

Utility = Callable[[State], float]
"""What a model is worth; larger is better."""


class RoundGame:
    """A game of `n_players` whose coalitions' values are computed once and kept.

    Raises SettingsError for less than one player.
    """

    def __init__(self, n_players: int, function: Callable[[int], float]) -> None:
        if n_players < 1:
            raise SettingsError(f"a game of {n_players} players: at least one is needed")
        self.n_players = n_players
        self._function = function
        self._values: dict[int, float] = {}

    @property
    def everyone(self) -> int:
        """The mask of all players."""
        return (1 << self.n_players) - 1

    @property
    def n_evaluations(self) -> int:
        """How many coalitions have been valued so far; what is kept is one float for each."""
        return len(self._values)

    def value(self, mask: int) -> float:
        """v of the players whose bits are set.

        Raises SettingsError for a mask of more players, and UpdateError where a value is not
        finite.
        """
        if mask not in self._values:
            if not 0 <= mask <= self.everyone:
                raise SettingsError(f"coalition {mask:#x} has players beyond the {self.n_players}")
            found = float(self._function(mask))
            if not np.isfinite(found):
                raise UpdateError(
                    f"the model of players {members(mask)} is worth {found}: an update has"
                    " diverged; leave it out, clip it, or lower its learning rate"
                )
            self._values[mask] = found
        return self._values[mask]

    def counted(self) -> RoundGame:
        """The same game with a count of its own, which asks this one for values."""
        return RoundGame(self.n_players, self.value)


@runtime_checkable
class Method(Protocol):
    """Divides what a round gained among its players. `rng` is not touched if nothing is drawn."""

    name: ClassVar[str]

    def __call__(self, game: RoundGame, rng: np.random.Generator) -> Contribution:
        """One value for each player."""


def members(mask: int) -> list[int]:
    """The players of a coalition, in increasing order."""
    return [player for player in range(mask.bit_length()) if mask >> player & 1]


def round_game(
    before: State,
    updates: Sequence[Update],
    utility: Utility,
    weighting: Weighting = by_samples,
) -> RoundGame:
    """The game of the clients that sent these updates to be applied to `before`.

    `weighting` gives the shares within a coalition, as it does for the server. A buffer that an
    update does not carry counts as unchanged; integer buffers are averaged and rounded.

    Raises SettingsError where there is no update or one is a gradient, and UpdateError where one
    is not finite, trained on no sample, or does not have the model's parameters.
    """
    model = coalition_models(before, updates, weighting)
    return RoundGame(len(updates), lambda mask: utility(model(mask)))


def coalition_models(
    before: State, updates: Sequence[Update], weighting: Weighting = by_samples
) -> Callable[[int], State]:
    """Bit mask -> the model of these clients alone; one product of a vector and a matrix each.

    Takes and raises what `round_game` does.
    """
    if not updates:
        raise SettingsError("no update: a round game needs at least one")
    for update in updates:
        _check(update, before)
    changes = torch.stack([_change(update, before) for update in updates])  # (player, entry)
    tensors = _all(before)

    def model(mask: int) -> State:
        inside = members(mask)
        if not inside:
            return before
        shares = torch.zeros(len(updates), dtype=changes.dtype, device=changes.device)
        of = weighting([updates[player] for player in inside])
        shares[inside] = torch.as_tensor(of, dtype=changes.dtype, device=changes.device)
        change = unflatten(shares @ changes, tensors)
        made = [_moved(value, change[name]) for name, value in tensors.items()]
        n = len(before.parameters)
        return State(
            dict(zip(before.parameters, made[:n], strict=True)),
            dict(zip(before.buffers, made[n:], strict=True)),
        )

    return model


def negative_loss(net: nn.Module, images: Images) -> Utility:
    """Utility: minus the mean cross-entropy on these images, in nats; at most 0."""
    return lambda state: -evaluate(net, state, images).loss


def accuracy(net: nn.Module, images: Images) -> Utility:
    """Utility: the share of these images that is classified right, in [0, 1]."""
    return lambda state: evaluate(net, state, images).accuracy


def _check(update: Update, before: State) -> None:
    who = f"client {update.client}, round {update.round}"
    if update.kind != "delta":
        raise SettingsError(
            f"{who}: a {update.kind}; the game needs what local training changed, a delta"
        )
    if update.n < 1:
        raise UpdateError(f"{who}: trained on {update.n} samples; leave it out")
    shapes = {name: value.shape for name, value in update.tensors.items()}
    if shapes != {name: value.shape for name, value in before.parameters.items()}:
        raise UpdateError(f"{who}: its tensors are not those of the model, by name and shape")
    for name, value in update.buffers.items():
        if name not in before.buffers or value.shape != before.buffers[name].shape:
            raise UpdateError(f"{who}: the model has no buffer {name!r} of this shape")
    update.checked()


def _all(state: State) -> Parameters:
    """Parameters, then buffers, under names that cannot meet."""
    return {f"parameter:{name}": value for name, value in state.parameters.items()} | {
        f"buffer:{name}": value for name, value in state.buffers.items()
    }


def _change(update: Update, before: State) -> Tensor:
    """What this client changed, all in one vector, in the order of `_all`."""
    change = {f"parameter:{name}": update.tensors[name] for name in before.parameters}
    for name, value in before.buffers.items():
        change[f"buffer:{name}"] = update.buffers.get(name, value) - value
    floating = next(iter(before.parameters.values())).dtype
    return flatten({name: value.detach().to(floating) for name, value in change.items()})


def _moved(value: Tensor, change: Tensor) -> Tensor:
    if value.is_floating_point():
        return value + change.to(value.dtype)
    return value + change.round().to(value.dtype)
