"""What a grown project looks like, for SQLite's planner, which otherwise guesses until ANALYZE"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Rows, then how many rows share the first, the first two, ... columns of the index.
GROWN = {
    ("events", "events"): "1000000 1000000 1",
    ("events", "ix_events_project_item_seq"): "1000000 1000000 5 1",
    ("events", "ix_events_project_worker_seq"): "1000000 1000000 500 1",
    ("events", "ix_events_spoken"): "10000 10000 2500 1",
    ("events", "uq_events_project_key"): "100000 100000 1",
    ("standings", "standings"): "200000 200000 1",
    ("standings", "ix_standings_queue"): "200000 200000 100000 2 1",
    ("standings", "ix_standings_confidence"): "200000 200000 2 1",
    ("standings", "ix_standings_wanted"): "100000 100000 100000 2 1 1",
    ("items", "items"): "200000 200000 1",
    ("items", "uq_items_project_name"): "200000 200000 1",
    ("workers", "workers"): "2000 2000 1",
    ("workers", "uq_workers_project_name"): "2000 2000 1",
    ("assignments", "uq_assignments_held"): "20 20 1",
    ("assignments", "ix_assignments_holder"): "20 20 1",
}


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    op.execute("ANALYZE")  # makes the table
    op.execute("DELETE FROM sqlite_stat1")
    for (table, index), rows in GROWN.items():
        op.execute(f"INSERT INTO sqlite_stat1 VALUES ('{table}', '{index}', '{rows}')")


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DELETE FROM sqlite_stat1")
