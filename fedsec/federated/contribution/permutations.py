"""What sampled orders of the players have in common: marginals along one, and when to stop."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log

import numpy as np
from jaxtyping import Float

from fedsec.errors import SettingsError
from fedsec.federated.contribution.game import RoundGame


def marginals(
    game: RoundGame, order: Sequence[int], truncation: float
) -> Float[np.ndarray, " player"]:
    """What each player adds when they come in this order: v(with it) - v(those before it).

    As soon as the value of those before differs from v(all) by less than `truncation`, all later
    players get 0 and are not evaluated; with 0 nothing is cut off, and the sum is v(all) - v(none).
    """
    gains = np.zeros(game.n_players)
    full, coalition = game.value(game.everyone), 0
    before = game.value(coalition)
    for player in order:
        if abs(full - before) < truncation:
            break
        coalition |= 1 << player
        after = game.value(coalition)
        gains[player] = after - before
        before = after
    return gains


def running_mean(
    so_far: Sequence[Float[np.ndarray, " player"]], new: Float[np.ndarray, " player"]
) -> Float[np.ndarray, " player"]:
    """The mean that follows the means so far: ((k-1)/k) mean + (1/k) new."""
    return so_far[-1] + (new - so_far[-1]) / (len(so_far) + 1) if so_far else new


def relative_change(new: Float[np.ndarray, " player"], old: Float[np.ndarray, " player"]) -> float:
    """Mean over players of |new - old| / |new|; 0/0 is 0, so a null player does no harm.

    A player whose value is near 0 keeps it large: then the largest number of permutations rules.
    """
    change = np.abs(new - old)
    if np.any((new == 0) & (change > 0)):
        return float("inf")
    return float(np.divide(change, np.abs(new), out=np.zeros(len(new)), where=change > 0).mean())


def permutations_needed(
    n_players: int, largest_marginal: float, error: float, failure: float
) -> int:
    """Enough permutations for a Euclidean error of all values of at most `error`.

    It holds with probability 1 - `failure` if no marginal exceeds `largest_marginal` in absolute
    value: M = (2 r^2 N / error^2) log(2N / failure), from Hoeffding's inequality (GTG-Shapley,
    Liu et al. 2022, arXiv 2109.02053). Raises SettingsError for a number that is not positive.
    """
    if min(n_players, largest_marginal, error, failure) <= 0 or failure >= 1:
        raise SettingsError(
            f"{n_players} players, largest marginal {largest_marginal}, error {error}: all must be"
            f" above 0; and failure {failure} inside (0, 1)"
        )
    n = 2 * largest_marginal**2 * n_players / error**2
    return ceil(n * log(2 * n_players / failure))
