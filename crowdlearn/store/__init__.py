"""The store: projects, items, votes and answers in SQLite or PostgreSQL."""

from crowdlearn.store.backup import backup, restore
from crowdlearn.store.database import Store
from crowdlearn.store.migrate import open_store, upgrade

__all__ = ["Store", "backup", "open_store", "restore", "upgrade"]
