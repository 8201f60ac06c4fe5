"""ComFedSV: what clients would have contributed had they been chosen in every round.

Story       U[t, S] is what coalition S of all N clients would have gained in round t. It is known
            where all of S were chosen, and taken to be of low rank: U[t, S] ~ w_t . h_S.
Inference   min sum_{known} (U[t, S] - w_t . h_S)^2 + ridge (|W|^2 + |H|^2) by alternating least
            squares; then Shapley values of the completed rows, summed over rounds:
                s_i = (1/N) sum_t sum_{S without i} C(N-1, |S|)^-1 w_t . (h_{S+i} - h_S).
            The values are linear in the game, so one game with values (sum_t w_t) . h_S is enough.
            For many clients only coalitions at the front of sampled orders are columns.
Paper       Fan, Fang, Zhou, Pei, Friedlander, Liu and Zhang (2022), arXiv 2109.09046.
Departures  Utilities are scaled to a root mean square of 1 for the completion, so that `ridge`
            means the same in any unit. Nobody's gain is 0 and no column. Ranks are added one by
            one: from a random start the sweeps get stuck, for coalitions that only one round
            shows fit whatever that round's factor is, and hold it where it happens to be.
Needs       A round with all clients ("everyone heard"): else some coalitions were never seen. With
            rank r a coalition is determined only if seen in r rounds or more, whose w_t differ;
            the ridge decides the rest. The error of the completion is in no standard error.
Memory      Rounds times columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float

from fedsec.errors import SettingsError
from fedsec.federated.contribution.exact import shapley
from fedsec.federated.contribution.game import RoundGame
from fedsec.federated.contribution.monte_carlo import standard_error
from fedsec.federated.contribution.per_round import PlayedRound
from fedsec.federated.contribution.permutations import marginals
from fedsec.federated.contribution.result import Contribution, about, exactly, half_width


@dataclass(frozen=True, eq=False)
class Factors:
    """A matrix of low rank: `rounds @ coalitions.T`."""

    rounds: Float[np.ndarray, "round rank"]
    coalitions: Float[np.ndarray, "coalition rank"]

    def completed(self) -> Float[np.ndarray, "round coalition"]:
        """All its entries."""
        return self.rounds @ self.coalitions.T


def complete(
    utility: Float[np.ndarray, "round coalition"],
    seen: Bool[np.ndarray, "round coalition"],
    *,
    rank: int,
    ridge: float,
    n_sweeps: int,
) -> Factors:
    """Fit a matrix of low rank to the entries that were seen; the others are not looked at.

    Ranks come one by one, each with `n_sweeps`: the first starts from rounds that are all alike, a
    later one from what is left over. Nothing is drawn. Raises SettingsError where a coalition was
    never seen.
    """
    if not seen.any(axis=0).all():
        raise SettingsError(
            f"{int((~seen.any(axis=0)).sum())} of {seen.shape[1]} coalitions were in no round:"
            " choose all clients in one round, usually the first"
        )
    known = np.where(seen, utility, 0.0)
    scale = float(np.sqrt((known**2).sum() / seen.sum())) or 1.0
    known = known / scale
    rounds = np.ones((len(known), 1))
    coalitions = ridge_step(known.T, seen.T, rounds, ridge)
    for new in range(rank):
        if new:
            left = np.where(seen, known - rounds @ coalitions.T, 0.0)
            direction, size, _ = np.linalg.svd(left, full_matrices=False)
            rounds = np.column_stack([rounds, np.sqrt(size[0]) * direction[:, 0]])
            coalitions = ridge_step(known.T, seen.T, rounds, ridge)
        for _ in range(n_sweeps):
            rounds = ridge_step(known, seen, coalitions, ridge)
            coalitions = ridge_step(known.T, seen.T, rounds, ridge)
    return Factors(rounds, scale * coalitions)


def ridge_step(
    known: Float[np.ndarray, "row column"],
    seen: Bool[np.ndarray, "row column"],
    other: Float[np.ndarray, "column rank"],
    ridge: float,
) -> Float[np.ndarray, "row rank"]:
    """The best factor of every row, given that of every column; `known` is 0 where not seen."""
    n_columns, rank = other.shape
    products = (other[:, :, None] * other[:, None, :]).reshape(n_columns, rank**2)
    gram = (seen.astype(float) @ products).reshape(-1, rank, rank) + ridge * np.eye(rank)
    return np.linalg.solve(gram, (known @ other)[:, :, None])[:, :, 0]


@dataclass(frozen=True, kw_only=True)
class ComFedSV:
    """From all coalitions of all clients; errors of 0, for nothing is drawn.

    rank, n_sweeps  at least 1
    ridge           above 0, relative to utilities of root mean square 1

    Raises SettingsError for a setting out of range, more than `max_clients`, or a coalition that
    was in no round. Of each round all coalitions are evaluated.
    """

    name: ClassVar[str] = "comfedsv"
    rank: int = 3
    ridge: float = 1e-3
    n_sweeps: int = 50
    max_clients: int = 10

    def __post_init__(self) -> None:
        _check(self.rank, self.ridge, self.n_sweeps)

    def __call__(
        self, rounds: Iterable[PlayedRound], n_clients: int, rng: np.random.Generator
    ) -> Contribution:
        """One value for each of `n_clients`."""
        if n_clients > self.max_clients:
            raise SettingsError(
                f"{n_clients} clients have {2**n_clients} coalitions, too many (at most"
                f" {self.max_clients} clients): use SampledComFedSV"
            )
        columns = list(range(1, 1 << n_clients))
        utility, seen, n_evaluations = observe(rounds, columns, n_clients)
        factors = complete(utility, seen, rank=self.rank, ridge=self.ridge, n_sweeps=self.n_sweeps)
        values = shapley(total_game(factors, columns, n_clients))
        return exactly(self, values, n_evaluations)


@dataclass(frozen=True, kw_only=True)
class SampledComFedSV:
    """From the coalitions at the front of sampled orders of all clients.

    The standard error is that of the mean over orders with the completed matrix taken as known.

    n_permutations  at least 2
    rank, n_sweeps  at least 1
    ridge           above 0, relative to utilities of root mean square 1

    Raises SettingsError for a setting out of range or a coalition that was in no round. Of each
    round those coalitions are evaluated that are at the front of an order.
    """

    name: ClassVar[str] = "comfedsv-sampled"
    n_permutations: int = 100
    rank: int = 3
    ridge: float = 1e-3
    n_sweeps: int = 50

    def __post_init__(self) -> None:
        _check(self.rank, self.ridge, self.n_sweeps)
        if self.n_permutations < 2:
            raise SettingsError(f"n_permutations is {self.n_permutations}: at least 2")

    def __call__(
        self, rounds: Iterable[PlayedRound], n_clients: int, rng: np.random.Generator
    ) -> Contribution:
        """One value for each of `n_clients`."""
        orders = [rng.permutation(n_clients).tolist() for _ in range(self.n_permutations)]
        columns = fronts(orders)
        utility, seen, n_evaluations = observe(rounds, columns, n_clients)
        factors = complete(utility, seen, rank=self.rank, ridge=self.ridge, n_sweeps=self.n_sweeps)
        game = total_game(factors, columns, n_clients)
        drawn = np.stack([marginals(game, order, 0.0) for order in orders])
        error = standard_error(drawn)
        width = half_width(error, np.full(n_clients, len(orders) - 1.0))
        return about(self, drawn.mean(axis=0), error, width, n_evaluations, len(orders))


def fronts(orders: Iterable[Sequence[int]]) -> list[int]:
    """The different coalitions that are the first players of an order, without the empty one."""
    found: dict[int, None] = {}
    for order in orders:
        mask = 0
        for player in order:
            mask |= 1 << player
            found[mask] = None
    return list(found)


def observe(
    rounds: Iterable[PlayedRound], columns: Sequence[int], n_clients: int
) -> tuple[Float[np.ndarray, "round coalition"], Bool[np.ndarray, "round coalition"], int]:
    """Gains of the coalitions of clients that can be seen, which these are, and evaluations.

    A coalition is seen in a round if all its clients were chosen; entries not seen are 0. Raises
    SettingsError where there is no round.
    """
    utility, seen, n_evaluations = [], [], 0
    for one in rounds:
        bits = {int(client): player for player, client in enumerate(one.within(n_clients))}
        chosen = sum(1 << client for client in bits)
        game = one.game.counted()
        can = [mask & ~chosen == 0 for mask in columns]
        gains = np.zeros(len(columns))
        for column, mask in enumerate(columns):
            if can[column]:
                inside = sum(1 << player for client, player in bits.items() if mask >> client & 1)
                gains[column] = game.value(inside) - game.value(0)
        utility.append(gains)
        seen.append(np.array(can))
        n_evaluations += game.n_evaluations
    if not utility:
        raise SettingsError("no round: at least one is needed, with all clients")
    return np.stack(utility), np.stack(seen), n_evaluations


def total_game(factors: Factors, columns: Sequence[int], n_clients: int) -> RoundGame:
    """The game of all clients whose value is the completed gain, summed over rounds."""
    gains = factors.coalitions @ factors.rounds.sum(axis=0)
    place = {mask: column for column, mask in enumerate(columns)}
    return RoundGame(n_clients, lambda mask: float(gains[place[mask]]) if mask else 0.0)


def _check(rank: int, ridge: float, n_sweeps: int) -> None:
    if min(rank, n_sweeps) < 1 or not ridge > 0:
        raise SettingsError(f"rank {rank}, n_sweeps {n_sweeps}: at least 1; ridge {ridge}: above 0")
