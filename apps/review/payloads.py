"""What there is to see or hear of an item; text is shown as it is, and nothing is fetched."""

from __future__ import annotations

import json

import streamlit as st

from apps.review.state import reading
from crowdlearn.service.access import Actor
from crowdlearn.service.items import Item, read_media
from crowdlearn.service.projects import Project

LONG = 2400  # characters of a text, from which on it scrolls
DEEP = 200_000  # characters of JSON, above which it is shown as plain text


def show_payload(actor: Actor, project: Project, item: Item) -> None:
    """Show the payload of an item by its kind."""
    with st.container(key="payload"):
        if item.payload is None:
            st.caption("This item has nothing to show but its name.")
            st.text(item.name)
        elif item.payload_kind == "text":
            _text(item.payload)
        elif item.payload_kind == "json":
            _json(item.payload)
        elif item.payload_kind == "url":
            _address(item.payload)
        else:
            _media(actor, project, item)


def _text(text: str) -> None:
    if len(text) > LONG:
        with st.container(height=380):
            st.text(text)
    else:
        st.text(text)


def _json(text: str) -> None:
    if len(text) > DEEP:
        _text(text)
    else:
        st.json(json.loads(text), expanded=2)


def _address(address: str) -> None:
    st.text(address)
    st.link_button("Open in a new tab", address, icon=":material/open_in_new:")


def _media(actor: Actor, project: Project, item: Item) -> None:
    assert item.payload is not None, "an image or sound has its digest"
    with reading() as db:
        mime, content = read_media(db, actor, project.name, item.payload)
    if mime.startswith("audio/"):
        st.audio(content, format=mime)
        return
    try:
        st.image(content, width="stretch", alt="the item to judge")
    except (OSError, ValueError):
        st.error("This image cannot be shown: its bytes are damaged.")
