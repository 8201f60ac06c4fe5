"""Votes that many tests use; shared data sets and PostgreSQL where they are at hand."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
from hypothesis import settings

from crowdlearn.votes import Votes
from docs.make_notebooks import QUICKLY_COMPILED
from tests.services import (
    NO_POSTGRESQL,
    fresh_database,
    postgresql_programs,
    postgresql_server,
)

CHECKED_SECONDS = 0.3

# Tests compile much and compute little, like notebooks. Demo and benchmarks compile as users do.
os.environ.setdefault("XLA_FLAGS", QUICKLY_COMPILED)

settings.register_profile("untimed", deadline=None)  # a first call compiles
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with files that have slow tests, then the large ones: no process is left waiting."""
    files = {item.path: [0, 0] for item in items}
    for item in items:
        files[item.path][0] += item.get_closest_marker("slow") is not None
        files[item.path][1] += 1
    items.sort(key=lambda item: (files[item.path][0] == 0, -files[item.path][1], str(item.path)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    """Shapes are checked at the beginning of what a test needs ..."""
    with _checked_for_a_while():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """... and of the test itself: long loops would spend most of their time so."""
    with _checked_for_a_while():
        return (yield)


@contextmanager
def _checked_for_a_while() -> Iterator[None]:
    rest = threading.Timer(CHECKED_SECONDS, jaxtyping.config.update, ("jaxtyping_disable", True))
    rest.daemon = True
    rest.start()
    try:
        yield
    finally:
        rest.cancel()
        rest.join()
        jaxtyping.config.update("jaxtyping_disable", False)


SHARED = Path(__file__).parents[2] / "shared" / "data" / "crowd"


@pytest.fixture
def tiny() -> Votes:
    """Three items, three workers, two classes; worker 2 votes on item 0 twice and not on item 2."""
    item = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2])
    worker = np.array([0, 1, 2, 2, 0, 1, 2, 0, 1])
    label = np.array([0, 0, 1, 0, 1, 0, 1, 1, 1])
    return Votes.from_codes(item, worker, label)


@pytest.fixture(scope="session")
def world() -> tuple[Votes, np.ndarray]:
    """120 items, 12 workers, 3 classes, 1 to 6 votes an item; and the truth."""
    rng = np.random.default_rng(7)
    truth = rng.integers(0, 3, 120)
    confusion = rng.dirichlet(np.ones(3), size=(12, 3)) * 0.3 + 0.7 * np.eye(3)
    pairs = [(i, w) for i in range(120) for w in rng.permutation(12)[: rng.integers(1, 7)]]
    item, worker = np.array(pairs).T
    label = np.array([rng.choice(3, p=confusion[w, truth[i]]) for i, w in pairs])
    return Votes.from_codes(item, worker, label, items=120, workers=12, classes=3), truth


@pytest.fixture(scope="session")
def shared() -> Callable[[str], tuple[Votes, np.ndarray]]:
    """Name -> votes and truth of a shared data set; skips where the data are not at hand."""
    folder = Path(os.environ.get("CROWDLEARN_DATA", SHARED))

    def load(name: str) -> tuple[Votes, np.ndarray]:
        from crowdlearn.io import read_truth, read_votes

        found = sorted(folder.glob(f"{name}/labels.csv*"))
        if not found:
            pytest.skip(f"needs the data set {name!r}: set CROWDLEARN_DATA to a folder that has it")
        votes = read_votes(found[0])
        return votes, read_truth(folder / name / "truth.csv", votes)

    return load


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without projects in SQLite, to be copied: every step of its schema was taken once."""
    from crowdlearn.store import open_store

    path = tmp_path_factory.mktemp("empty") / "store.db"
    open_store(path, create=True).close()
    return path


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """The URL of a PostgreSQL server of this process; skips where there is none."""
    if postgresql_programs() is None:
        pytest.skip(NO_POSTGRESQL)
    with postgresql_server() as url:
        yield url


@pytest.fixture
def fresh_postgresql(postgresql_url: str) -> Iterator[str]:
    """The URL of an empty database, dropped after the test."""
    with fresh_database(postgresql_url) as url:
        yield url
