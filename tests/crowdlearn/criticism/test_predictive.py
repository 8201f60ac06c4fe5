"""Checks flag what a story has wrong, and little else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from crowdlearn.aggregators import aggregator
from crowdlearn.criticism import STATISTICS, check, checks_table
from crowdlearn.criticism.predictive import checks_of
from crowdlearn.errors import SettingsError
from crowdlearn.inference.gibbs_sites import gibbs_sites
from crowdlearn.models import STORIES
from crowdlearn.simulate import colluding, dawid_skene
from crowdlearn.votes import Votes


def checked(votes: Votes, **settings: Any) -> Any:
    """Checks of Dawid-Skene on these votes."""
    sampler = aggregator("bcc-gibbs", diagonal=1.0, n_chains=1, n_warmup=100, n_draws=400, seed=1)
    sites, _ = gibbs_sites(sampler, votes, n_kept=200)
    return check(STORIES["dawid-skene"], votes, sites, **settings)


@pytest.fixture(scope="module")
def honest() -> Any:
    return checked(dawid_skene(300, 15, 3, seed=0).votes)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_workers_who_copy_are_seen_in_the_agreement_of_pairs(seed: int) -> None:
    world = colluding(300, 15, 3, n_rings=2, ring_size=4, seed=seed)
    found = checked(world.votes)["pair-agreement"]
    assert found.misfit and found.p_all < 0.01
    worst = {found.entries[e] for e in np.flatnonzero(found.seen > found.high)}
    ring = {f"{a} and {b}" for r in (0, 4) for a in range(r, r + 4) for b in range(a + 1, r + 4)}
    assert len(worst & ring) >= 10  # of 12 pairs
    assert "as copies" in str(found)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_workers_who_do_not_copy_are_left_in_peace(seed: int, honest: Any) -> None:
    checks = honest if seed == 0 else checked(dawid_skene(300, 15, 3, seed=seed).votes)
    found = checks["pair-agreement"]
    assert not found.misfit and found.p_all > 0.1
    assert found.n_outside <= 0.1 * len(found.entries)


def test_p_values_are_uniform_where_votes_are_one_of_the_replicates(
    world: tuple[Votes, np.ndarray],
) -> None:
    votes, rng = world[0], np.random.default_rng(0)
    some = {name: STATISTICS[name] for name in ("agreement", "worker-labels")}
    p, joint = [], []
    for _ in range(200):
        labels = rng.integers(0, 3, (40, votes.n_votes))
        seen = Votes.from_codes(
            votes.item, votes.worker, rng.integers(0, 3, votes.n_votes),
            items=120, workers=12, classes=3,
        )  # fmt: skip
        found = checks_of(seen, labels, some)
        p.append(found["agreement"].p[0])
        joint.append(found["worker-labels"].p_all)
    for values in (np.array(p), np.array(joint)):
        assert np.mean(values <= 0.2) == pytest.approx(0.2, abs=0.1)
        assert np.mean(values <= 0.6) == pytest.approx(0.6, abs=0.12)


def test_every_statistic_is_there_and_in_the_table(honest: Any) -> None:
    assert set(honest) == set(STATISTICS)
    table = checks_table(honest)
    assert table.num_rows == sum(len(c.entries) for c in honest.values())
    assert table.column_names == ["statistic", "entry", "seen", "mean", "low", "high", "p"]
    for c in honest.values():
        assert (c.low <= c.mean + 1e-9).all() and (c.mean <= c.high + 1e-9).all()
        assert ((c.p > 0) & (c.p <= 1)).all()


def test_a_check_can_be_read(honest: Any) -> None:
    assert str(honest["pair-agreement"]).startswith("pair-agreement: 5 of 105 outside")
    assert "predicted" in str(honest["agreement"])


def test_a_statistic_without_entries_is_left_out(tiny: Votes) -> None:
    labels = np.tile(tiny.label, (25, 1))
    found = checks_of(tiny, labels)
    assert set(found) == {"agreement", "alpha", "unanimous", "class-share"}
    assert_allclose(found["agreement"].p, 1)
    assert found["agreement"].p_all == 1


def test_too_few_draws_are_refused(tiny: Votes) -> None:
    sites = {"prior": np.ones((1, 5, 2)) / 2, "confusion": np.ones((1, 5, 3, 2, 2)) / 2}
    with pytest.raises(SettingsError, match="500 replicates of 5 draws: at least 20"):
        check(STORIES["bcc"], tiny, sites)
