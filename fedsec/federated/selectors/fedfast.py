"""FedFast: one client of each kind.

Story           Cluster the clients by what they know into as many clusters as clients are chosen;
                choose one at random of each. A Maverick is a cluster of its own, so it takes part
                in every round.
Paper           Muhammad et al. (2020), KDD, doi 10.1145/3394486.3403176, ActvSAMP; reduced to the
                selection rule as in FedEMD (arXiv 2106.10734v1), section 5.
Reconstructed   The representation: label distributions, where FedFast takes parts of the model.
                How many of each cluster where there are fewer clusters than clients to choose:
                one each, the rest in proportion to their sizes (D'Hondt).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int64

from fedsec.federated.distances import shares
from fedsec.federated.rounds import View
from fedsec.federated.selectors.checks import check_settings, check_view


@dataclass(frozen=True, kw_only=True)
class FedFast:
    """A random client of each of K clusters of label distributions.

    n_restarts   of k-means, of which the one with the least squared distance counts
    max_sweeps   of k-means at most, in each restart
    """

    needs_contribution: ClassVar[bool] = False
    needs_probe: ClassVar[bool] = False

    n_restarts: int = 4
    max_sweeps: int = 100

    def __post_init__(self) -> None:
        check_settings(self, n_restarts=(1, math.inf), max_sweeps=(1, math.inf))

    def __call__(self, view: View, rng: np.random.Generator) -> Int64[np.ndarray, " chosen"]:
        """The ids, cluster by cluster.

        Raises SettingsError for more clients than there are, DataError for an empty client.
        """
        check_view(view)
        points = shares(view.counts)
        runs = [
            k_means(points, view.per_round, rng, max_sweeps=self.max_sweeps)
            for _ in range(self.n_restarts)
        ]
        cluster = min(runs, key=lambda found: spread(points, found))
        places = seats(np.bincount(cluster), view.per_round)
        members = [np.flatnonzero(cluster == c) for c in range(len(places))]
        chosen = [rng.choice(m, n, replace=False) for m, n in zip(members, places, strict=True)]
        return np.concatenate(chosen).astype(np.int64)


def k_means(
    points: Float[np.ndarray, "client class"],
    k: int,
    rng: np.random.Generator,
    *,
    max_sweeps: int = 100,
) -> Int64[np.ndarray, " client"]:
    """The cluster of each client, 0, 1, ...: at most k, fewer where fewer points differ.

    Lloyd's algorithm from k-means++ (Arthur and Vassilvitskii, 2007, SODA).
    """
    centres = points[[rng.integers(len(points))]]
    while len(centres) < k:
        nearest = _squared(points, centres).min(axis=1)
        if not nearest.any():
            break
        far = rng.choice(len(points), p=nearest / nearest.sum())
        centres = np.concatenate([centres, points[[far]]])
    cluster = _squared(points, centres).argmin(axis=1)
    for _ in range(max_sweeps):
        centres = np.array([points[cluster == c].mean(axis=0) for c in np.unique(cluster)])
        nearer = _squared(points, centres).argmin(axis=1)
        if (nearer == cluster).all():
            break
        cluster = nearer
    return np.unique(cluster, return_inverse=True)[1].astype(np.int64)


def spread(
    points: Float[np.ndarray, "client class"], cluster: Int64[np.ndarray, " client"]
) -> float:
    """Sum of the squared distances of the points to the means of their clusters."""
    means = np.array([points[cluster == c].mean(axis=0) for c in np.unique(cluster)])
    return float(((points - means[cluster]) ** 2).sum())


def seats(sizes: Int64[np.ndarray, " cluster"], k: int) -> Int64[np.ndarray, " cluster"]:
    """How many of the k places each cluster gets: one, then by D'Hondt, at most its size."""
    given = np.ones(len(sizes), dtype=np.int64)
    while given.sum() < k:
        given[np.argmax(np.where(given < sizes, sizes / (given + 1), 0))] += 1
    return given


def _squared(
    points: Float[np.ndarray, "client class"], centres: Float[np.ndarray, "cluster class"]
) -> Float[np.ndarray, "client cluster"]:
    columns = [((points - centre) ** 2).sum(axis=1) for centre in centres]  # no (client, k, class)
    return np.stack(columns, axis=1)
