"""A utility matrix of low rank is recovered from the coalitions that rounds show of it."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fedsec.errors import SettingsError
from fedsec.federated.contribution import ComFedSV, FedSV, PlayedRound, RoundGame, SampledComFedSV
from fedsec.federated.contribution.completed import complete, fronts, observe, ridge_step
from tests.fedsec.federated.contribution.games import rng

N_CLIENTS, N_ROUNDS = 5, 24


def world(rank: int, seed: int = 0) -> tuple[np.ndarray, list[PlayedRound]]:
    """Utilities U[t, S] of low rank; all clients in the first `rank` rounds, 3 of 5 in the rest."""
    draw = rng(seed)
    coalitions = draw.standard_normal((1 << N_CLIENTS, rank))
    coalitions[0] = 0
    utility = (1 + draw.random((N_ROUNDS, rank))) @ coalitions.T
    rounds = []
    for t in range(N_ROUNDS):
        chosen = draw.permutation(N_CLIENTS)[: N_CLIENTS if t < rank else 3]
        rounds.append(PlayedRound(seen_by(utility[t], chosen), chosen))
    return utility, rounds


def seen_by(row: np.ndarray, chosen: np.ndarray) -> RoundGame:
    """The chosen clients' game; the model before the round is worth -3."""
    clients = chosen.tolist()

    def value(mask: int) -> float:
        inside = sum(1 << client for player, client in enumerate(clients) if mask >> player & 1)
        return float(row[inside]) - 3

    return RoundGame(len(clients), value)


def by_formula(utility: np.ndarray) -> np.ndarray:
    """(1/N) sum_t sum_{S without i} C(N-1, |S|)^-1 (U[t, S + i] - U[t, S])."""
    total = utility.sum(axis=0)
    values = np.zeros(N_CLIENTS)
    for client in range(N_CLIENTS):
        for mask in range(1 << N_CLIENTS):
            if not mask >> client & 1:
                share = 1 / comb(N_CLIENTS - 1, mask.bit_count()) / N_CLIENTS
                values[client] += share * (total[mask | 1 << client] - total[mask])
    return values


@pytest.mark.parametrize("rank", [1, 2])
def test_recovers_a_utility_of_low_rank(rank: int) -> None:
    utility, rounds = world(rank)
    columns = list(range(1, 1 << N_CLIENTS))
    known, seen, _ = observe(rounds, columns, N_CLIENTS)
    assert seen.mean() < 0.4
    assert_allclose(known[seen], utility[:, 1:][seen], atol=1e-12)
    found = complete(known, seen, rank=rank, ridge=1e-7, n_sweeps=300)
    assert_allclose(found.completed(), utility[:, 1:], atol=1e-3 * np.abs(utility).max())


@pytest.mark.parametrize("rank", [1, 2])
def test_values_are_those_of_the_whole_matrix(rank: int) -> None:
    utility, rounds = world(rank)
    expected = by_formula(utility)
    found = ComFedSV(rank=rank, ridge=1e-7, n_sweeps=300)(rounds, N_CLIENTS, rng())
    assert_allclose(found.values, expected, atol=1e-2 * np.abs(expected).max())
    assert found.values.sum() == pytest.approx(utility[:, -1].sum(), rel=1e-2)
    assert found.n_evaluations == rank * 32 + (N_ROUNDS - rank) * 8


def test_where_all_are_chosen_always_it_is_fedsv() -> None:
    utility, _ = world(2)
    rounds = [PlayedRound(seen_by(row, np.arange(5)), np.arange(5)) for row in utility]
    found = ComFedSV(rank=2, ridge=1e-9, n_sweeps=100)(rounds, 5, rng())
    assert_allclose(found.values, FedSV()(rounds, 5, rng()).values, rtol=1e-4)


def test_twins_get_the_same_where_fedsv_depends_on_who_was_chosen() -> None:
    """Two clients of the same data, one chosen in every round and one in the first only."""
    worth = np.array([1.0, 1.0, 0.5])
    coalitions = [1 - np.exp(-worth[[bool(m >> i & 1) for i in range(3)]].sum()) for m in range(8)]
    rows = np.linspace(1, 2, 10)[:, None] * np.array(coalitions)
    rounds = [
        PlayedRound(seen_by(row, chosen), chosen)
        for t, row in enumerate(rows)
        for chosen in [np.array([0, 1, 2]) if t == 0 else np.array([0, 2])]
    ]
    completed = ComFedSV(rank=1, ridge=1e-6)(rounds, 3, rng()).values
    assert completed[0] == pytest.approx(completed[1], rel=1e-3)
    summed = FedSV()(rounds, 3, rng()).values
    assert summed[0] > 5 * summed[1]


