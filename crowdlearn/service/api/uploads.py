"""A body becomes a file for as long as it is read, named by us and not by who sent it."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from starlette.concurrency import run_in_threadpool

from crowdlearn.errors import SettingsError, VotesError
from crowdlearn.service.importing import Upload, read_upload

ENDINGS = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet", ".zip")
LARGEST_UNPACKED = 1 << 28  # bytes of a gzip file's content, and of a Parquet file's columns
MOST_ROWS = 10_000_000  # of a Parquet file
ROWS_AT_ONCE = 8192
PIECE = 1 << 20


@dataclass(frozen=True)
class Arrived:
    """A file on our disk, and what its sender calls it."""

    path: Path
    name: str

    def read(self, kind: str, classes: Sequence[str]) -> Upload:
        """Read and check it. Raises VotesError or SettingsError, which call it by its name."""
        path = _unpacked(self)
        _check_parquet(self, path)
        try:
            return read_upload(path, kind, name=self.name, classes=classes)
        except (VotesError, SettingsError) as error:
            refused = type(error)(str(error))  # without the frames, which hold the file open
        raise refused


@asynccontextmanager
async def arriving(body: AsyncIterator[bytes], name: str) -> AsyncIterator[Arrived]:
    """The body as a file, until the block ends. Raises SettingsError for an ending that says no
    format."""
    shown = "".join(sign for sign in PurePosixPath(name.replace("\\", "/")).name if _plain(sign))
    ending = PurePosixPath(shown.lower().removesuffix(".gz")).suffix
    if ending not in ENDINGS:
        raise SettingsError(f"the name of the file ends in none of {', '.join(ENDINGS)}")
    folder = Path(await run_in_threadpool(tempfile.mkdtemp, prefix="crowdlearn-"))
    try:
        path = folder / f"upload{ending}"
        with path.open("wb") as file:
            async for piece in body:
                await run_in_threadpool(file.write, piece)
        yield Arrived(path, shown)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _plain(sign: str) -> bool:
    return sign.isprintable()


def _unpacked(arrived: Arrived) -> Path:
    """The file itself or, where it is gzip, its content: but not without end."""
    with arrived.path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            return arrived.path
    path = arrived.path.with_stem("unpacked")
    try:
        with gzip.open(arrived.path) as packed, path.open("wb") as file:
            size = 0
            while piece := packed.read(PIECE):
                size += len(piece)
                if size > LARGEST_UNPACKED:
                    raise VotesError(
                        f"{arrived.name}: unpacks to over {LARGEST_UNPACKED:,} bytes: split it"
                    )
                file.write(piece)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise VotesError(f"{arrived.name}: is damaged gzip") from error
    return path


def _check_parquet(arrived: Arrived, path: Path) -> None:
    """Refuse a Parquet file that unpacks to too much: by what it says, and by what it holds, since
    a text that is repeated is there once."""
    if path.suffix != ".parquet":
        return
    try:
        about = pq.read_metadata(path)
        size = sum(about.row_group(k).total_byte_size for k in range(about.num_row_groups))
        fine = about.num_rows <= MOST_ROWS and size <= LARGEST_UNPACKED and _unpacks_small(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise VotesError(f"{arrived.name}: is no Parquet file that can be read") from error
    if not fine:
        raise VotesError(f"{arrived.name}: holds too much: split it")


def _unpacks_small(path: Path) -> bool:
    with pq.ParquetFile(path) as file:
        texts = [c.name for c in file.schema_arrow if pa.types.is_string(c.type)]
    size = 0
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
            size += sum(_n_bytes(column) for column in batch.columns)
            if size > LARGEST_UNPACKED:
                return False
    return True


def _n_bytes(column: pa.Array) -> int:
    """Bytes of a column with every text written out."""
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary)
    return int(pc.sum(lengths.take(column.indices)).as_py() or 0)
