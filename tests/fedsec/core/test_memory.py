"""Freed memory that is taken again."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import ctypes, resource, sys
from fedsec.core.memory import keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes, libc.memset.argtypes = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int,
    ctypes.c_size_t]
SIZE = 2**20

def pass_through():
    blocks = [libc.malloc(SIZE) for _ in range(40)]
    for block in blocks:
        libc.memset(block, 1, SIZE)
    for block in reversed(blocks):
        libc.free(block)

if sys.argv[1] == "kept":
    keep_freed_memory()
for _ in range(3):
    pass_through()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    pass_through()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    ran = subprocess.run(
        [sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True
    )
    return int(ran.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_pages_are_not_taken_anew_in_every_pass() -> None:
    given_back, kept = faults("given back"), faults("kept")
    assert given_back > 50_000  # of 10 passes x 10,240 pages
    assert kept < 100
