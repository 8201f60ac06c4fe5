"""How long should a sweep take on two machines that are far apart? On paper.

The terms were written down before anything was measured, but for one: that a transfer which ends
before the wire is full loses less was added after a small rehearsal. With 20,000 workers it
changes nothing.

In a sweep of Dawid-Skene the actor that is away gets the table of the workers and gives back its
counts. The driver asks it (half a round trip). The actor asks the driver where the table lies (one
round trip), asks for it and gets its first packet (one), then the rest. It computes, and answers
(half). The driver, who knows where the counts lie, asks for them and gets the first packet (one),
then the rest. A connection that was idle starts with `FIRST_PACKETS` and doubles what it sends
every round trip until the wire is full; meanwhile it sends less than the wire would carry.
"""

from __future__ import annotations

import math
from typing import Any

ROUND_TRIPS = 4.0  # 1/2 to ask, 2 for the table, 1/2 to answer, 1 for the counts
PACKET, PAYLOAD = 1500, 1448  # bytes on the wire, and those of them that TCP passes on
FIRST_PACKETS = 10  # of a connection that was idle (RFC 6928)


def predicted_sweep(
    *, down: int, up: int, delay: float, rate: float, compute: float
) -> dict[str, float]:
    """Seconds of a sweep, term by term, and their sum.

    down, up  bytes of the table, and of the counts
    delay     seconds one way
    rate      bits a second
    compute   seconds of a sweep where nothing is far away
    """
    moved = (down + up) * PACKET / PAYLOAD
    terms = {
        "compute": compute,
        "bytes": 8 * moved / rate,
        "round trips": ROUND_TRIPS * 2 * delay,
        "slow start": sum(slow_start(n, 2 * delay, rate) for n in (down, up)),
    }
    return {**terms, "sum": sum(terms.values())}


def slow_start(n_bytes: int, round_trip: float, rate: float) -> float:
    """Seconds that an idle connection loses until it fills the wire, or has sent all.

    The last packets, about half of all, go out without waiting for another round trip.
    """
    full = rate * round_trip / 8 / PACKET  # packets in a round trip
    packets = n_bytes / PAYLOAD
    rounds = math.log2(max(min(full / FIRST_PACKETS, packets / 2 / FIRST_PACKETS + 1), 1))
    sent = FIRST_PACKETS * (2**rounds - 1)
    return (rounds - sent / full) * round_trip


def of_sizes(n_workers: int, n_classes: int) -> dict[str, Any]:
    """Bytes of table and counts of so many workers."""
    n_cells = n_workers * n_classes**2
    return {"down": n_cells * (4 if n_cells >= 1 << 17 else 8), "up": 8 * n_cells}
