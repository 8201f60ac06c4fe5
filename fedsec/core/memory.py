"""Memory that is freed and taken again many times a second."""

from __future__ import annotations

import torch

MOST = 31 * 2**20


def keep_freed_memory() -> None:
    """Have the C library keep some freed memory, where it is glibc; elsewhere nothing happens.

    A pass through a network frees and takes megabytes in tensors. By default glibc gives free
    memory above a threshold back to the system, which hands it out again page by page, cleared,
    and that takes a part of an attack's time. The threshold follows the largest block freed so
    far, up to 32 MiB (mallopt(3), M_MMAP_THRESHOLD): freeing one of nearly that size, which is
    never written to, has it keep up to twice as much.
    """
    torch.empty(MOST, dtype=torch.uint8)
