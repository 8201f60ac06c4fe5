"""Files of votes to a folder of buckets, in two passes, with little in memory at any time.

Survey    every file is read for the names of its workers and classes, and how many rows it has.
Scatter   every file is read again. A vote's bucket is a range of the hash of its item's name, so
          all votes of an item meet, whatever file they stand in; codes are written by bucket.
Gather    every bucket is read, sorted by item, and written as the columns of `Votes`.

Items come in the order of their hashes and workers in the order of their names, so codes do not
depend on how the votes are cut into files, nor on the number of buckets. Each step is a function of
one file or one bucket: `each` may do them on other processes or machines that see the same disk.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from crowdlearn.errors import SettingsError, VotesError
from crowdlearn.io import checked_classes
from crowdlearn.output import new_folder
from crowdlearn.reading.columns import check_columns
from crowdlearn.reading.sources import File, files_of
from crowdlearn.shards.each import Each, each_on
from crowdlearn.shards.gather import SharedHash, gather
from crowdlearn.shards.scatter import scatter
from crowdlearn.shards.survey import Job, Survey, Vocabulary, survey, united
from crowdlearn.shards.votes import FORMAT, ShardedVotes, open_votes

VOTES_A_BUCKET = 1 << 22  # gathered at once: some 400 MB
FEWEST_BUCKETS, MOST_BUCKETS = 16, 4096
SALTS = 3  # hashes to try before two names that share one are an error


@dataclass(frozen=True)
class Step:
    """How far a pass is."""

    name: str  # survey, scatter or gather
    done: int  # files; of gather, buckets
    of: int
    n_votes: int  # so far, in this pass
    share: float  # of this pass, from 0 to 1: by bytes of files, by votes once they are counted


Progress = Callable[[Step], None]
"""Told how far a pass is, at its start and after each file or bucket."""


def code_votes(
    source: Any,
    folder: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[Any] | None = None,
    drop_missing: bool = False,
    n_buckets: int | None = None,
    device: str = "auto",
    each: Each | None = None,
    progress: Progress | None = None,
) -> ShardedVotes:
    """Code the votes of a path, a glob, a URL or a list of these into a new folder, as a whole.

    Columns, classes and missing values as in `read_votes`; a part with other columns, or names of
    another type, is refused by name. `n_buckets` is the unit in which votes are spread and fitted;
    left out, buckets hold about four million votes. On `device` "ray" or "ray://HOST:PORT" files
    and buckets are tasks of a cluster, whose machines must all see the files and the folder under
    one path. `each` does the calls of a pass in some other way.

    Raises VotesError naming file, row and column, SettingsError for another device, OutputError
    where the folder cannot be written.
    """
    job = Job(check_columns(columns), checked_classes(classes), drop_missing)
    files = files_of(source)
    wanted = _checked_buckets(n_buckets)
    coder = _Coder(job, files, each or each_on(device), progress or (lambda step: None))
    found = coder.survey()
    vocabulary = united(found, job.classes)
    n = wanted or enough_buckets(sum(one.n_rows for one in found))
    with new_folder(folder) as whole:
        sizes, salt = coder.code(found, vocabulary, whole, n)
        _write_manifest(whole, vocabulary, sizes, salt, manifest_of(files, job))
    return open_votes(folder)


@dataclass(frozen=True, eq=False)
class _Coder:
    job: Job
    files: Sequence[File]
    each: Each
    tell: Progress

    def survey(self) -> list[Survey]:
        """The first pass."""
        results = self.each(survey, [(file.name, self.job) for file in self.files])
        bytes_of_files = [file.n_bytes for file in self.files]
        return list(self._told("survey", results, bytes_of_files, lambda one: one.n_rows))

    def code(
        self, found: Sequence[Survey], vocabulary: Vocabulary, whole: Path, n: int
    ) -> tuple[list[dict[str, int]], int]:
        """Scatter and gather; the sizes of the buckets, and the salt of the hashes."""
        for salt in range(SALTS):
            try:
                self._scatter(found, vocabulary, whole / "scatter", n, salt)
                return self._gather(len(found), vocabulary, whole, n), salt
            except SharedHash:
                for name in ("scatter", "buckets"):
                    shutil.rmtree(whole / name, ignore_errors=True)
        raise VotesError(f"{found[0].path}: names of items share a hash, whatever the salt")

    def _scatter(
        self, found: Sequence[Survey], vocabulary: Vocabulary, into: Path, n: int, salt: int
    ) -> None:
        calls = [
            (one.path, one.n_rows, self.job, vocabulary, n, salt, str(into / f"{k:06d}"))
            for k, one in enumerate(found)
        ]
        results = self.each(scatter, calls)
        for _ in self._told("scatter", results, [one.n_rows for one in found], int):
            pass

    def _gather(
        self, n_files: int, vocabulary: Vocabulary, whole: Path, n: int
    ) -> list[dict[str, int]]:
        scattered = [str(whole / "scatter" / f"{k:06d}") for k in range(n_files)]
        per_worker = np.zeros(len(vocabulary.workers), dtype=np.int64)
        per_class = np.zeros(len(vocabulary.classes), dtype=np.int64)
        calls = [
            (k, scattered, len(per_worker), str(whole / "buckets" / f"{k:06d}")) for k in range(n)
        ]
        results = self.each(gather, calls)
        sizes = []
        for size in self._told("gather", results, [1] * n, lambda one: one["n_votes"]):
            per_worker += size["workers"]
            per_class[: len(size["labels"])] += size["labels"]
            sizes.append({key: size[key] for key in ("n_items", "n_votes")})
        shutil.rmtree(whole / "scatter")
        np.save(whole / "votes_per_worker.npy", per_worker)
        np.save(whole / "votes_per_class.npy", per_class)
        return sizes

    def _told(
        self, name: str, results: Iterable[Any], weights: Sequence[int],
        votes_of: Callable[[Any], int],
    ) -> Iterator[Any]:  # fmt: skip
        """The results; `tell` hears of each."""
        n, total = len(weights), max(sum(weights), 1)
        n_votes = weight = 0
        self.tell(Step(name, 0, n, 0, 0.0))
        with closing(iter(results)) as open_results:  # type: ignore[type-var]
            for k, result in enumerate(open_results):
                n_votes, weight = n_votes + votes_of(result), weight + weights[k]
                yield result
                self.tell(Step(name, k + 1, n, n_votes, weight / total))


def manifest_of(files: Sequence[File], job: Job) -> dict[str, Any]:
    """What a folder was coded from, as plain JSON values: the same again give the same folder."""
    return {"sources": [asdict(file) for file in files], "options": asdict(job)}


def enough_buckets(n_votes: int) -> int:
    """How many buckets so many votes are cut into."""
    return min(max(math.ceil(n_votes / VOTES_A_BUCKET), FEWEST_BUCKETS), MOST_BUCKETS)


def _checked_buckets(wanted: int | None) -> int | None:
    if wanted is not None and not 1 <= wanted <= MOST_BUCKETS:
        raise SettingsError(f"n_buckets = {wanted}: give 1 to {MOST_BUCKETS}")
    return wanted


def _write_manifest(
    whole: Path, vocabulary: Vocabulary, sizes: list[dict[str, int]], salt: int,
    manifest: dict[str, Any],
) -> None:  # fmt: skip
    with pa.OSFile(str(whole / "workers.arrow"), "wb") as sink:
        table = pa.table({"worker": vocabulary.workers})
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    said = {
        "format": FORMAT, "kind": "coded votes", "classes": vocabulary.classes, "salt": salt,
        **manifest, "buckets": sizes,
    }  # fmt: skip
    (whole / "summary.json").write_text(json.dumps(said, indent=1) + "\n")
