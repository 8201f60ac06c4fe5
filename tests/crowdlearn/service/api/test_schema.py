"""What the service does to requests that are made up from its own description."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from crowdlearn.service.api.routes import ROUTERS
from tests.crowdlearn.service.api.conftest import BIRDS, Place, Template

EXAMPLES = 15  # of each mode
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
OPERATIONS = [
    (method, route.path)
    for router in ROUTERS.values()
    for route in router.routes
    for method in route.methods
    if not route.path.endswith("/votes/stream")  # lines, which test_streams.py makes up
]
KNOWN = {
    "project": BIRDS, "item": "birds-1", "name": "birds-1", "label": "no", "worker": "w0",
}  # fmt: skip


@pytest.fixture(scope="module")
def shared_place(tmp_path_factory: pytest.TempPathFactory, template: Template) -> Iterator[Place]:
    """One store for all requests here."""
    with template.copied(tmp_path_factory.mktemp("schema") / "store.db") as place:
        yield place


@pytest.fixture(scope="module")
def described(shared_place: Place) -> schemathesis.BaseSchema:
    """The service as it describes itself."""
    app = shared_place.app()
    app.state.service.closing.set()  # event streams end at once
    for methods in app.openapi()["paths"].values():
        for operation in methods.values():
            operation.pop("security", None)  # the requests here are all of known callers
    return schemathesis.openapi.from_asgi("/openapi.json", app)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_answer_is_as_described(
    described: schemathesis.BaseSchema, shared_place: Place, method: str, path: str, mode: Any
) -> None:
    if (method, path, mode) == ("GET", "/v1/projects", GenerationMode.NEGATIVE):
        pytest.skip("takes nothing that could be wrong")
    operation = described[path][method]
    who = "owner" if path == "/v1/projects" else "admin"

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case) -> None:
        if mode is GenerationMode.POSITIVE:
            known_names(case)
        case.call_and_validate(headers=shared_place.headers[who], checks=CHECKS)

    check()


def known_names(case: schemathesis.Case) -> None:
    """Use names that there are in every second request, so that it gets beyond 404."""
    for values in (case.path_parameters, case.query, case.body):
        if isinstance(values, dict) and len(str(values)) % 2:
            for name in KNOWN.keys() & values.keys():
                if isinstance(values[name], str):
                    values[name] = KNOWN[name]
    if case.path.endswith("/comparisons"):
        case.body["methods"] = ["majority"]  # the others compile for seconds
