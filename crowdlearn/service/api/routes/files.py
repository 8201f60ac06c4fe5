"""Files go out and come in."""

from __future__ import annotations

import re
import tempfile
from collections.abc import AsyncIterator
from typing import Annotated, BinaryIO, Literal

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from crowdlearn.service.api.context import Context, Here, Writing
from crowdlearn.service.api.routes.projects import ProjectPath
from crowdlearn.service.api.schemas import ImportOut, NoNul
from crowdlearn.service.api.uploads import Arrived, arriving
from crowdlearn.service.exporting import FORMATS, export, note_export
from crowdlearn.service.importing import perform, preview
from crowdlearn.service.projects import read_project

router = APIRouter(prefix="/v1")
PIECE = 1 << 16  # bytes
TYPES = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "jsonl": "application/x-ndjson",
    "label-studio": "application/json",
}
BINARY = {"schema": {"type": "string", "format": "binary"}}
DESCRIBED = {kind.split(";")[0]: BINARY for kind in TYPES.values()} | {
    "application/json": {"schema": {"type": "array"}}
}


@router.get(
    "/projects/{project}/export",
    response_class=Response,
    responses={200: {"content": DESCRIBED}},
)
def export_file(
    here: Writing,
    project: ProjectPath,
    what: Literal["labels", "votes", "answers", "workers"] = "labels",
    format: Literal["csv", "parquet", "jsonl", "label-studio"] = "csv",
    raw: bool = False,
) -> Response:
    """What the project knows, as a file. In CSV, text that a spreadsheet would run is quoted
    unless `raw`."""
    file = tempfile.TemporaryFile(prefix="crowdlearn-")  # noqa: SIM115 - closed when sent
    try:
        with here.read() as db:
            export(db, here.actor, project, file, what=what, format=format, raw=raw)
        with here.write() as db:
            note_export(db, here.actor, project, what, format)
        size = file.seek(0, 2)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    name = f"{_safe_name(project)}-{what}{FORMATS[format]}"
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Content-Length": str(size),
    }
    return StreamingResponse(_pieces(file), media_type=TYPES[format], headers=headers)


@router.post(
    "/projects/{project}/imports",
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/octet-stream": BINARY}}
    },
)
async def import_file(
    here: Here,
    project: ProjectPath,
    request: Request,
    kind: Literal["votes", "items", "answers"],
    name: Annotated[str, Query(min_length=1, max_length=200), NoNul] = "upload.csv",
    dry_run: bool = True,
    add_classes: bool = False,
) -> ImportOut:
    """Import the body, a file whose `name` says its format, all or nothing. A dry run says what
    would be done, and changes nothing."""
    await run_in_threadpool(_classes, here, project)
    async with arriving(request.stream(), name) as arrived, here.service.writers:
        return await run_in_threadpool(
            _imported, here, project, arrived, kind, dry_run, add_classes
        )


def _classes(here: Context, project: str) -> tuple[str, ...]:
    with here.read() as db:
        return read_project(db, here.actor, project, "import").classes


def _imported(
    here: Context, project: str, arrived: Arrived, kind: str, dry_run: bool, add_classes: bool
) -> ImportOut:
    upload = arrived.read(kind, _classes(here, project))
    if dry_run:
        with here.read() as db:
            found = preview(db, here.actor, project, upload)
    else:
        with here.write() as db:
            found = perform(db, here.actor, project, upload, add_classes=add_classes)
    fields = set(ImportOut.model_fields) - {"done"}
    return ImportOut(done=not dry_run, **{name: getattr(found, name) for name in fields})


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    try:
        while piece := await run_in_threadpool(file.read, PIECE):
            yield piece
    finally:
        file.close()


def _safe_name(project: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", project).strip("-.")[:60] or "project"