def test_sampled_orders_agree_with_all_coalitions() -> None:
    utility, rounds = world(1)
    expected = by_formula(utility)
    method = SampledComFedSV(n_permutations=400, rank=1, ridge=1e-7, n_sweeps=100)
    found = method(rounds, N_CLIENTS, rng())
    assert (np.abs(found.values - expected) < 4 * found.standard_error).all()
    assert found.standard_error.max() < 0.1 * np.ptp(utility.sum(axis=0))
    assert found.values.sum() == pytest.approx(utility[:, -1].sum(), rel=1e-2)
    assert found.n_permutations == 400


def test_sampled_orders_serve_many_clients() -> None:
    """30 clients: columns are the fronts of 20 orders, never 2**30."""
    n = 30
    chosen = [np.arange(n), *(rng(t).permutation(n)[:4] for t in range(9))]
    rounds = [
        PlayedRound(RoundGame(len(ids), lambda mask: float(mask.bit_count())), ids)
        for ids in chosen
    ]
    found = SampledComFedSV(n_permutations=20, rank=1, ridge=1e-6)(rounds, n, rng())
    assert_allclose(found.values, 10, rtol=1e-2)
    assert found.n_evaluations <= 20 * n + 1 + 9 * 16


def test_the_unit_of_the_utility_does_not_matter() -> None:
    utility, rounds = world(2)
    scaled = [
        PlayedRound(RoundGame(one.game.n_players, lambda mask, g=one.game: 1e-3 * g.value(mask)),
                    one.chosen)
        for one in rounds
    ]  # fmt: skip
    first, second = (ComFedSV(rank=2)(part, 5, rng()).values for part in (rounds, scaled))
    assert_allclose(1e-3 * first, second, rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_one_round_of_all_clients_is_enough_for_rank_one(seed: int) -> None:
    """Whatever the draw of games and choices: the sweeps do not get stuck."""
    utility, rounds = world(1, seed)
    expected = by_formula(utility)
    found = ComFedSV(rank=1, ridge=1e-7)(rounds, N_CLIENTS, rng())
    assert_allclose(found.values, expected, atol=1e-4 * np.abs(expected).max())


def test_a_sweep_never_raises_the_objective() -> None:
    draw = rng(4)
    target, seen = draw.standard_normal((12, 9)), draw.random((12, 9)) < 0.5
    seen[0] = True
    known, ridge = np.where(seen, target, 0), 0.3
    columns = draw.standard_normal((9, 3))
    before = np.inf
    for _ in range(20):
        rows = ridge_step(known, seen, columns, ridge)
        columns = ridge_step(known.T, seen.T, rows, ridge)
        misfit = ((known - rows @ columns.T)[seen] ** 2).sum()
        objective = misfit + ridge * ((rows**2).sum() + (columns**2).sum())
        assert objective <= before + 1e-12
        before = objective


def test_fronts_of_orders() -> None:
    assert fronts([[2, 0, 1], [2, 1, 0]]) == [0b100, 0b101, 0b111, 0b110]


def test_what_cannot_be_completed_is_refused() -> None:
    _, rounds = world(1)
    with pytest.raises(SettingsError, match="choose all clients in one round"):
        ComFedSV()(rounds[1:], N_CLIENTS, rng())
    with pytest.raises(SettingsError, match="no round"):
        ComFedSV()([], N_CLIENTS, rng())
    with pytest.raises(SettingsError, match="use SampledComFedSV"):
        ComFedSV()(rounds, 11, rng())
    for bad in ({"rank": 0}, {"ridge": 0.0}, {"n_sweeps": 0}):
        with pytest.raises(SettingsError, match="ridge"):
            ComFedSV(**bad)
    with pytest.raises(SettingsError, match="at least 2"):
        SampledComFedSV(n_permutations=1)
