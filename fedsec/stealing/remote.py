"""A victim behind a URL: the same counter and budget, with retries, and a journal of its answers.

Request     POST of JSON. By default {"images": nested lists [sample][channel][row][column]} of
            numbers in [0, 1]; `encode` says it otherwise.
Answer      JSON. By default {"labels": [int, ...]} or {"probabilities": [[float, ...], ...]}, one
            for each image, in order; `decode` reads others.
Retries     after a dropped connection, a timeout, and the statuses 408, 425, 429, 500, 502, 503 and
            504, after waits that double; a longer `Retry-After` is kept. Other statuses, and
            answers that are none, end the attack with an error.
Budget      images that were answered. What was sent again after a dropped connection may be billed
            twice by its owner: `resent` counts it.
Journal     a file of every answer, written as it comes. An attack that is resumed from an older
            checkpoint asks the same again: it is answered from the journal, so nothing is paid for
            twice, and the run is bit-equal. Paid answers that are not asked for again count as
            spent.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fedsec.errors import DataError, FedsecError, SettingsError
from fedsec.stealing.oracle import (
    Mode,
    QueryLog,
    Shape,
    admit,
    check_oracle,
    check_resumed,
    left,
)

Encode = Callable[[Float[np.ndarray, "sample channel height width"]], Any]
"""Images, float32 in [0, 1], to what is sent as JSON."""
Decode = Callable[[Any], Sequence[Any]]
"""What came back, parsed, to one answer for each image."""

AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
TOLERANCE = 1e-3  # of the sum of answered probabilities from 1


class OracleUnreachable(FedsecError):
    """The URL did not answer after all retries; what it answered before is kept."""


def nested_lists(images: Float[np.ndarray, "sample channel height width"]) -> dict[str, Any]:
    """{"images": [sample][channel][row][column]}."""
    return {"images": images.tolist()}


def base64_floats(images: Float[np.ndarray, "sample channel height width"]) -> dict[str, Any]:
    """{"shape": [...], "float32": base64 of little-endian floats, C order}: a quarter the size."""
    content = np.ascontiguousarray(images, dtype="<f4").tobytes()
    return {"shape": list(images.shape), "float32": base64.b64encode(content).decode()}


def labels_or_probabilities(answer: Any) -> Sequence[Any]:
    """The list under "labels" or "probabilities"; of anything else raises DataError."""
    if isinstance(answer, Mapping):
        for name in ("labels", "probabilities"):
            if isinstance(answer.get(name), list):
                found: list[Any] = answer[name]
                return found
    raise DataError(
        f'{str(answer)[:80]}: not {{"labels": [...]}} or {{"probabilities": [[...]]}}; say how to'
        " read it by `decode`"
    )


class RemoteOracle:
    """An `Oracle` over HTTP; see the module. Use it in a `with`, or call `close`.

    headers   of every request, as a key to the API
    batch     images in a request, at most
    timeout   seconds for an answer
    retries   of a request
    wait      seconds before the first retry; they double, up to `longest`
    journal   file of the answers; None: an interrupted run asks again for what it had

    Raises SettingsError for settings out of range, and a journal of another URL, shape or mode;
    DataError for a journal that is none; ImportError without httpx.
    """

    def __init__(
        self,
        url: str,
        shape: Shape,
        n_classes: int,
        *,
        mode: Mode = "labels",
        budget: int | None = None,
        headers: Mapping[str, str] | None = None,
        batch: int = 256,
        timeout: float | int = 30.0,
        retries: int = 8,
        wait: float | int = 0.5,
        longest: float | int = 60.0,
        journal: Path | None = None,
        encode: Encode = nested_lists,
        decode: Decode = labels_or_probabilities,
        log: QueryLog | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        check_oracle(shape, n_classes, mode, budget)
        for name, value, least in (("batch", batch, 1), ("retries", retries, 0)):
            if value < least:
                raise SettingsError(f"{name} = {value}: give at least {least}")
        if not timeout > 0 or not wait >= 0:
            raise SettingsError(f"timeout = {timeout}, wait = {wait}: give seconds")
        self.url, self.n_classes, self.mode = url, n_classes, mode
        self.shape: Shape = (shape[0], shape[1], shape[2])
        self.budget, self.queries, self.resent = budget, 0, 0
        self.log = QueryLog(n_classes) if log is None else log
        self._batch, self._retries, self._wait, self._longest = batch, retries, wait, longest
        self._encode, self._decode, self._sleep = encode, decode, sleep
        about = {"url": url, "shape": list(shape), "n_classes": n_classes, "mode": mode}
        self._client = _client(timeout, headers)
        self._journal = None if journal is None else _Journal(journal, about)

    def remaining(self) -> int | None:
        """Queries that are left; None where there is no budget."""
        return left(self.budget, self.queries)

    def __call__(self, x: Float[Tensor, "sample channel height width"]) -> Tensor:
        """Labels or probabilities of a batch, on its device; see `Oracle`.

        Raises DataError for images of another shape, and where the URL answers what is no answer or
        an out-of-range label; OracleUnreachable after the last retry.
        """
        admit(self, x)
        clipped = x.detach().clamp(0, 1)
        found = [self._part(part) for part in clipped.split(self._batch)]
        return torch.cat(found).to(x.device)

    def resume(self, queries: int, calls: int, counts: Int[Tensor, " class"]) -> None:
        """Go on from these counts; see `Oracle`. The journal's answers after them come next."""
        check_resumed(self, queries)
        if self._journal is not None:
            self._journal.skip(queries - self.queries)
        self.queries, self.log.calls = queries, calls
        self.log.counts = counts.clone()

    def close(self) -> None:
        """Close the connection and the journal."""
        self._client.close()
        if self._journal is not None:
            self._journal.close()

    def __enter__(self) -> RemoteOracle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _part(self, x: Tensor) -> Tensor:
        """The answers to one request, from the journal where it has them."""
        images = x.cpu().numpy().astype(np.float32, copy=False)
        if not np.isfinite(images).all():
            raise DataError("a pixel is NaN: the attack has diverged; lower its rates")
        digest = hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()
        known: list[Any] | None = None
        if self._journal is not None:
            known, lost = self._journal.next(digest)
            if lost:
                self.queries += lost
                admit(self, x)
        answers = self._checked(self._ask(images) if known is None else known, len(x))
        if known is None and self._journal is not None:
            self._journal.add(digest, answers.tolist())
        self.queries += len(x)
        self.log.add(x, answers)
        return answers

    def _ask(self, images: Float[np.ndarray, "sample channel height width"]) -> Sequence[Any]:
        import httpx

        body = self._encode(images)
        trouble = ""
        for attempt in range(self._retries + 1):
            if attempt:
                self.resent += len(images)
            seconds = min(self._wait * 2**attempt, self._longest)
            try:
                answer = self._client.post(self.url, json=body)
            except (httpx.TransportError, httpx.InvalidURL) as error:
                if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
                    raise SettingsError(f"{self.url}: not a URL to ask ({error})") from error
                trouble = str(error) or type(error).__name__
            else:
                if answer.status_code == 200:
                    return self._read(answer.text)
                trouble = f"status {answer.status_code}"
                if answer.status_code not in AGAIN:
                    raise DataError(f"{self.url}: {trouble}: {answer.text[:200]}")
                seconds = max(seconds, _retry_after(answer.headers.get("retry-after", "")))
            if attempt < self._retries:
                self._sleep(seconds)
        raise OracleUnreachable(
            f"{self.url}: no answer after {self._retries} retries ({trouble}); {self.queries}"
            " queries were answered: go on with the same command once it answers"
        )

    def _read(self, text: str) -> Sequence[Any]:
        try:
            return self._decode(json.loads(text))
        except ValueError as error:  # DataError is one
            raise DataError(f"{self.url}: {error}") from error

    def _checked(self, answers: Sequence[Any], n: int) -> Tensor:
        """The answers as a tensor. Raises DataError where they are not n that make sense."""
        if len(answers) != n:
            raise DataError(f"{self.url}: answered {len(answers)} for {n} images")
        try:
            found = np.asarray(answers)
            kind = found.dtype.kind
        except ValueError:  # ragged
            found, kind = np.empty(0), "O"
        if self.mode == "labels":
            if found.ndim != 1 or kind not in "iu":
                raise DataError(
                    f"{self.url}: answered {str(answers[0])[:60]} for an image: give whole numbers"
                )
            wrong = np.flatnonzero((found < 0) | (found >= self.n_classes))
            if len(wrong):
                raise DataError(
                    f"{self.url}: answered label {found[wrong[0]]} for image {wrong[0]} of a"
                    f" request: labels are 0 to {self.n_classes - 1}"
                )
            return torch.from_numpy(found.astype(np.int64))
        if found.shape != (n, self.n_classes) or kind not in "iuf":
            raise DataError(
                f"{self.url}: answered {str(answers[0])[:60]} for an image: give {self.n_classes}"
                " probabilities"
            )
        found = found.astype(np.float32)
        fine = (found >= 0).all(axis=1) & (abs(found.sum(axis=1) - 1) <= TOLERANCE)
        if not fine.all():
            row = int(np.flatnonzero(~fine)[0])
            raise DataError(
                f"{self.url}: answered {found[row].tolist()} for image {row} of a request:"
                " probabilities are not negative, and sum to 1"
            )
        return torch.from_numpy(found)


