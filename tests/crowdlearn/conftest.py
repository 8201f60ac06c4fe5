"""An empty store on each database."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from crowdlearn.store import Store, open_store


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store may be made: a new file, or an empty database."""
    if request.param == "sqlite":
        return str(tmp_path / "store.db")
    return str(request.getfixturevalue("fresh_postgresql"))


@pytest.fixture
def store(address: str, empty_store: Path) -> Iterator[Store]:
    if not address.startswith("postgresql"):
        shutil.copyfile(empty_store, address)
    made = open_store(address, create=True)
    yield made
    made.close()
