"""Cells of a benchmark, each computed once: an interrupted run goes on where it was.

A cell is asked for by a key, plain data that says all its settings, and answered by a row of
numbers. Rows are kept as lines of JSON in a work file; a key that is there is not computed again.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

Key = dict[str, Any]
Row = dict[str, Any]


class Cells:
    """The rows in a work file, and those that are added to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, Row] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    kept = json.loads(line)
                except ValueError:  # the last line of a run that was killed
                    continue
                self._rows[_text(kept["key"])] = kept["row"]

    def rows(
        self, part: str, keys: Sequence[Key], work: Callable[[Key], Row], processes: int
    ) -> list[Row]:
        """Key and row of each cell in one, in order. `work` is a function of a module."""
        keys = [{"part": part, **key} for key in keys]
        missing = [key for key in keys if _text(key) not in self._rows]
        _say(f"{part}: {len(keys)} cells, {len(keys) - len(missing)} of them are there already")
        if processes > 1 and len(missing) > 1:
            self._side_by_side(missing, work, processes)
        else:
            for place, key in enumerate(missing):
                self._add(key, timed(work, key), place, len(missing))
        return [{**key, **self._rows[_text(key)]} for key in keys]

    def _side_by_side(
        self, missing: Sequence[Key], work: Callable[[Key], Row], processes: int
    ) -> None:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            jobs = {pool.submit(timed, work, key): key for key in missing}
            try:
                for place, job in enumerate(as_completed(jobs)):
                    self._add(jobs[job], job.result(), place, len(missing))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _add(self, key: Key, found: tuple[Row, float], place: int, of: int) -> None:
        row, took = found
        self._rows[_text(key)] = row
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "row": row}) + "\n")
        said = " ".join(f"{name}={value}" for name, value in key.items())
        _say(f"[{place + 1}/{of}] {said}: {took:.1f} s")


def timed(work: Callable[[Key], Row], key: Key) -> tuple[Row, float]:
    """The row, and the seconds that it took; on one thread."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    row = work(key)
    return row, time.perf_counter() - started


def _text(key: Key) -> str:
    return json.dumps(key, sort_keys=True)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
