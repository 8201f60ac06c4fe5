"""What every request goes through: logs, figures, headers, and errors that tell nothing."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from crowdlearn.service.api.routes import projects
from crowdlearn.service.api.schemas import Method, Role
from crowdlearn.service.comparing import COMPARED
from crowdlearn.store.tables import ROLES
from crowdlearn.store.tables import projects as projects_table
from tests.crowdlearn.service.api.conftest import BIRDS, Place

PATH = f"/v1/projects/{BIRDS}"


def test_a_line_of_json_for_every_request(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "crowdlearn.requests")
    place.client().get(f"{PATH}/item", params={"name": "birds-1"})
    place.client(None).get(f"{PATH}/item")
    place.client(None).get("/healthz")
    lines = [json.loads(r.getMessage()) for r in caplog.records if r.name == "crowdlearn.requests"]
    for line in lines:
        assert line.pop("milliseconds") > 0
    assert lines == [
        {"method": "GET", "route": "/v1/projects/{project}/item", "status": 200,
         "actor": "key:admin key"},
        {"method": "GET", "route": "(none)", "status": 401, "actor": None},
        {"method": "GET", "route": "/healthz", "status": 200, "actor": None},
    ]  # fmt: skip


def test_figures_by_route_for_this_machine_and_known_callers(place: Place) -> None:
    app = place.app()
    client = TestClient(app, headers=place.headers["admin"])
    client.post(f"{PATH}/note", json={"item": "birds-1", "text": "hm"})
    for name in ("a", "b"):
        client.get(f"/v1/projects/{name}")
    local = TestClient(app, client=("127.0.0.1", 1))
    text = local.get("/metrics").text
    route = 'method="GET",route="/v1/projects/{project}",status="404"'
    assert f"crowdlearn_requests_total{{{route}}} 2.0" in text
    assert "crowdlearn_events_pending 1.0" in text and "crowdlearn_projects_behind 1.0" in text
    assert "crowdlearn_folder_alive 0.0" in text
    assert "crowdlearn_request_seconds_bucket" in text and BIRDS not in text
    assert client.get("/metrics").status_code == 200
    assert TestClient(app).get("/metrics").status_code == 401
    through = {"X-Forwarded-For": "10.0.0.1"}
    assert local.get("/metrics", headers=through).status_code == 401


def test_health_and_readiness(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    client = place.client(None)
    assert client.get("/healthz").json() == {"status": "ok", "folding": False}
    assert client.get("/readyz").json() == {"status": "ready", "detail": ""}
    monkeypatch.setattr("crowdlearn.service.api.routes.health.head", lambda: "another")
    assert client.get("/readyz").status_code == 503
    client.app.state.folds = True
    assert client.get("/healthz").status_code == 503


def test_the_app_folds_by_itself_and_keeps_a_snapshot_when_it_ends(place: Place) -> None:
    from crowdlearn.service.api import create_app

    place.folder.close()
    app = create_app(place.store)
    with TestClient(app, headers=place.headers["admin"]) as client:
        assert client.get("/healthz").json()["folding"]
        client.post(f"{PATH}/answers", json={"item": "birds-1", "label": "yes"})
        for _ in range(200):
            if client.get(f"{PATH}/progress").json()["n_pending"] == 0:
                break
        else:
            raise AssertionError("not folded")
    assert not app.state.service.folder.alive
    fits = place.client().get(f"{PATH}/fits").json()
    assert fits[0]["kind"] == "snapshot" and fits[0]["upto"] == 16


def test_an_unforeseen_error_tells_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError(" ".join(("label 'cat' of Jane", "Doe in /srv/secret")))

    monkeypatch.setattr(projects, "list_projects", broken)
    found = place.client().get("/v1/projects")
    assert found.status_code == 500
    assert found.headers["content-type"] == "application/problem+json"
    assert found.headers["x-content-type-options"] == "nosniff"
    assert "Jane Doe" not in found.text and "Traceback" not in found.text
    logged = caplog.text
    assert "RuntimeError" in logged and "in broken" in logged and "Jane Doe" not in logged


def test_a_store_that_does_not_answer_is_503(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: Any) -> Any:
        raise OperationalError("SELECT secret", {}, Exception("database is locked"))

    monkeypatch.setattr(projects, "list_projects", locked)
    found = place.client().get("/v1/projects")
    assert found.status_code == 503 and found.headers["retry-after"] == "5"
    assert "secret" not in found.text


def test_every_response_has_safe_headers_and_no_cookie(place: Place) -> None:
    client = place.client()
    for path in ("/v1/projects", "/v1/none", "/none", "/healthz", "/openapi.json", PATH):
        headers = client.get(path, headers={"Origin": "https://evil.example"}).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["cache-control"] == "no-store"
        assert "set-cookie" not in headers and "access-control-allow-origin" not in headers
    assert client.options(PATH).status_code == 405


def test_the_description_is_whole(place: Place) -> None:
    found = place.app().openapi()
    operations = [op for methods in found["paths"].values() for op in methods.values()]
    ids = [op["operationId"] for op in operations]
    assert len(ids) == len(set(ids))
    for operation in operations:
        assert operation["summary"] and operation["tags"]
    for path, methods in found["paths"].items():
        for operation in methods.values():
            guarded = path.startswith("/v1")
            assert ("security" in operation) == guarded
            if guarded:
                content = operation["responses"]["422"]["content"]
                assert list(content) == ["application/problem+json"]
    assert "HTTPValidationError" not in json.dumps(found)


def test_listed_names_are_those_of_the_service() -> None:
    assert Method.__args__ == COMPARED
    assert Role.__args__ == ROLES
    assert projects_table.c.name.type.length == 100


def test_reads_do_not_wait_for_writers(place: Place) -> None:
    with TestClient(place.app(), headers=place.headers["admin"]) as client:
        client.get("/v1/projects")  # notes the use of the key, for a minute
        note = {"item": "birds-1", "text": "hm"}
        with ThreadPoolExecutor(60) as pool:
            with place.store.write():  # somebody writes for long
                waiting = [pool.submit(client.post, f"{PATH}/note", json=note) for _ in range(60)]
                for _ in range(30):
                    assert client.get(f"{PATH}/items").status_code == 200
                assert not any(sent.done() for sent in waiting)
            assert {sent.result().status_code for sent in waiting} == {200}
