"""Passwords and keys are kept as hashes, shut out when they should be, and never shown again."""

from unittest.mock import patch

import pytest
from sqlalchemy import text

from crowdlearn.errors import ConflictError, NotAllowedError, NotFoundError, SettingsError
from crowdlearn.service import accounts
from crowdlearn.service.access import LOCAL, RIGHTS, Actor, project_id
from crowdlearn.service.projects import create_project, list_projects
from crowdlearn.service.trail import read_trail
from crowdlearn.store import Store
from crowdlearn.store.database import now
from crowdlearn.store.tables import ROLES, metadata
from tests.crowdlearn.service.conftest import PASSWORD, make_user


@pytest.fixture
def project(store: Store) -> Store:
    with store.write() as db:
        create_project(db, LOCAL, "p", ["a", "b"])
        create_project(db, LOCAL, "other", ["a", "b"])
    return store


def everything(store: Store) -> str:
    """All that is in the database, as text."""
    with store.read() as db:
        return repr([db.execute(table.select()).all() for table in metadata.sorted_tables])


def test_a_password_lets_in_its_user_alone(project: Store) -> None:
    with project.write() as db:
        accounts.add_user(db, LOCAL, "anna", PASSWORD)
        assert accounts.signed_in(db, "anna", PASSWORD) is not None
        assert accounts.signed_in(db, "anna", PASSWORD + "x") is None
        assert accounts.signed_in(db, "nobody", PASSWORD) is None
        accounts.add_user(db, LOCAL, "by openid", None)
        assert accounts.signed_in(db, "by openid", "") is None
        accounts.disable_user(db, LOCAL, "anna")
        assert accounts.signed_in(db, "anna", PASSWORD) is None
        assert accounts.known_user(db, "anna") is None
        accounts.disable_user(db, LOCAL, "anna", disabled=False)
        accounts.change_password(db, LOCAL, "anna", "another one")
        assert accounts.signed_in(db, "anna", PASSWORD) is None
        assert accounts.signed_in(db, "anna", "another one") is not None
    assert PASSWORD not in everything(project)


def test_a_key_opens_its_project_in_its_role_while_it_lives(project: Store) -> None:
    with project.write() as db:
        key, secret = accounts.make_key(db, LOCAL, "p", "tool", "tool", days=1.0)
        found = accounts.key_holder(db, secret)
        assert found is not None
        actor, number, _ = found
        assert number == key.id and actor.key_role == "tool"
        project_id(db, actor, "p", "vote for others")
        with pytest.raises(NotAllowedError):
            project_id(db, actor, "p", "answer")
        with pytest.raises(NotFoundError):
            project_id(db, actor, "other", "vote for others")
        assert accounts.key_holder(db, secret + "x") is None
        with patch("crowdlearn.service.accounts.now", lambda: now() + 86_400_000_001):
            assert accounts.key_holder(db, secret) is None
        accounts.revoke_key(db, LOCAL, "p", key.id)
        assert accounts.key_holder(db, secret) is None
        with pytest.raises(NotFoundError):
            accounts.revoke_key(db, LOCAL, "p", key.id)
    assert secret not in everything(project)


@pytest.mark.parametrize("role", [*ROLES, None])
def test_a_right_is_had_by_its_roles_and_else_a_project_does_not_exist(
    project: Store, role: str | None
) -> None:
    actor = make_user(project, "u", role)
    with project.read() as db:
        for operation, roles in RIGHTS.items():
            if role in roles:
                assert project_id(db, actor, "p", operation) == 1
            elif role is not None:
                with pytest.raises(NotAllowedError):
                    project_id(db, actor, "p", operation)
            for other in ("other", "none", *["p"] * (role is None)):
                with pytest.raises(NotFoundError, match=f"^there is no project '{other}'$"):
                    project_id(db, actor, other, operation)
        assert [found.name for found in list_projects(db, actor)] == ["p"] * (role is not None)


def test_only_owners_make_users_and_projects(project: Store) -> None:
    admin = make_user(project, "admin", "admin")
    acts = (
        lambda db: create_project(db, admin, "q", ["a", "b"]),
        lambda db: accounts.add_user(db, admin, "x", PASSWORD),
        lambda db: accounts.disable_user(db, admin, "admin"),
        lambda db: accounts.list_users(db, admin),
        lambda db: accounts.change_password(db, admin, "other", PASSWORD),
    )
    for act in acts:
        with pytest.raises(NotAllowedError, match="only an owner"), project.write() as db:
            act(db)
    with project.write() as db:
        accounts.change_password(db, admin, "admin", PASSWORD)


def test_bad_accounts_are_refused(project: Store) -> None:
    make_user(project, "anna", "reviewer")
    cases = (
        (lambda db: accounts.add_user(db, LOCAL, "x", "short"), SettingsError),
        (lambda db: accounts.add_user(db, LOCAL, "x", "x" * 2000), SettingsError),
        (lambda db: accounts.add_user(db, LOCAL, " ", PASSWORD), SettingsError),
        (lambda db: accounts.add_user(db, LOCAL, "anna", PASSWORD), ConflictError),
        (lambda db: accounts.set_member(db, LOCAL, "p", "anna", "king"), SettingsError),
        (lambda db: accounts.set_member(db, LOCAL, "p", "none", "admin"), NotFoundError),
        (lambda db: accounts.make_key(db, LOCAL, "p", "k", "king"), SettingsError),
        (lambda db: accounts.make_key(db, LOCAL, "p", "k", "tool", days=-1.0), SettingsError),
        (lambda db: accounts.make_key(db, LOCAL, "p", "", "tool"), SettingsError),
        (lambda db: accounts.disable_user(db, LOCAL, "none"), NotFoundError),
    )
    for act, error in cases:
        with pytest.raises(error), project.write() as db:
            act(db)


def test_what_was_changed_is_in_the_trail(project: Store) -> None:
    anna = make_user(project, "anna", "admin")
    with project.write() as db:
        accounts.make_key(db, anna, "p", "k", "tool")
        trail = read_trail(db, anna, "p")
    assert [(row["actor"], row["action"]) for row in trail] == [
        ("user:anna", "make key"), ("local", "set member"), ("local", "create project"),
    ]  # fmt: skip
    with project.read() as db:
        assert read_trail(db, anna, "p", before=trail[0]["id"], limit=1) == trail[1:2]
        assert db.execute(text("SELECT count(*) FROM audit")).scalar_one() >= 3


def test_a_key_of_nobody_is_nobody(project: Store) -> None:
    with project.read() as db:
        with pytest.raises(NotFoundError):
            project_id(db, Actor("user:ghost", user=999), "p", "vote")
        with pytest.raises(NotFoundError):
            project_id(db, Actor("key:x", key_project=999, key_role="admin"), "p", "vote")
