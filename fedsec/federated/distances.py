"""How far are the labels of each client from those of all, or from those seen so far?

A distance is a function `(counts, q) -> (client,)`. Both sides may be counts or distributions: they
are divided by their sums first, for the sum of all clients is far from every single one. A
normalisation is a function `(distance, counts, q) -> (client,)` that gives the result a scale.

Paper           FedEMD (arXiv 2106.10734v1), section 4 and its supplement, whose working definition
                of the EMD is the l1 distance of two label distributions.
Reconstructed   The printed Norm divides by the samples that a client has of an ordinary class on
                average. Of its possible readings `by_mean` fits the published curves best and
                `by_class_count` next; the plain one would choose a Maverick always or never.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Real

from fedsec.errors import DataError, SettingsError

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (client class), (class) -> (client)
Norm = Callable[[Distance, np.ndarray, np.ndarray], np.ndarray]  # distance and the same -> (client)


def shares(counts: Real[np.ndarray, "... class"]) -> Float[np.ndarray, "... class"]:
    """The label distribution of each row. Raises DataError for a row without samples."""
    total = counts.sum(axis=-1, keepdims=True)
    if not (total > 0).all():
        empty = np.flatnonzero(~(total > 0))[0]
        where = f"client {empty} has" if counts.ndim > 1 else "there are"
        raise DataError(f"{where} no samples: a label distribution needs at least one")
    found: np.ndarray = counts / total
    return found


def l1(
    counts: Real[np.ndarray, "client class"], q: Real[np.ndarray, " class"]
) -> Float[np.ndarray, " client"]:
    """Sum over the classes of the absolute difference of the shares; in [0, 2]."""
    found: np.ndarray = np.abs(shares(counts) - shares(q)).sum(axis=1)
    return found


def tv(
    counts: Real[np.ndarray, "client class"], q: Real[np.ndarray, " class"]
) -> Float[np.ndarray, " client"]:
    """Total variation, half of l1: W1 where two classes are always 1 apart; in [0, 1]."""
    return l1(counts, q) / 2


def w1_ordered(
    counts: Real[np.ndarray, "client class"], q: Real[np.ndarray, " class"]
) -> Float[np.ndarray, " client"]:
    """W1 where the classes are the points 0, 1, 2, ... of a line; in [0, classes - 1]."""
    found: np.ndarray = np.abs(np.cumsum(shares(counts) - shares(q), axis=1)).sum(axis=1)
    return found


def w1_matrix(cost: Real[np.ndarray, "class class"]) -> Distance:
    """The distance W1 where moving one sample from class i to class j costs `cost[i, j]` >= 0.

    Exact, by POT (extra `fedsec`). Raises SettingsError for a negative or infinite cost, and
    ImportError, both at once; the distance raises DataError for another number of classes.
    """
    if not np.isfinite(cost).all() or (cost < 0).any():
        raise SettingsError("cost must be finite and at least 0 for every pair of classes")
    try:
        import ot
    except ImportError as error:
        raise ImportError(
            "a matrix of costs needs POT: pip install 'crowdlearn[fedsec]'"
        ) from error
    costs = np.ascontiguousarray(cost, dtype=np.float64)

    def w1_of_cost(
        counts: Real[np.ndarray, "client class"], q: Real[np.ndarray, " class"]
    ) -> Float[np.ndarray, " client"]:
        if len(costs) != len(q):
            raise DataError(f"cost is of {len(costs)} classes and the labels are of {len(q)}")
        return np.array([ot.emd2(row, shares(q), costs) for row in shares(counts)], np.float64)

    return w1_of_cost


def unscaled(
    distance: Distance,
    counts: Real[np.ndarray, "client class"],
    q: Real[np.ndarray, " class"],
) -> Float[np.ndarray, " client"]:
    """The distance as it is."""
    return distance(counts, q)


def by_mean(
    distance: Distance,
    counts: Real[np.ndarray, "client class"],
    q: Real[np.ndarray, " class"],
) -> Float[np.ndarray, " client"]:
    """The distance over its mean of all clients, so of mean 1; all 0 where nobody is away."""
    far = distance(counts, q)
    return far / far.mean() if far.any() else far


def by_class_count(
    distance: Distance,
    counts: Real[np.ndarray, "client class"],
    q: Real[np.ndarray, " class"],
) -> Float[np.ndarray, " client"]:
    """l1 of the counts themselves to those of an average client, in units of an average client.

    Here a large client is far even where its shares are ordinary. `q` is scaled to the mean number
    of samples of a client, D_g / N; the unit is the number of classes times the samples that a
    client has of a class on average. So it is the third reading in our notes on FedEMD: the printed
    Norm, over the number of classes. The paper takes the average of one random class that no
    Maverick owns; the average of all classes is the same where the classes are equally frequent,
    and needs no one to say who the Mavericks are.

    Raises SettingsError for a distance other than l1: the others need equal totals.
    """
    if distance is not l1:
        raise SettingsError("norm class_count compares counts, as l1 alone can: take norm mean")
    average = counts.sum(axis=1).mean()
    found: np.ndarray = np.abs(counts / average - shares(q)).sum(axis=1)
    return found


DISTANCES: dict[str, Distance] = {"l1": l1, "tv": tv, "w1_ordered": w1_ordered}
NORMS: dict[str, Norm] = {"mean": by_mean, "class_count": by_class_count, "none": unscaled}
