"""What the pages share: one store and one background worker a process, choices in the session."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import streamlit as st
from sqlalchemy import Connection

from crowdlearn.errors import CrowdlearnError, SettingsError
from crowdlearn.service.access import Actor
from crowdlearn.service.folder import Folder
from crowdlearn.service.projects import Project, list_projects
from crowdlearn.store import Store, open_store


def _shut(held: tuple[Store, Folder]) -> None:
    store, folder = held
    folder.close()
    store.close()


@st.cache_resource(on_release=_shut, show_spinner=False)
def opened(address: str) -> tuple[Store, Folder]:
    """The store at this address, made where there is none, and the worker that folds it."""
    store = open_store(address, create=True)
    folder = Folder(store)
    folder.start()
    return store, folder


def held() -> tuple[Store, Folder]:
    """What `opened` holds of the store that the process was started for. Raises SettingsError."""
    address = os.environ.get("CROWDLEARN_STORE")
    if not address:
        raise SettingsError("set CROWDLEARN_STORE to the path or URL of the store")
    return opened(address)


@contextmanager
def reading() -> Iterator[Connection]:
    """A transaction that sees one state of the store."""
    with held()[0].read() as db:
        yield db


@contextmanager
def writing() -> Iterator[Connection]:
    """A transaction that is kept whole or not at all; then the background worker looks."""
    store, folder = held()
    with store.write() as db:
        yield db
    folder.wake()


def say(kind: str, words: str) -> None:
    """Show this in the next run: kind is done (a toast), warning or error. Words are Markdown."""
    st.session_state.setdefault("sayings", []).append((kind, words))


def show_sayings() -> None:
    """Show what was said since, once."""
    for kind, words in st.session_state.pop("sayings", []):
        if kind == "done":
            st.toast(words, icon=":material/check_circle:")
        elif kind == "warning":
            st.warning(words, icon=":material/sync_problem:")
        else:
            st.error(words, icon=":material/error:")


def guarded(callback: Callable[..., None]) -> Callable[..., None]:
    """A callback whose refusals are shown at the top of the page."""
    from apps.review.words import escaped

    @wraps(callback)
    def run(*args: Any) -> None:
        try:
            callback(*args)
        except CrowdlearnError as error:
            say("error", escaped(str(error)))

    return run


def go(page: str) -> None:
    """Change to another page in the next run."""
    st.session_state["go"] = page


def choose_project(name: str) -> None:
    """Change to another project in the next run."""
    st.session_state["wanted project"] = name


def open_item(name: str) -> None:
    """Show this item in full on the Items page."""
    st.session_state["opened item"] = name
    go("items")


def projects_of(actor: Actor) -> dict[str, Project]:
    """The projects that the actor has a part in, by name."""
    with reading() as db:
        return {project.name: project for project in list_projects(db, actor)}
