"""The first schema"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

IDENTITY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
EVENT_KINDS = (
    "kind IN ('vote', 'answer', 'accept', 'undo', 'skip', 'flag', 'unflag', 'note', 'block', "
    "'unblock', 'retrain', 'setting')"
)
JSON_COLUMN = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("project", IDENTITY, nullable=True),
        sa.Column("action", sa.String(length=50), nullable=False),
        sa.Column("detail", JSON_COLUMN, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.create_index("ix_audit_project_id", ["project", "id"], unique=False)

    op.create_table(
        "projects",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("classes", JSON_COLUMN, nullable=False),
        sa.Column("guideline", sa.Text(), nullable=False),
        sa.Column("guideline_version", sa.Integer(), nullable=False),
        sa.Column("settings", JSON_COLUMN, nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("n_items", sa.Integer(), nullable=False),
        sa.Column("n_workers", sa.Integer(), nullable=False),
        sa.Column("n_events", sa.BigInteger(), nullable=False),
        sa.Column("n_votes", sa.BigInteger(), nullable=False),
        sa.Column("n_answers", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_name")),
    )
    op.create_table(
        "users",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("password", sa.String(length=200), nullable=True),
        sa.Column("owner", sa.Boolean(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("name", name=op.f("uq_users_name")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("project", IDENTITY, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("role", sa.String(length=10), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "role IN ('annotator', 'tool', 'reviewer', 'admin')", name=op.f("ck_api_keys_role")
        ),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_api_keys_project")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("hash", name=op.f("uq_api_keys_hash")),
    )
    op.create_table(
        "assignments",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("project", IDENTITY, nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("holder", sa.String(length=200), nullable=False),
        sa.Column("purpose", sa.String(length=6), nullable=False),
        sa.Column("token", sa.String(length=43), nullable=False),
        sa.Column("taken_at", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.String(length=8), nullable=True),
        sa.CheckConstraint("purpose IN ('vote', 'answer')", name=op.f("ck_assignments_purpose")),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_assignments_project")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assignments")),
        sa.UniqueConstraint("token", name=op.f("uq_assignments_token")),
    )
    with op.batch_alter_table("assignments", schema=None) as batch_op:
        batch_op.create_index(
            "ix_assignments_holder",
            ["project", "holder"],
            unique=False,
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        )
        batch_op.create_index(
            "uq_assignments_held",
            ["project", "item"],
            unique=True,
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        )

    op.create_table(
        "batches",
        sa.Column("project", IDENTITY, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("reply", JSON_COLUMN, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_batches_project")),
        sa.PrimaryKeyConstraint("project", "number", name=op.f("pk_batches")),
    )
    with op.batch_alter_table("batches", schema=None) as batch_op:
        batch_op.create_index("uq_batches_project_key", ["project", "key"], unique=True)

    op.create_table(
        "events",
        sa.Column("project", IDENTITY, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("item", sa.Integer(), nullable=True),
        sa.Column("worker", sa.Integer(), nullable=True),
        sa.Column("actor", sa.String(length=200), nullable=True),
        sa.Column("label", sa.SmallInteger(), nullable=True),
        sa.Column("undoes", sa.BigInteger(), nullable=True),
        sa.Column("key", sa.String(length=200), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("more", JSON_COLUMN, nullable=True),
        sa.CheckConstraint(EVENT_KINDS, name=op.f("ck_events_kind")),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_events_project")),
        sa.PrimaryKeyConstraint("project", "seq", name=op.f("pk_events")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.create_index(
            "ix_events_project_item_seq", ["project", "item", "seq"], unique=False
        )
        batch_op.create_index(
            "ix_events_project_worker_seq", ["project", "worker", "seq"], unique=False
        )
        batch_op.create_index(
            "ix_events_spoken",
            ["project", "kind", "seq"],
            unique=False,
            sqlite_where=sa.text("kind <> 'vote'"),
            postgresql_where=sa.text("kind <> 'vote'"),
        )
        batch_op.create_index(
            "uq_events_project_key",
            ["project", "key"],
            unique=True,
            sqlite_where=sa.text("key IS NOT NULL"),
            postgresql_where=sa.text("key IS NOT NULL"),
        )

    op.create_table(
        "fits",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("project", IDENTITY, nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("method", JSON_COLUMN, nullable=False),
        sa.Column("fold", sa.Integer(), nullable=False),
        sa.Column("upto", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("summary", JSON_COLUMN, nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('snapshot', 'compared')", name=op.f("ck_fits_kind")),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_fits_project")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fits")),
    )
    with op.batch_alter_table("fits", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_fits_project"), ["project"], unique=False)

    op.create_table(
        "folding",
        sa.Column("project", IDENTITY, nullable=False),
        sa.Column("owner", sa.String(length=100), nullable=True),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("upto", sa.BigInteger(), nullable=False),
        sa.Column("prior", sa.LargeBinary(), nullable=True),
        sa.Column("guess", sa.LargeBinary(), nullable=True),
        sa.Column("expected_error", sa.Double(), nullable=True),
        sa.Column("stop_doubt", sa.Double(), nullable=False),
        sa.Column("n_stopped", sa.Integer(), nullable=False),
        sa.Column("votes_saved", sa.Integer(), nullable=False),
        sa.Column("by_class", JSON_COLUMN, nullable=True),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_folding_project")),
        sa.PrimaryKeyConstraint("project", name=op.f("pk_folding")),
    )
    op.create_table(
        "folds",
        sa.Column("project", IDENTITY, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("upto", sa.BigInteger(), nullable=False),
        sa.Column("method", JSON_COLUMN, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("written", sa.Boolean(), nullable=False),
        sa.CheckConstraint("kind IN ('update', 'rescore', 'restart')", name=op.f("ck_folds_kind")),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_folds_project")),
        sa.PrimaryKeyConstraint("project", "number", name=op.f("pk_folds")),
    )
    op.create_table(
        "items",
        sa.Column("project", IDENTITY, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("payload_kind", sa.String(length=10), nullable=False),
        sa.Column("payload", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "payload_kind IN ('none', 'text', 'json', 'url', 'image', 'audio')",
            name=op.f("ck_items_payload_kind"),
        ),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_items_project")),
        sa.PrimaryKeyConstraint("project", "number", name=op.f("pk_items")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("items", schema=None) as batch_op:
        batch_op.create_index("uq_items_project_name", ["project", "name"], unique=True)

    op.create_table(
        "media",
        sa.Column("project", IDENTITY, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("mime", sa.String(length=100), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_media_project")),
        sa.PrimaryKeyConstraint("project", "sha256", name=op.f("pk_media")),
    )
    op.create_table(
        "members",
        sa.Column("project", IDENTITY, nullable=False),
        sa.Column("user", IDENTITY, nullable=False),
        sa.Column("role", sa.String(length=10), nullable=False),
        sa.CheckConstraint(
            "role IN ('annotator', 'tool', 'reviewer', 'admin')", name=op.f("ck_members_role")
        ),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_members_project")),
        sa.ForeignKeyConstraint(["user"], ["users.id"], name=op.f("fk_members_user")),
        sa.PrimaryKeyConstraint("project", "user", name=op.f("pk_members")),
    )
    op.create_table(
        "progress",
        sa.Column("project", IDENTITY, nullable=False),
        sa.Column("fold", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("n_votes", sa.BigInteger(), nullable=False),
        sa.Column("n_answers", sa.Integer(), nullable=False),
        sa.Column("expected_error", sa.Double(), nullable=False),
        sa.Column("n_stopped", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_progress_project")),
        sa.PrimaryKeyConstraint("project", "fold", name=op.f("pk_progress")),
    )
    op.create_table(
        "standings",
        sa.Column("project", IDENTITY, nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("n_votes", sa.Integer(), nullable=False),
        sa.Column("wanted", sa.SmallInteger(), nullable=False),
        sa.Column("decision", sa.SmallInteger(), nullable=True),
        sa.Column("decision_seq", sa.BigInteger(), nullable=True),
        sa.Column("top", sa.SmallInteger(), nullable=True),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("rank", sa.Double(), nullable=False),
        sa.Column("posterior", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_standings_project")),
        sa.PrimaryKeyConstraint("project", "item", name=op.f("pk_standings")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("standings", schema=None) as batch_op:
        batch_op.create_index(
            "ix_standings_confidence", ["project", "confidence", "item"], unique=False
        )
        batch_op.create_index(
            "ix_standings_queue", ["project", "state", "rank", "item"], unique=False
        )
        batch_op.create_index(
            "ix_standings_wanted",
            ["project", "state", "rank", "item", "confidence"],
            unique=False,
            sqlite_where=sa.text("wanted = 1"),
            postgresql_where=sa.text("wanted = 1"),
        )

    op.create_table(
        "workers",
        sa.Column("project", IDENTITY, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("flag", sa.String(length=10), nullable=True),
        sa.Column("n_votes", sa.Integer(), nullable=False),
        sa.Column("accuracy", sa.Double(), nullable=True),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("counts", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint(
            "flag IS NULL OR flag IN ('blocked', 'retrain')", name=op.f("ck_workers_flag")
        ),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], name=op.f("fk_workers_project")),
        sa.PrimaryKeyConstraint("project", "number", name=op.f("pk_workers")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("workers", schema=None) as batch_op:
        batch_op.create_index("uq_workers_project_name", ["project", "name"], unique=True)


def downgrade() -> None:
    with op.batch_alter_table("workers", schema=None) as batch_op:
        batch_op.drop_index("uq_workers_project_name")

    op.drop_table("workers")
    with op.batch_alter_table("standings", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_standings_wanted",
            sqlite_where=sa.text("wanted = 1"),
            postgresql_where=sa.text("wanted = 1"),
        )
        batch_op.drop_index("ix_standings_queue")
        batch_op.drop_index("ix_standings_confidence")

    op.drop_table("standings")
    op.drop_table("progress")
    op.drop_table("members")
    op.drop_table("media")
    with op.batch_alter_table("items", schema=None) as batch_op:
        batch_op.drop_index("uq_items_project_name")

    op.drop_table("items")
    op.drop_table("folds")
    op.drop_table("folding")
    with op.batch_alter_table("fits", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_fits_project"))

    op.drop_table("fits")
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_events_project_key",
            sqlite_where=sa.text("key IS NOT NULL"),
            postgresql_where=sa.text("key IS NOT NULL"),
        )
        batch_op.drop_index(
            "ix_events_spoken",
            sqlite_where=sa.text("kind <> 'vote'"),
            postgresql_where=sa.text("kind <> 'vote'"),
        )
        batch_op.drop_index("ix_events_project_worker_seq")
        batch_op.drop_index("ix_events_project_item_seq")

    op.drop_table("events")
    with op.batch_alter_table("batches", schema=None) as batch_op:
        batch_op.drop_index("uq_batches_project_key")

    op.drop_table("batches")
    with op.batch_alter_table("assignments", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_assignments_held",
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        )
        batch_op.drop_index(
            "ix_assignments_holder",
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        )

    op.drop_table("assignments")
    op.drop_table("api_keys")
    op.drop_table("users")
    op.drop_table("projects")
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.drop_index("ix_audit_project_id")

    op.drop_table("audit")