class _Journal:
    """JSON lines: what is asked of whom, then a digest and the answers of each request."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path = path
        self.waiting: deque[tuple[str, list[Any]]] = deque()
        whole = self._read(about) if path.exists() else ""
        self.file = path.open("r+" if path.exists() else "x")
        self.file.truncate(len(whole.encode()))  # without a line that was cut off
        self.file.seek(0, 2)
        if not whole:
            self._write(about)

    def next(self, digest: str) -> tuple[list[Any] | None, int]:
        """The next answers where they are to this, and how many paid ones are lost where not."""
        lost = 0
        while self.waiting:
            found, answers = self.waiting.popleft()
            if found == digest:
                return answers, lost
            lost += len(answers)
        return None, lost

    def skip(self, queries: int) -> None:
        """Leave out the answers that a checkpoint holds."""
        while self.waiting and queries >= len(self.waiting[0][1]):
            queries -= len(self.waiting.popleft()[1])

    def add(self, digest: str, answers: list[Any]) -> None:
        """Write an answer that has just come."""
        self._write({"digest": digest, "answers": answers})

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def _write(self, line: dict[str, Any]) -> None:
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()

    def _read(self, about: dict[str, Any]) -> str:
        """Take the answers in; returns the whole lines."""
        try:
            lines = self.path.read_text().splitlines(keepends=True)
            if lines and not lines[-1].endswith("\n"):
                lines.pop()
            read = [json.loads(line) for line in lines]
            self.waiting.extend((one["digest"], one["answers"]) for one in read[1:])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self.path}: not a journal of answers ({error})") from error
        if read and read[0] != about:
            raise SettingsError(
                f"{self.path}: holds answers of {read[0]}, and {about} is asked: give another file"
            )
        return "".join(lines)


def _client(timeout: float | int, headers: Mapping[str, str] | None) -> Any:
    try:
        import httpx
    except ImportError as error:
        raise ImportError("a remote oracle needs httpx: pip install httpx") from error
    return httpx.Client(timeout=timeout, headers=dict(headers or {}))


def _retry_after(value: str) -> float:
    """Seconds that a server asks to wait; 0 where it gives a date, or nothing."""
    return float(value) if value.isdigit() else 0.0
