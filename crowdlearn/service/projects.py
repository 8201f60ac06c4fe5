"""Projects: their classes, guideline and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from sqlalchemy import Connection, bindparam, case, insert, select, update

from crowdlearn.errors import ConflictError, SettingsError
from crowdlearn.service.access import LOCAL, Actor, project_id, project_row, require_owner, role_in
from crowdlearn.service.log import Event, append_events
from crowdlearn.service.trail import record
from crowdlearn.service.urgency import STRATEGY_NAMES
from crowdlearn.store.database import lock_project, new_id, now
from crowdlearn.store.tables import folding, members, projects, standings

METHODS = ("bcc", "idbla")
MOST_CLASSES = 1000


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a project aggregates, orders its queues, and stops.

    `strategy` orders the queues; a crowd worker is offered items with fewer than `redundancy` votes
    that the stopping rule at mean error `target` has not let go. An item lent for work comes back
    after `lease_seconds`. Costs are in one currency of your own. `blind` hides votes and posterior
    from a reviewer until they have decided.
    """

    method: str = "bcc"
    strategy: str = "entropy"
    redundancy: int = 3
    target: float = 0.05
    lease_seconds: int = 300
    vote_cost: float = 1.0
    answer_cost: float = 5.0
    blind: bool = False

    def __post_init__(self) -> None:
        for name, allowed in (("method", METHODS), ("strategy", STRATEGY_NAMES)):
            if getattr(self, name) not in allowed:
                raise SettingsError(
                    f"{name} {getattr(self, name)!r} is not one of {', '.join(allowed)}"
                )
        for name, low, high in (
            ("redundancy", 1, 1000), ("target", 0, 1), ("lease_seconds", 5, 86400),
            ("vote_cost", 0, 1e9), ("answer_cost", 0, 1e9),
        ):  # fmt: skip
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not low <= value <= high:
                raise SettingsError(f"{name} is from {low} to {high}, not {value!r}")
            if name in ("redundancy", "lease_seconds") and value != int(value):
                raise SettingsError(f"{name} is a whole number, not {value!r}")
        if not isinstance(self.blind, bool):
            raise SettingsError(f"blind is true or false, not {self.blind!r}")

    @classmethod
    def of(cls, values: Mapping[str, Any], before: Settings | None = None) -> Settings:
        """Settings with these values, the others as `before`. Raises SettingsError."""
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise SettingsError(f"there is no setting {name!r}: choose from {', '.join(known)}")
        return replace(before or cls(), **values)


@dataclass(frozen=True)
class Project:
    """A project as it stands, and the role in it of who asked."""

    id: int
    name: str
    classes: tuple[str, ...]
    guideline: str
    guideline_version: int
    settings: Settings
    simulated: bool
    n_items: int
    n_workers: int
    n_events: int
    n_votes: int
    n_answers: int
    created_at: int
    role: str = ""

    def code(self, label: str) -> int:
        """The code of a class. Raises SettingsError for an unknown one."""
        if label not in self.classes:
            raise SettingsError(f"label {label!r} is not one of {', '.join(self.classes)}")
        return self.classes.index(label)


def create_project(
    db: Connection,
    actor: Actor,
    name: str,
    classes: Sequence[str],
    *,
    guideline: str = "",
    settings: Mapping[str, Any] | None = None,
    simulated: bool = False,
) -> Project:
    """Make a project; whoever makes it is its admin.

    `simulated` marks votes that no people gave, everywhere they are shown. Raises NotAllowedError
    for all but owners, SettingsError for an unusable name, class or setting, ConflictError where
    there is a project of that name.
    """
    require_owner(actor, "create projects")
    _check_name(name)
    listed = _checked_classes(classes)
    chosen = Settings.of(settings or {})
    if db.execute(select(projects.c.id).where(projects.c.name == name)).scalar() is not None:
        raise ConflictError(f"there is a project {name!r} already")
    made = db.execute(
        insert(projects).values(
            name=name, classes=listed, guideline=guideline, settings=asdict(chosen),
            simulated=simulated, created_at=now(),
        )
    )  # fmt: skip
    id = new_id(made)
    db.execute(insert(folding).values(project=id))
    if actor.user is not None:
        db.execute(insert(members).values(project=id, user=actor.user, role="admin"))
    record(db, actor, id, "create project", name=name, classes=listed)
    return read_project(db, actor, name)


