"""Who asks: keys and passwords, and that nobody guesses them at leisure."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest
from sqlalchemy import update
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from crowdlearn.service.access import LOCAL
from crowdlearn.service.accounts import change_password, disable_user, hashed, revoke_key
from crowdlearn.service.api.identity import KeyGiven, PasswordGiven, credentials
from crowdlearn.store.tables import users
from tests.crowdlearn.service.api.conftest import BIRDS, PASSWORD, Place, basic, bearer, exchange


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, None),
        (bearer("clk_x"), KeyGiven("clk_x")),
        ({"X-API-Key": "clk_x"}, KeyGiven("clk_x")),
        ({"authorization": "bearer   clk_x "}, KeyGiven("clk_x")),
        (basic("ann", "a:b"), PasswordGiven("ann", "a:b")),
        (basic("änn", "ü"), PasswordGiven("änn", "ü")),
        ({"Authorization": "Basic !!!"}, None),
        ({"Authorization": "Basic /w=="}, None),
        ({"Authorization": "Basic YW5u"}, None),
        ({"Authorization": "Digest x"}, None),
        ({"Authorization": "Bearer"}, None),
        ({"Authorization": "Digest x", "X-API-Key": "clk_x"}, None),
    ],
)
def test_credentials_are_read(headers: dict[str, str], found: Any) -> None:
    assert credentials(Headers(headers)) == found


def test_secrets_are_not_shown() -> None:
    assert "clk" not in repr(KeyGiven("clk_x"))
    assert "hush" not in repr(PasswordGiven("ann", "hush"))


def key_number(place: Place, name: str) -> int:
    keys = place.client("owner").get(f"/v1/projects/{BIRDS}/keys").json()
    return int(next(key["id"] for key in keys if key["name"] == name))


def test_a_key_that_was_revoked_here_ends_at_once(place: Place) -> None:
    app, number = place.app(), key_number(place, "admin key")
    client, owner = (TestClient(app, headers=place.headers[who]) for who in ("admin", "owner"))
    assert client.get(f"/v1/projects/{BIRDS}").status_code == 200
    assert owner.delete(f"/v1/projects/{BIRDS}/keys/{number}").status_code == 204
    assert client.get(f"/v1/projects/{BIRDS}").status_code == 401


def test_a_key_that_was_revoked_elsewhere_ends_within_a_second(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    import crowdlearn.service.api.identity as identity

    client, number = place.client("admin"), key_number(place, "admin key")
    assert client.get(f"/v1/projects/{BIRDS}").status_code == 200
    with place.store.write() as db:
        revoke_key(db, LOCAL, BIRDS, number)
    later = time.monotonic() + identity.KEY_REMEMBERED
    monkeypatch.setattr(identity.time, "monotonic", lambda: later)
    assert client.get(f"/v1/projects/{BIRDS}").status_code == 401


def test_a_right_password_is_remembered_until_it_is_changed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    import crowdlearn.service.api.identity as identity

    checks: list[str] = []
    real = identity.signed_in

    def counting(db: Any, name: str, password: str) -> Any:
        checks.append(name)
        return real(db, name, password)

    monkeypatch.setattr(identity, "signed_in", counting)
    client = place.client("user admin")
    for _ in range(5):
        assert client.get("/v1/projects").status_code == 200
    assert checks == ["admin"]
    with place.store.write() as db:
        change_password(db, LOCAL, "admin", "another long one")
    assert client.get("/v1/projects").status_code == 401
    client.headers = basic("admin", "another long one")
    assert client.get("/v1/projects").status_code == 200
    with place.store.write() as db:
        disable_user(db, LOCAL, "admin")
    assert client.get("/v1/projects").status_code == 401


def test_passwords_that_argon2_hashed_as_usual_are_known(place: Place) -> None:
    with place.store.write() as db:
        here = users.c.name == "admin"
        db.execute(update(users).where(here).values(password=hashed(PASSWORD)))
    assert place.client("user admin").get("/v1/projects").status_code == 200


def test_failed_sign_ins_of_an_address_are_few(place: Place) -> None:
    app = place.app(failed_sign_ins=3)
    guesser = TestClient(app, headers=basic("admin", "guess"), client=("10.0.0.1", 1))
    codes = [guesser.get("/v1/projects").status_code for _ in range(6)]
    assert codes == [401] * 3 + [429] * 3
    found = guesser.get("/v1/projects")
    assert 1 <= int(found.headers["retry-after"]) <= 6
    right = TestClient(app, headers=basic("admin", PASSWORD), client=("10.0.0.1", 1))
    assert right.get("/v1/projects").status_code == 429  # the right one is not found out either
    key = TestClient(app, headers=place.headers["admin"], client=("10.0.0.1", 1))
    assert key.get("/v1/projects").status_code == 200  # keys cannot be guessed
    elsewhere = TestClient(app, headers=basic("admin", PASSWORD), client=("10.0.0.2", 1))
    assert elsewhere.get("/v1/projects").status_code == 200


def test_right_passwords_are_no_failures(place: Place) -> None:
    app = place.app(failed_sign_ins=1)
    for name in ("admin", "reviewer", "tool", "annotator"):
        client = TestClient(app, headers=basic(name, PASSWORD))
        assert client.get("/v1/projects").status_code == 200


def test_the_use_of_a_key_is_noted_once_a_minute(place: Place) -> None:
    client = place.client("admin")

    def last_used() -> Any:
        keys = client.get(f"/v1/projects/{BIRDS}/keys").json()
        return next(key["last_used_at"] for key in keys if key["name"] == "admin key")

    assert last_used() is None
    noted = last_used()
    assert noted is not None and last_used() == noted


def test_bodies_of_unknown_callers_are_not_read(place: Place) -> None:
    sent = exchange(place.app(), "POST", f"/v1/projects/{BIRDS}/votes", pieces=[b"{"] * 10)
    assert sent.status == 401 and sent.n_read == 0


def test_keys_and_passwords_are_in_no_log(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "crowdlearn")
    for who, headers in place.headers.items():
        client = place.client(who)
        client.get("/v1/projects", params={"token": "a-query-secret"})
        client.post(f"/v1/projects/{BIRDS}/votes", json={"votes": [{"item": "a-payload"}]})
        lines = "".join(r.getMessage() for r in caplog.records if r.name.startswith("crowdlearn"))
        for value in headers.values():
            assert value.split()[-1] not in lines
    assert "a-query-secret" not in lines and "a-payload" not in lines and PASSWORD not in lines
