"""Bytes from files, gzip or not, and what to say where they cannot be had."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from crowdlearn.errors import CrowdlearnError, VotesError


class Rejoined(io.RawIOBase):
    """A stream whose start has been read already, put together again; counts quote marks."""

    def __init__(self, head: bytes, rest: io.BufferedIOBase) -> None:
        self._head = head
        self._rest = rest
        self.n_quotes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer from the head, then from the rest."""
        piece = self._head[: len(buffer)] or self._rest.read(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(piece)] = piece
        self.n_quotes += piece.count(b'"')
        return len(piece)


@contextmanager
def opened(name: str) -> Iterator[io.BufferedIOBase]:
    """The bytes of a file by path or URL, unpacked if they are gzip (by content, not by name)."""
    from crowdlearn.reading.remote import is_url, opened_url

    with opened_url(name) if is_url(name) else open(name, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        yield gzip.GzipFile(fileobj=raw) if packed else raw


@contextmanager
def refused(name: str) -> Iterator[None]:
    """Turn what can go wrong while bytes are read into VotesErrors that say what would do."""
    try:
        yield
    except CrowdlearnError:
        raise
    except EOFError as error:
        raise VotesError(
            f"{name}: the gzip file breaks off before its end: copy or download it again"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise VotesError(f"{name}: is damaged gzip ({error}): copy or download it again") from error
    except OSError as error:
        raise VotesError(f"{name}: cannot be read: {error.strerror or error}") from error
