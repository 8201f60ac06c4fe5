"""How long should a sweep take on two machines that are far apart? On paper.

The terms were written down before anything was measured, but for two. That a transfer which ends
before the wire is full loses less was added after a small rehearsal; with 20,000 workers it changes
nothing. That a connection forgets its window only by and by was added after a measurement of 5,000
workers, which took 0.64 of what a start from scratch in every sweep would take.

In a sweep of Dawid-Skene the actor that is away gets the table of the workers and gives back its
counts. The driver asks it (half a round trip). The actor asks the driver where the table lies (one
round trip), asks for it and gets its first packet (one), then the rest. It computes, and answers
(half). The driver, who knows where the counts lie, asks for them and gets the first packet (one),
then the rest. Each way is idle while the other one is used. Linux halves a connection's window for
every retransmission timeout that it was idle (RFC 2861), down to `FIRST_PACKETS`; from there it
doubles every round trip until the wire is full, and meanwhile sends less than the wire would carry.
"""

from __future__ import annotations

import math
from typing import Any

ROUND_TRIPS = 4.0  # 1/2 to ask, 2 for the table, 1/2 to answer, 1 for the counts
PACKET, PAYLOAD = 1500, 1448  # bytes on the wire, and those of them that TCP passes on
FIRST_PACKETS = 10  # of a connection that was idle for long (RFC 6928)
ROUNDS = 40  # of the search for a sweep's own length
LEAST_PATIENCE = 0.2  # seconds beside a round trip until a packet counts as lost (Linux)


def predicted_sweep(
    *, down: int, up: int, delay: float, rate: float, compute: float
) -> dict[str, float]:
    """Seconds of a sweep, term by term, and their sum.

    down, up  bytes of the table, and of the counts
    delay     seconds one way
    rate      bits a second
    compute   seconds of a sweep where nothing is far away
    """
    wire = {n: 8 * n * PACKET / PAYLOAD / rate for n in (down, up)}
    terms = {
        "compute": compute,
        "bytes": wire[down] + wire[up],
        "round trips": ROUND_TRIPS * 2 * delay,
    }
    total = rest = sum(terms.values())
    for _ in range(ROUNDS):  # how long a way is idle depends on the sweep
        lost = sum(slow_start(n, 2 * delay, rate, total - wire[n]) for n in (down, up))
        total = (total + rest + lost) / 2
    return {**terms, "slow start": total - rest, "sum": total}


def slow_start(n_bytes: int, round_trip: float, rate: float, idle: float) -> float:
    """Seconds that a connection loses, after `idle` seconds, until it fills the wire or is done.

    The last packets, about half of all, go out without waiting for another round trip.
    """
    full = rate * round_trip / 8 / PACKET  # packets in a round trip
    halvings = max(idle / (round_trip + LEAST_PATIENCE) - 0.5, 0)  # none before the first is over
    first = min(max(full / 2**halvings, FIRST_PACKETS), full)
    packets = n_bytes / PAYLOAD
    rounds = math.log2(max(min(full / first, packets / 2 / first + 1), 1))
    sent = first * (2**rounds - 1)
    return (rounds - sent / full) * round_trip


def of_sizes(n_workers: int, n_classes: int) -> dict[str, Any]:
    """Bytes of table and counts of so many workers."""
    n_cells = n_workers * n_classes**2
    return {"down": n_cells * (4 if n_cells >= 1 << 17 else 8), "up": 8 * n_cells}
