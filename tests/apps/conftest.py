"""The review app in this process, on a store of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from apps.review import run, state
from crowdlearn.service.access import LOCAL, Actor
from crowdlearn.service.accounts import add_user, known_user, set_member
from crowdlearn.service.folder import Folder
from crowdlearn.service.projects import list_projects
from crowdlearn.store import Store, open_store

PASSWORD = "correct horse"
ROLES = ("annotator", "reviewer", "admin")


@pytest.fixture
def store(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store that the app opens too; the app's worker ends with the test."""
    monkeypatch.setenv("CROWDLEARN_STORE", str(tmp_path / "store.db"))
    monkeypatch.setenv("CROWDLEARN_AUTH", "none")
    monkeypatch.delenv("CROWDLEARN_PROJECT", raising=False)
    shutil.copyfile(empty_store, tmp_path / "store.db")
    made = open_store(tmp_path / "store.db")
    yield made
    state.opened.clear()
    made.close()


@pytest.fixture
def open_page(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """A page of the app, as one who is signed in sees it (None: whoever holds the file)."""

    def open_(page: str | None = None, who: str | None = None, **session: object) -> AppTest:
        monkeypatch.setenv("CROWDLEARN_AUTH", "none" if who is None else "password")
        app = AppTest.from_file(run.APP, default_timeout=60)
        for name, value in session.items():
            app.session_state[name.replace("_", " ")] = value
        if who is not None:
            app.session_state["signed in"] = who
        if page is not None:
            app.session_state["go"] = page
        return app.run()

    return open_


def add_people(store: Store, project: str) -> dict[str, Actor]:
    """A user of each role, named as the role."""
    found = {}
    for role in ROLES:
        with store.write() as db:
            add_user(db, LOCAL, role, PASSWORD)
            set_member(db, LOCAL, project, role, role)
            actor = known_user(db, role)
            assert actor is not None, "the user was just added"
            found[role] = actor
    return found


def fold(store: Store) -> None:
    """Take in all that is in the log of every project, now."""
    folder = Folder(store)
    with store.read() as db:
        found = list_projects(db, LOCAL)
    for project in found:
        folder.catch_up(project.id, settle=True)
    folder.close()
