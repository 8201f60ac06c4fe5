import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from crowdlearn.shards.shared import Shared, Table

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs memory files")

OTHER = """
import sys
from crowdlearn.shards.shared import Place, Shared
n, pid, file, secret = 7, int(sys.argv[1]), int(sys.argv[2]), bytes.fromhex(sys.argv[3])
there = Shared.found(Place("here", pid, file, secret, n, 2), "here")
there.counts(1)[:] = 2 * there.table("<f4")
"""


@pytest.fixture
def shared():
    made = Shared.new("here", n_cells=7, n_actors=2)
    yield made
    made.close()


def test_another_process_reads_the_table_and_writes_its_counts(shared):
    table = np.arange(7, dtype=np.float32)
    assert shared.put(table) == Table("<f4")
    shared.counts(0)[:] = 1
    place = shared.place
    words = str(place.pid), str(place.file), place.secret.hex()
    subprocess.run([sys.executable, "-c", OTHER, *words], check=True)
    np.testing.assert_array_equal(shared.counts(0), np.ones(7))
    np.testing.assert_array_equal(shared.counts(1), 2.0 * table)
    np.testing.assert_array_equal(shared.table("<f4"), table)


def test_what_is_not_this_memory_is_not_taken_for_it(shared, tmp_path):
    place = shared.place
    assert Shared.found(place, "here") is not None
    with open(tmp_path / "other", "wb") as other:
        for wrong in (
            replace(place, secret=bytes(16)), replace(place, file=other.fileno()),
            replace(place, file=9999), replace(place, pid=2**22 + 1),
        ):  # fmt: skip
            assert Shared.found(wrong, "here") is None
    assert Shared.found(place, "elsewhere") is None
    assert Shared.found(None, "here") is None


def test_only_whole_tables_fit(shared):
    assert shared.fits(np.zeros(7)) and shared.fits(np.zeros(7, np.float32))
    assert not any(shared.fits(one) for one in (np.zeros(6), np.zeros((7, 1)), 7.0, "table"))
