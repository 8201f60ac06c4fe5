"""The routes by topic; all but `health` are under /v1 and need a caller."""

from crowdlearn.service.api.routes import (
    answers,
    files,
    health,
    items,
    people,
    progress,
    projects,
    votes,
    watch,
    work,
    workers,
)

ROUTERS = {
    "projects": projects.router,
    "items": items.router,
    "votes": votes.router,
    "answers": answers.router,
    "work": work.router,
    "workers": workers.router,
    "progress": progress.router,
    "files": files.router,
    "watch": watch.router,
    "people": people.router,
}
"""Routers under /v1 by the tag they have in the documentation."""

__all__ = ["ROUTERS", "health"]