def read_project(
    db: Connection, actor: Actor, name: str, operation: str = "read guideline"
) -> Project:
    """The project of this name, as `project_id` finds it for this operation."""
    return _from_row(*project_row(db, actor, name, operation))


def list_projects(db: Connection, actor: Actor) -> list[Project]:
    """The projects that the actor has a role in, by name."""
    rows = db.execute(select(projects.c.id).order_by(projects.c.name)).scalars().all()
    return [_project(db, actor, id) for id in rows if role_in(db, actor, id) is not None]


def change_project(
    db: Connection,
    actor: Actor,
    name: str,
    *,
    guideline: str | None = None,
    settings: Mapping[str, Any] | None = None,
    add_classes: Sequence[str] = (),
) -> Project:
    """Change a project's guideline or settings, or add classes after those it has.

    A new method, strategy, target or class makes the aggregator start anew from the log. Raises
    SettingsError.
    """
    id = project_id(db, actor, name, "change project")
    lock_project(db, id)
    before = _project(db, actor, id)
    chosen = Settings.of(settings or {}, before.settings)
    classes = _checked_classes([*before.classes, *add_classes])
    values: dict[str, Any] = {"settings": asdict(chosen), "classes": classes}
    if guideline is not None and guideline != before.guideline:
        values |= {"guideline": guideline, "guideline_version": before.guideline_version + 1}
    db.execute(update(projects).where(projects.c.id == id).values(**values))
    changed = {k: v for k, v in asdict(chosen).items() if v != getattr(before.settings, k)}
    if "redundancy" in changed:
        wanted = case((standings.c.n_votes < chosen.redundancy, 1), else_=0)
        here = standings.c.project == id
        db.execute(
            update(standings).where(here, standings.c.wanted != wanted).values(wanted=wanted)
        )
    if len(classes) > len(before.classes) or changed.keys() & {"method", "strategy", "target"}:
        what = {"settings": asdict(chosen), "classes": classes}
        append_events(db, id, [Event(kind="setting", actor=actor.name, more=what)])
    record(
        db, actor, id, "change project", settings=changed, add_classes=list(add_classes),
        guideline=guideline is not None,
    )  # fmt: skip
    return _project(db, actor, id)


def by_id(db: Connection, id: int) -> Project:
    """The project with this id, for the service itself."""
    return _project(db, LOCAL, id)


_BY_ID = select(projects).where(projects.c.id == bindparam("wanted"))


def _project(db: Connection, actor: Actor, id: int) -> Project:
    row = db.execute(_BY_ID, {"wanted": id}).one()
    return _from_row(row, role_in(db, actor, id) or "")


def _from_row(row: Any, role: str) -> Project:
    values = dict(row._mapping)
    values["classes"] = tuple(values["classes"])
    values["settings"] = Settings(**values["settings"])
    return Project(**values, role=role)


def _check_name(name: str) -> None:
    fine = name and len(name) <= 100 and name.isprintable() and name == name.strip()
    if not fine or any(sign in name for sign in "/\\?#%"):
        raise SettingsError(
            f"{name!r} is no name for a project: 1 to 100 printable characters without "
            "/ \\ ? # % and without spaces at the ends"
        )


def _checked_classes(classes: Sequence[str]) -> list[str]:
    listed = [str(name) for name in classes]
    if not 2 <= len(listed) <= MOST_CLASSES:
        raise SettingsError(f"a project has 2 to {MOST_CLASSES} classes, not {len(listed)}")
    for name in listed:
        if not name.strip() or len(name) > 200 or not name.isprintable():
            raise SettingsError(f"class {name!r}: a class is 1 to 200 printable characters")
    if len(set(listed)) < len(listed):
        twice = next(name for name in listed if listed.count(name) > 1)
        raise SettingsError(f"class {twice!r} is named twice")
    return listed
