"""Worlds with workers who do not do the work: adversaries, spammers, and those who copy.

Story       adversaries know what an honest worker knows and say the next class instead;
            spammers draw their labels from one distribution whatever the truth;
            members of a ring copy what their leader says (or would say) of an item
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int, Int32

from crowdlearn.errors import SettingsError
from crowdlearn.simulate.dawid_skene import (
    FIVE_VOTES,
    given_workers,
    ranged_confusion,
    worker_stream,
)
from crowdlearn.simulate.world import Assign, World, check_sizes, draw_labels, make_votes, streams


def adversarial(
    n_items: int = 1000,
    n_workers: int = 50,
    n_classes: int = 3,
    *,
    share: float = 0.2,
    accuracy: tuple[float, float] = (0.5, 0.95),
    assign: Assign = FIVE_VOTES,
    seed: int = 0,
) -> World:
    """A Dawid-Skene world in which a share of the workers says the class after the one it means.

    The adversaries are a random set of round(share x n_workers) workers; see `World.honest`.
    """
    check_sizes(n_items, n_workers, n_classes)
    confusion = ranged_confusion(worker_stream(seed), n_workers, n_classes, accuracy)
    honest = _honest(seed, n_workers, share)
    confusion[~honest] = np.roll(confusion[~honest], 1, axis=2)
    world = given_workers(confusion, n_items=n_items, assign=assign, seed=seed)
    return replace(world, honest=honest)


def spammers(
    n_items: int = 1000,
    n_workers: int = 50,
    n_classes: int = 3,
    *,
    share: float = 0.2,
    habit: float = 1.0,
    accuracy: tuple[float, float] = (0.5, 0.95),
    assign: Assign = FIVE_VOTES,
    seed: int = 0,
) -> World:
    """A Dawid-Skene world in which a share of the workers labels without looking.

    Each spammer has its own label distribution ~ Dirichlet(habit): a small `habit` makes workers
    who nearly always say the same, a large one makes uniform clickers.
    """
    if habit <= 0:
        raise SettingsError(f"habit is {habit}: it must be positive")
    check_sizes(n_items, n_workers, n_classes)
    confusion = ranged_confusion(worker_stream(seed), n_workers, n_classes, accuracy)
    honest = _honest(seed, n_workers, share)
    habits = streams(seed, 6)[5].dirichlet(np.full(n_classes, habit), int((~honest).sum()))
    confusion[~honest] = habits[:, None, :]
    world = given_workers(confusion, n_items=n_items, assign=assign, seed=seed)
    return replace(world, honest=honest)


def colluding(
    n_items: int = 1000,
    n_workers: int = 50,
    n_classes: int = 3,
    *,
    n_rings: int = 2,
    ring_size: int = 5,
    copying: float = 0.9,
    accuracy: tuple[float, float] = (0.5, 0.95),
    assign: Assign = FIVE_VOTES,
    seed: int = 0,
) -> World:
    """A Dawid-Skene world with rings: members copy their leader's label with chance `copying`.

    Ring r is the workers r x ring_size and the following; its first is the leader. A leader has one
    opinion of an item, also of one it does not judge. `World.confusion` of a member is the mixture
    of its own and its leader's. Raises SettingsError where the rings need more workers.
    """
    if not 0 <= copying <= 1:
        raise SettingsError(f"copying is {copying}: it is a probability")
    check_sizes(n_items, n_workers, n_classes)
    own = ranged_confusion(worker_stream(seed), n_workers, n_classes, accuracy)
    leader = _rings(n_rings, ring_size, n_workers)
    mixed = np.where((leader == np.arange(n_workers))[:, None, None], 0, copying)
    confusion = (1 - mixed) * own + mixed * own[leader]

    world = given_workers(own, n_items=n_items, assign=assign, seed=seed)
    item, worker, label = world.votes.item, world.votes.worker, world.votes.label.copy()
    rng = streams(seed, 6)[4]
    copies = (leader[worker] != worker) & (rng.random(len(worker)) < copying)
    opinion = _leaders_labels(rng, own, world, leader, np.flatnonzero(copies))
    label[copies] = opinion
    votes = make_votes(item, worker, label, n_items, own)
    return replace(world, votes=votes, confusion=confusion, leader=leader)


def _leaders_labels(
    rng: np.random.Generator,
    own: Float[np.ndarray, "worker class class"],
    world: World,
    leader: Int32[np.ndarray, " worker"],
    copies: Int[np.ndarray, " copy"],
) -> Int32[np.ndarray, " copy"]:
    """What the leader says of each copied item; drawn once where the leader does not judge it."""
    votes, n_workers = world.votes, len(own)
    pair = votes.item.astype(np.int64) * n_workers
    wanted, inverse = np.unique(pair[copies] + leader[votes.worker[copies]], return_inverse=True)
    item, who = np.divmod(wanted, n_workers)
    opinion = draw_labels(rng, own, item.astype(np.int32), who.astype(np.int32), world.truth)
    pair += votes.worker
    said = np.flatnonzero(np.isin(pair, wanted))
    opinion[np.searchsorted(wanted, pair[said])] = votes.label[said]
    return opinion[inverse]


def _honest(seed: int, n_workers: int, share: float) -> np.ndarray:
    """False for a random set of round(share x n_workers) workers."""
    if not 0 <= share <= 1:
        raise SettingsError(f"share is {share}: it must lie in [0, 1]")
    honest = np.ones(n_workers, dtype=bool)
    honest[streams(seed, 5)[4].permutation(n_workers)[: round(share * n_workers)]] = False
    return honest


def _rings(n_rings: int, ring_size: int, n_workers: int) -> Int32[np.ndarray, " worker"]:
    """The leader of every worker; itself outside the rings."""
    if n_rings < 0 or ring_size < 1 or n_rings * ring_size > n_workers:
        raise SettingsError(
            f"{n_rings} rings of {ring_size} need {n_rings * ring_size} of {n_workers} workers: "
            "ask for fewer or smaller rings"
        )
    leader = np.arange(n_workers, dtype=np.int32)
    leader[: n_rings * ring_size] -= leader[: n_rings * ring_size] % ring_size
    return leader
