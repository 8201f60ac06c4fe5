"""What does a wire do to plain TCP? Its round trip, and bits a second of one long transfer.

python -m benchmarks.scaling.probe serve ADDRESS
python -m benchmarks.scaling.probe ask ADDRESS        prints one JSON object
"""

from __future__ import annotations

import json
import socket
import sys
import time

PORT, PINGS, BYTES = 7077, 5, 16_000_000


def serve(address: str) -> None:
    """Answer one caller: its bytes one by one, then many."""
    with socket.create_server((address, PORT)) as server:
        caller, _ = server.accept()
        with caller:
            caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(PINGS):
                caller.sendall(caller.recv(1))
            caller.sendall(bytes(BYTES))


def ask(address: str) -> dict[str, float]:
    """Seconds of a round trip, and bits a second."""
    with socket.create_connection((address, PORT), timeout=60) as server:
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        trips = []
        for _ in range(PINGS):
            started = time.perf_counter()
            server.sendall(b"x")
            server.recv(1)
            trips.append(time.perf_counter() - started)
        buffer, arrived, stamps = bytearray(1 << 16), 0, []
        while arrived < BYTES:
            arrived += server.recv_into(buffer)
            stamps.append((time.perf_counter(), arrived))
    half = next(k for k, (_, n) in enumerate(stamps) if n >= BYTES // 2)
    (middle, before), (end, after) = stamps[half], stamps[-1]
    return {"round trip": min(trips), "bits a second": 8 * (after - before) / (end - middle)}


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        print(json.dumps(ask(sys.argv[2])))
