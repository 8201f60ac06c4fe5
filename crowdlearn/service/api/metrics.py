"""Figures for Prometheus, in a registry of the app's own; no project or person is named."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from sqlalchemy import func, select

from crowdlearn.service.folder import Folder
from crowdlearn.store.database import Store
from crowdlearn.store.tables import folding, projects

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class Metrics:
    """Counts requests as they end, and asks the store when it is read."""

    def __init__(self, store: Store, folder: Folder) -> None:
        self.store, self.folder = store, folder
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "crowdlearn_requests", "Requests by route and status.", ["route", "method", "status"],
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "crowdlearn_request_seconds", "Seconds until the response has been sent.",
            ["route", "method"], registry=self.registry,
        )  # fmt: skip
        self.pending = Gauge(
            "crowdlearn_events_pending", "Events that are not folded yet.", registry=self.registry
        )
        self.behind = Gauge(
            "crowdlearn_projects_behind", "Projects with such events.", registry=self.registry
        )
        self.alive = Gauge(
            "crowdlearn_folder_alive", "Whether this process folds.", registry=self.registry
        )

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request."""
        method = method if method in METHODS else "other"
        self.requests.labels(route, method, str(status)).inc()
        self.seconds.labels(route, method).observe(seconds)

    def exposed(self) -> bytes:
        """All figures, in Prometheus's text format."""
        pending = projects.c.n_events - folding.c.upto
        query = select(func.coalesce(func.sum(pending), 0), func.count()).where(pending > 0)
        with self.store.read() as db:
            events, behind = db.execute(
                query.select_from(projects.join(folding, folding.c.project == projects.c.id))
            ).one()
        self.pending.set(float(events))
        self.behind.set(float(behind))
        self.alive.set(float(self.folder.alive))
        return generate_latest(self.registry)
