"""The tables: one append-only log of events a project, and what is derived from it.

Items, workers, events and batches are numbered from 0 (events from 1) within their project, without
gaps, by whoever holds the project's lock; codes of the stream are these numbers. `events` is the
record: votes, answers and what was said about them, never updated or deleted (triggers see to it).
`standings`, `folding`, `progress` and the figures in `workers` are derived, and can be rebuilt.
Times are integers: microseconds since 1970, UTC.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

OPEN, ANSWERED, FLAGGED, ACCEPTED = 0, 1, 2, 3  # of standings.state
DECIDED = (ANSWERED, ACCEPTED)
EVENT_KINDS = (
    "vote", "answer", "accept", "undo", "skip", "flag", "unflag", "note", "block", "unblock",
    "retrain", "setting",
)  # fmt: skip
FOLD_KINDS = ("update", "rescore", "restart")
PAYLOAD_KINDS = ("none", "text", "json", "url", "image", "audio")
ROLES = ("annotator", "tool", "reviewer", "admin")

Identity = BigInteger().with_variant(Integer, "sqlite")
Json = JSON().with_variant(JSONB, "postgresql")
Time = BigInteger

SPOKEN = text("kind <> 'vote'")  # as the index of what is no vote has it, word for word
WANTED = text("wanted = 1")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _one_of(column: str, values: tuple[str, ...], name: str) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=name)


projects = Table(
    "projects",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("classes", Json, nullable=False),  # names, in the order of their codes
    Column("guideline", Text, nullable=False, default=""),
    Column("guideline_version", Integer, nullable=False, default=0),
    Column("settings", Json, nullable=False),
    Column("simulated", Boolean, nullable=False, default=False),
    Column("n_items", Integer, nullable=False, default=0),
    Column("n_workers", Integer, nullable=False, default=0),
    Column("n_events", BigInteger, nullable=False, default=0),
    Column("n_votes", BigInteger, nullable=False, default=0),
    Column("n_answers", Integer, nullable=False, default=0),  # items that an expert has answered
    Column("created_at", Time, nullable=False),
)

media = Table(
    "media",
    metadata,
    Column("project", ForeignKey("projects.id"), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("mime", String(100), nullable=False),
    Column("content", LargeBinary, nullable=False),
)

items = Table(
    "items",
    metadata,
    Column("project", ForeignKey("projects.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("name", String(500), nullable=False),
    Column("payload_kind", String(10), nullable=False, default="none"),
    Column("payload", Text),  # the text, JSON or address itself; the sha256 of an image or sound
    Index("uq_items_project_name", "project", "name", unique=True),
    _one_of("payload_kind", PAYLOAD_KINDS, "payload_kind"),
    sqlite_with_rowid=False,
)

workers = Table(
    "workers",
    metadata,
    Column("project", ForeignKey("projects.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("name", String(500), nullable=False),
    Column("flag", String(10)),  # None, blocked or retrain
    Column("n_votes", Integer, nullable=False, default=0),  # that have been folded
    Column("accuracy", Double),
    Column("low", Double),
    Column("high", Double),
    Column("counts", LargeBinary),  # float64 [truth, label]: Dirichlet parameters, prior included
    Index("uq_workers_project_name", "project", "name", unique=True),
    CheckConstraint("flag IS NULL OR flag IN ('blocked', 'retrain')", name="flag"),
    sqlite_with_rowid=False,
)

batches = Table(
    "batches",
    metadata,
    Column("project", ForeignKey("projects.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("key", String(200), nullable=False),
    Column("digest", String(64), nullable=False),  # of what was sent under the key
    Column("reply", Json, nullable=False),  # what was answered
    Column("at", Time, nullable=False),
    Index("uq_batches_project_key", "project", "key", unique=True),
)

users = Table(
    "users",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("password", String(200)),  # argon2; None for who signs in elsewhere
    Column("owner", Boolean, nullable=False, default=False),  # of the whole store
    Column("disabled", Boolean, nullable=False, default=False),
    Column("created_at", Time, nullable=False),
)

members = Table(
    "members",
    metadata,
    Column("project", ForeignKey("projects.id"), primary_key=True),
    Column("user", ForeignKey("users.id"), primary_key=True),
    Column("role", String(10), nullable=False),
    _one_of("role", ROLES, "role"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("project", ForeignKey("projects.id"), nullable=False),
    Column("name", String(200), nullable=False),
    Column("role", String(10), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),  # sha256 of 256 random bits
    Column("created_at", Time, nullable=False),
    Column("expires_at", Time),
    Column("revoked_at", Time),
    Column("last_used_at", Time),
    _one_of("role", ROLES, "role"),
)

events = Table(
    "events",
    metadata,
    Column("project", ForeignKey("projects.id"), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("item", Integer),
    Column("worker", Integer),  # whose vote, or who was blocked
    Column("actor", String(200)),  # who answered or acted; None for votes that were imported
    Column("label", SmallInteger),
    Column("undoes", BigInteger),
    Column("key", String(200)),  # of the client: the same key twice is one event
    Column("at", Time, nullable=False),
    Column("more", Json),
    Index("ix_events_project_item_seq", "project", "item", "seq"),
    Index("ix_events_project_worker_seq", "project", "worker", "seq"),
    Index(
        "uq_events_project_key", "project", "key", unique=True,
        sqlite_where=text("key IS NOT NULL"), postgresql_where=text("key IS NOT NULL"),
    ),
    Index(
        "ix_events_spoken", "project", "kind", "seq", sqlite_where=SPOKEN, postgresql_where=SPOKEN
    ),
    _one_of("kind", EVENT_KINDS, "kind"),
    sqlite_with_rowid=False,
)  # fmt: skip

standings = Table(
    "standings",
    metadata,
    Column("project", ForeignKey("projects.id"), primary_key=True),
    Column("item", Integer, primary_key=True),
    # kept by who writes events:
    Column("state", SmallInteger, nullable=False, default=OPEN),
    Column("n_votes", Integer, nullable=False, default=0),
    Column("wanted", SmallInteger, nullable=False, default=1),  # fewer votes than the redundancy
    Column("decision", SmallInteger),  # the class that an expert gave or accepted, if any stands
    Column("decision_seq", BigInteger),
    # kept by the folding worker:
    Column("top", SmallInteger),  # most probable class; None before the first vote
    Column("confidence", Double, nullable=False),  # its probability
    Column("rank", Double, nullable=False),  # minus the urgency: smaller is sooner
    Column("posterior", LargeBinary),  # float64 [class]
    Index("ix_standings_queue", "project", "state", "rank", "item"),
    Index("ix_standings_confidence", "project", "confidence", "item"),
    Index(
        "ix_standings_wanted", "project", "state", "rank", "item", "confidence",
        sqlite_where=WANTED, postgresql_where=WANTED,
    ),
    sqlite_with_rowid=False,
)  # fmt: skip

assignments = Table(
    "assignments",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("project", ForeignKey("projects.id"), nullable=False),
    Column("item", Integer, nullable=False),
    Column("holder", String(200), nullable=False),
    Column("purpose", String(6), nullable=False),  # vote or answer
    Column("token", String(43), nullable=False, unique=True),
    Column("taken_at", Time, nullable=False),
    Column("until", Time, nullable=False),
    Column("ended_at", Time),
    Column("outcome", String(8)),
    Index(
        "uq_assignments_held", "project", "item", unique=True,
        sqlite_where=text("ended_at IS NULL"), postgresql_where=text("ended_at IS NULL"),
    ),
    Index(
        "ix_assignments_holder", "project", "holder",
        sqlite_where=text("ended_at IS NULL"), postgresql_where=text("ended_at IS NULL"),
    ),
    _one_of("purpose", ("vote", "answer"), "purpose"),
)  # fmt: skip

folds = Table(
    "folds",
    metadata,
    Column("project", ForeignKey("projects.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("upto", BigInteger, nullable=False),  # the last event it has taken in
    Column("method", Json, nullable=False),
    Column("at", Time, nullable=False),
    Column("written", Boolean, nullable=False),  # standings and workers are this fold's
    _one_of("kind", FOLD_KINDS, "kind"),
)

folding = Table(
    "folding",
    metadata,
    Column("project", ForeignKey("projects.id"), primary_key=True),
    Column("owner", String(100)),  # the process that folds this project, for as long as `until`
    Column("until", Time, nullable=False, default=0),
    Column("number", Integer, nullable=False, default=0),  # of the last fold
    Column("upto", BigInteger, nullable=False, default=0),
    Column("prior", LargeBinary),  # float64 [class]: Dirichlet parameters of the class shares
    Column("guess", LargeBinary),  # float64 [class]: the same of what guesses say
    Column("expected_error", Double),  # mean of 1 - confidence over items with votes or answers
    Column(
        "stop_doubt", Double, nullable=False, default=-1.0
    ),  # items at most this unsure may stop
    Column("n_stopped", Integer, nullable=False, default=0),
    Column("votes_saved", Integer, nullable=False, default=0),  # not to be asked for on those
    Column("by_class", Json),  # items by their most probable class, in the order of the classes
)

progress = Table(
    "progress",
    metadata,
    Column("project", ForeignKey("projects.id"), primary_key=True),
    Column("fold", Integer, primary_key=True),
    Column("at", Time, nullable=False),
    Column("n_votes", BigInteger, nullable=False),
    Column("n_answers", Integer, nullable=False),
    Column("expected_error", Double, nullable=False),
    Column("n_stopped", Integer, nullable=False),
)

fits = Table(
    "fits",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("project", ForeignKey("projects.id"), nullable=False, index=True),
    Column("kind", String(8), nullable=False),  # snapshot of the stream, or a compared method
    Column("method", Json, nullable=False),
    Column("fold", Integer, nullable=False),
    Column("upto", BigInteger, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("summary", Json, nullable=False),
    Column("state", LargeBinary),
    Column("at", Time, nullable=False),
    _one_of("kind", ("snapshot", "compared"), "kind"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("at", Time, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("project", Identity),
    Column("action", String(50), nullable=False),
    Column("detail", Json, nullable=False),
    Index("ix_audit_project_id", "project", "id"),
)
