"""A slow wire between two network namespaces of this machine: packets come in turn, and late.

Each namespace has a TUN device. What the kernel puts into one comes out of the other: as fast as
`rate` bits a second let it after the packets before, and `delay` seconds later. So does `tc netem
delay ... rate ...`; not every kernel has netem, and TUN devices need no more than root.

    python -m benchmarks.scaling.wire FROM TO DELAY RATE      (file descriptors; started by `wire`)
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import ROOT

TUN = Path("/dev/net/tun")
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
MTU = 1500
MOST_PACKETS = 1000  # on their way at once; more are lost, as with netem
AT_ONCE = 64  # packets read before those that are due are written


@dataclass(frozen=True)
class End:
    """One end of the wire: the namespace, and its address there."""

    namespace: str
    address: str

    def command(self, *words: str) -> list[str]:
        """A command that runs in this namespace."""
        return ["ip", "netns", "exec", self.namespace, *words]


def why_not() -> str | None:
    """What this machine lacks for a wire; None where it lacks nothing."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "needs root, to make network namespaces"
    if shutil.which("ip") is None:
        return "needs the program ip (iproute2)"
    return None if TUN.exists() else f"needs {TUN}"


@contextmanager
def wire(delay: float, rate: float) -> Iterator[tuple[End, End]]:
    """Two ends, `delay` seconds and `rate` bits a second apart each way; gone afterwards."""
    mark = f"wire{os.getpid() % 10000}"
    ends = End(f"{mark}a", "10.77.0.1"), End(f"{mark}b", "10.77.0.2")
    files: list[int] = []
    carriers: list[subprocess.Popen[bytes]] = []
    try:
        for end in ends:
            _ip("netns", "add", end.namespace)
            files.append(_device(end))
        for pair in (files, files[::-1]):
            carriers.append(
                subprocess.Popen(
                    [
                        sys.executable,
                        "-m",
                        "benchmarks.scaling.wire",
                        *map(str, pair),
                        str(delay),
                        str(rate),
                    ],
                    cwd=ROOT,
                    pass_fds=files,
                )  # fmt: skip
            )
        yield ends
    finally:
        for carrier in carriers:
            carrier.kill()
            carrier.wait()
        for file in files:
            os.close(file)
        for end in ends:
            subprocess.run(["ip", "netns", "delete", end.namespace], stderr=subprocess.DEVNULL)


def carry(source: int, sink: int, delay: float, rate: float) -> None:
    """Carry packets from one device to the other, for ever."""
    on_the_way: deque[tuple[float, bytes]] = deque()
    sent_at = 0.0  # when the last bit of the packet before is on the wire
    os.set_blocking(source, False)
    while True:
        now = time.monotonic()
        while on_the_way and on_the_way[0][0] <= now:
            os.write(sink, on_the_way.popleft()[1])
        wait = max(on_the_way[0][0] - time.monotonic(), 0.0) if on_the_way else None
        if not select.select([source], [], [], wait)[0]:
            continue
        now = time.monotonic()
        for _ in range(AT_ONCE):
            try:
                packet = os.read(source, 1 << 16)
            except BlockingIOError:
                break
            if len(on_the_way) < MOST_PACKETS:
                sent_at = max(sent_at, now) + 8 * len(packet) / rate
                on_the_way.append((sent_at + delay, packet))


def _device(end: End) -> int:
    """A TUN device in the namespace of this end, up; its file."""
    file = os.open(TUN, os.O_RDWR)
    os.set_inheritable(file, True)
    request = struct.pack("16sH14x", end.namespace.encode(), IFF_TUN | IFF_NO_PI)
    fcntl.ioctl(file, TUNSETIFF, request)
    _ip("link", "set", end.namespace, "netns", end.namespace)
    inside = "-n", end.namespace
    _ip(*inside, "link", "set", "lo", "up")
    _ip(*inside, "address", "add", f"{end.address}/24", "dev", end.namespace)
    _ip(*inside, "link", "set", end.namespace, "mtu", str(MTU), "up")
    return file


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


if __name__ == "__main__":
    carry(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
