"""Games that several tests play, and values by brute force."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np

from fedsec.federated.contribution import RoundGame
from fedsec.federated.contribution.permutations import marginals


def table_game(values: Sequence[float] | np.ndarray) -> RoundGame:
    """The game with these values of masks 0, 1, 2, ..."""
    table = [float(value) for value in values]
    return RoundGame(len(table).bit_length() - 1, table.__getitem__)


def random_game(n_players: int, seed: int, offset: float = 0.0) -> RoundGame:
    """Independent normal values of all coalitions."""
    return table_game(offset + np.random.default_rng(seed).standard_normal(1 << n_players))


def additive_game(worth: Sequence[float], base: float = 0.0) -> RoundGame:
    """v(S) = base + what its members are worth."""
    return RoundGame(
        len(worth), lambda mask: base + sum(w for i, w in enumerate(worth) if mask >> i & 1)
    )


def saturating_game(worth: Sequence[float]) -> RoundGame:
    """Like a round of training: the more came before, the less one adds. Any number of players."""
    return RoundGame(
        len(worth),
        lambda mask: float(1 - np.exp(-sum(w for i, w in enumerate(worth) if mask >> i & 1))),
    )


def bumpy_game(n_players: int, seed: int) -> RoundGame:
    """A saturating game with normal noise on every coalition, a tenth of its range."""
    draw = np.random.default_rng(seed)
    smooth = saturating_game(draw.exponential(0.5, n_players).tolist())
    noise = 0.1 * draw.standard_normal(1 << n_players)
    return table_game([smooth.value(mask) + noise[mask] for mask in range(1 << n_players)])


def by_permutations(game: RoundGame) -> np.ndarray:
    """The Shapley value as the mean over all orders."""
    orders = permutations(range(game.n_players))
    return np.mean([marginals(game, order, 0.0) for order in orders], axis=0)


def spread(game: RoundGame) -> float:
    """Largest less least value of a coalition."""
    values = [game.value(mask) for mask in range(1 << game.n_players)]
    return max(values) - min(values)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)
