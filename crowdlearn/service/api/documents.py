"""The OpenAPI description: errors, ways to sign in, and summaries that are the docstrings'."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from crowdlearn.service.api.problems import PROBLEM, Problem

WAYS_IN = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key (clk_...)."},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "user": {"type": "http", "scheme": "basic", "description": "A user's name and password."},
}
ERRORS = {
    400: "The body cannot be read at all.",
    401: "The caller is not known.",
    403: "The caller's role does not include this.",
    404: "There is no such thing, or none that the caller may know of.",
    409: "Somebody else was first, or a key was used for something else.",
    413: "The body is too large.",
    422: "What was sent cannot be used.",
    429: "Too much at once: wait as long as Retry-After says.",
    503: "The store does not answer now.",
}
METHODS = {"get", "post", "put", "patch", "delete"}


def document(app: FastAPI) -> None:
    """Let the app describe itself in full."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _description(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _description(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    parts = found.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs", {}) | {"Problem": problem}
    parts["securitySchemes"] = WAYS_IN
    for path, methods in found["paths"].items():
        for method in METHODS & methods.keys():
            _complete(methods[method], guarded=path.startswith("/v1"))
    return found


def _complete(operation: dict[str, Any], *, guarded: bool) -> None:
    first, _, _ = operation.get("description", "").partition(". ")
    operation["summary"] = " ".join(first.split()).rstrip(".")
    responses = operation["responses"]
    responses.pop("422", None)
    if not guarded:
        return
    operation["security"] = [{name: []} for name in WAYS_IN]
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    for status, meaning in ERRORS.items():
        responses[str(status)] = {"description": meaning, "content": {PROBLEM: schema}}
