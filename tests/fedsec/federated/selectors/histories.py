"""Views and rounds for the tests of selectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fedsec.federated.rounds import Probe, Round, View


def maverick() -> np.ndarray:
    """Label counts of 50 clients, 6000 images of each of 10 classes: client 0 owns class 1."""
    share = [len(part) for part in np.array_split(np.arange(6000), 49)]
    counts = np.zeros((50, 10), dtype=np.int64)
    counts[1:] = np.array(share)[:, None]
    counts[:, 1] = 0
    counts[0, 1] = 6000
    return counts


def played(number: int, chosen: Sequence[int], **found: object) -> Round:
    """A round with losses of 1, a second each, unless said otherwise."""
    ones = np.ones(len(chosen))
    values = {
        "n": np.ones(len(chosen), np.int64), "loss": ones, "loss_rms": ones, "seconds": ones
    } | found  # fmt: skip
    return Round(number=number, chosen=np.array(chosen, np.int64), **values)  # type: ignore[arg-type]


def viewed(
    counts: np.ndarray,
    per_round: int,
    rounds: Sequence[Round] = (),
    *,
    loss: Sequence[float] | None = None,
    accuracy: Sequence[float] | None = None,
    number: int | None = None,
) -> View:
    """The view of the round after these; it probes where it is told what a probe finds."""
    zeros = [0.0] * len(counts)

    def probe(ids: np.ndarray) -> list[Probe]:
        return [Probe((loss or zeros)[i], (accuracy or zeros)[i]) for i in ids]

    return View(
        number=number or len(rounds) + 1,
        per_round=per_round,
        counts=counts,
        rounds=tuple(rounds),
        probe=None if loss is None and accuracy is None else probe,
    )


def probes(accuracy: Sequence[float]) -> Mapping[int, Probe]:
    """Of all clients."""
    return {client: Probe(1.0, found) for client, found in enumerate(accuracy)}


def random_view(seed: int, n_clients: int, per_round: int, n_rounds: int) -> View:
    """Any history: read-only arrays, some rounds with probes of some or all, some refused."""
    rng = np.random.default_rng(seed)
    rounds = []
    for number in range(1, n_rounds + 1):
        some = rng.permutation(n_clients)[: rng.choice([0, 1, n_clients])]
        chosen = rng.permutation(n_clients)[:per_round]
        refused = tuple(chosen[: rng.integers(0, 2)].tolist())
        diverged = np.isin(chosen, refused)
        found = {
            "n": rng.integers(1, 50, per_round),
            "loss": np.where(diverged, np.nan, rng.exponential(size=per_round)),
            "loss_rms": np.where(diverged, np.nan, rng.exponential(size=per_round)),
            "seconds": rng.exponential(size=per_round),
            "contribution": rng.normal(size=per_round),
        }
        probed = {int(i): Probe(rng.exponential(), rng.random()) for i in some}
        rounds.append(played(number, chosen.tolist(), probed=probed, refused=refused, **found))
    counts = rng.integers(0, 20, (n_clients, rng.integers(1, 5)))
    counts[np.arange(n_clients), rng.integers(0, counts.shape[1], n_clients)] += 1
    view = viewed(
        counts,
        per_round,
        rounds,
        loss=rng.exponential(size=n_clients).tolist(),
        accuracy=rng.random(n_clients).tolist(),
    )
    for array in arrays_of(view):
        array.flags.writeable = False
    return view


def arrays_of(view: View) -> list[np.ndarray]:
    """All arrays that the view holds."""
    fields = ("chosen", "n", "loss", "loss_rms", "seconds", "contribution")
    held = [getattr(one, name) for one in view.rounds for name in fields]
    return [view.counts, *(array for array in held if array is not None)]
