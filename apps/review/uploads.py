"""Files that were dropped on a page, read once and kept for the session until they are imported."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import streamlit as st

from crowdlearn.errors import VotesWarning
from crowdlearn.service.importing import Upload, read_upload

TYPES = ["csv", "tsv", "jsonl", "ndjson", "json", "parquet", "zip", "gz"]


def read_dropped(
    file: Any, kind: str, classes: Sequence[str] | None = None
) -> tuple[Upload, list[str]]:
    """The upload in a dropped file, and what the reader warned of.

    Raises VotesError or SettingsError naming the file as it was dropped.
    """
    asked = (file.file_id, kind, tuple(classes or ()))
    kept = st.session_state.get("upload")
    if kept is not None and kept[0] == asked:
        return kept[1], kept[2]
    name = PurePath(file.name).name
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", VotesWarning)
        path = Path(folder) / f"dropped{''.join(PurePath(name).suffixes[-2:])}"
        path.write_bytes(file.getbuffer())
        upload = read_upload(path, kind, name=name, classes=classes)
    told = [str(warning.message).replace(str(path), name) for warning in said]
    st.session_state["upload"] = (asked, upload, told)
    return upload, told


def forget() -> None:
    """Let go of the file that was read."""
    st.session_state.pop("upload", None)
