"""A project of a small world, and who may do what in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from crowdlearn.service import accounts
from crowdlearn.service.access import LOCAL, Actor
from crowdlearn.service.folder import Folder
from crowdlearn.service.importing import Upload, perform
from crowdlearn.service.projects import create_project, read_project
from crowdlearn.store import Store
from crowdlearn.votes import Votes

PASSWORD = "long enough"


@dataclass(frozen=True, eq=False)
class Desk:
    """A store with one project, its number, the votes in it, and their truth."""

    store: Store
    folder: Folder
    number: int
    votes: Votes
    truth: np.ndarray

    def fold(self) -> None:
        """Take in all that is in the log, and settle it."""
        self.folder.catch_up(self.number, settle=True)


@pytest.fixture
def desk(store: Store, world: tuple[Votes, np.ndarray]) -> Desk:
    """The project "p" with the votes of `world`: 120 items, 12 workers, classes 0, 1, 2."""
    votes, truth = world
    with store.write() as db:
        create_project(db, LOCAL, "p", votes.classes)
        perform(db, LOCAL, "p", Upload("world.csv", "votes", votes=votes))
        number = read_project(db, LOCAL, "p").id
    return Desk(store, Folder(store), number, votes, truth)


def make_user(store: Store, name: str, role: str | None, project: str = "p") -> Actor:
    """A user with this role in a project."""
    with store.write() as db:
        accounts.add_user(db, LOCAL, name, None)
        if role is not None:
            accounts.set_member(db, LOCAL, project, name, role)
        found = accounts.known_user(db, name)
    assert found is not None
    return found
