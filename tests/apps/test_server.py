"""Which requests are answered out of memory, and that all others are Streamlit's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from streamlit import file_util

from apps.review import state
from apps.review.server import FromMemory, app, opening
from crowdlearn.errors import CrowdlearnError, SettingsError


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    """Files under `static`, in front of an app that only says so when it is asked."""
    (tmp_path / "static" / "js").mkdir(parents=True)
    (tmp_path / "static" / "js" / "a.js").write_bytes(b"let a")
    (tmp_path / "static" / "notes.txt").write_text("not for a page")
    (tmp_path / "secret.js").write_text("outside")
    return TestClient(FromMemory(PlainTextResponse("streamlit"), tmp_path))


def test_a_script_is_sent_whole_and_read_once(client: TestClient, tmp_path: Path) -> None:
    for _ in range(2):
        found = client.get("/static/js/a.js")
        assert found.content == b"let a" and found.headers["content-length"] == "5"
        assert found.headers["content-type"].startswith("text/javascript")
        assert "immutable" in found.headers["cache-control"]
        (tmp_path / "static" / "js" / "a.js").unlink(missing_ok=True)


@pytest.mark.parametrize("path", [
    "/", "/secret.js", "/static/notes.txt", "/static/js/b.js", "/static/../secret.js",
    "/static/js/%2e%2e/%2e%2e/secret.js", "/_stcore/health",
])  # fmt: skip
def test_what_is_no_such_file_is_streamlits_to_answer(client: TestClient, path: str) -> None:
    assert client.get(path).text == "streamlit"


def test_parts_checks_and_other_methods_are_streamlits_to_answer(client: TestClient) -> None:
    path = "/static/js/a.js"
    assert client.get(path, headers={"Range": "bytes=0-1"}).text == "streamlit"
    assert client.get(path, headers={"If-None-Match": '"x"'}).text == "streamlit"
    assert client.post(path).text == "streamlit"


def test_streamlits_files_are_where_they_are_looked_for() -> None:
    found = FromMemory(PlainTextResponse(""), Path(file_util.get_static_dir())).files
    assert any(path.startswith("/static/js/index.") for path in found)


def start_and_stop() -> None:
    """What the server does around its requests, without them."""

    async def run() -> None:
        async with opening(app):
            pass

    asyncio.run(run())


def test_the_store_is_opened_before_the_first_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROWDLEARN_STORE", str(tmp_path / "store.db"))
    start_and_stop()
    assert (tmp_path / "store.db").exists()
    state.opened.clear()


def test_a_store_that_cannot_be_opened_does_not_keep_the_server_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROWDLEARN_STORE", str(tmp_path / "nowhere" / "store.db"))
    start_and_stop()
    with pytest.raises(CrowdlearnError):  # what the first page says
        state.held()
    monkeypatch.delenv("CROWDLEARN_STORE")
    start_and_stop()
    with pytest.raises(SettingsError, match="CROWDLEARN_STORE"):
        state.held()
