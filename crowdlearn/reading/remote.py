"""Files by URL. Arrow itself opens s3://, gs:// and file://, fsspec all else that it knows.

Credentials come from where the store's own tools look for them: for S3 the variables
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and AWS_REGION, and AWS_ENDPOINT_URL for
a server that is not Amazon's; for Google GOOGLE_APPLICATION_CREDENTIALS.
"""

from __future__ import annotations

import fnmatch
import io
import os
import re
from collections.abc import Iterator
from typing import Any, cast

from crowdlearn.errors import VotesError
from crowdlearn.reading.streams import refused

MARKS = re.compile(r"[*?\[]")


def is_url(text: str) -> bool:
    """Whether this names a file by scheme, as s3://bucket/votes.parquet."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def located(url: str) -> tuple[Any, str]:
    """An Arrow file system, and the path there.

    Raises VotesError for an unknown scheme, ImportError where fsspec is needed and not there.
    """
    from pyarrow import fs

    scheme, _, path = url.partition("://")
    if scheme == "file":
        return fs.LocalFileSystem(), path
    if scheme == "s3":
        return fs.S3FileSystem(**_of_s3()), path
    if scheme in ("gs", "gcs"):
        return fs.GcsFileSystem(), path
    return _by_fsspec(url, scheme)


def opened_url(url: str) -> io.BufferedReader:
    """The bytes of a file."""
    system, path = located(url)
    return io.BufferedReader(cast(io.RawIOBase, system.open_input_file(path)))


def urls_of(url: str) -> list[tuple[str, int, int]]:
    """The files that a URL names, which may be a glob: URL, bytes, and nanoseconds when changed.

    Raises VotesError where there is none.
    """
    from pyarrow import fs

    with refused(url):
        head, pattern = _without_marks(url)
        system, base = located(head)
        if pattern:
            found = sorted(_matching(system, base, pattern), key=lambda info: info.path)
        else:
            found = [system.get_file_info(base)]
    if not pattern and found[0].type == fs.FileType.Directory:
        raise VotesError(f"{url}: is a directory: name its files, as '{url.rstrip('/')}/*.parquet'")
    files = [info for info in found if info.type == fs.FileType.File]
    if not files:
        raise VotesError(f"{url}: {'no file matches' if pattern else 'there is no such file'}")
    return [(head + info.path[len(base) :], info.size or 0, info.mtime_ns or 0) for info in files]


def _without_marks(url: str) -> tuple[str, str]:
    """The folder above the first segment with a mark, and what follows; a plain URL is whole."""
    mark = MARKS.search(url)
    if mark is None:
        return url, ""
    cut = url.rindex("/", 0, mark.start())
    if cut < url.index("://") + 3:
        raise VotesError(f"{url}: a glob needs a bucket or folder before its first *, ? or [")
    return url[:cut], url[cut + 1 :]


def _matching(system: Any, base: str, pattern: str) -> Iterator[Any]:
    """What matches below a folder; `**` stands for any folders."""
    from pyarrow import fs

    first, _, rest = pattern.partition("/")
    inside = system.get_file_info(fs.FileSelector(base, allow_not_found=True))
    if first == "**":
        yield from _matching(system, base, rest or "*")
        for info in inside:
            if info.type == fs.FileType.Directory:
                yield from _matching(system, info.path, pattern)
        return
    for info in inside:
        if fnmatch.fnmatchcase(info.base_name, first):
            if not rest:
                yield info
            elif info.type == fs.FileType.Directory:
                yield from _matching(system, info.path, rest)


def _of_s3() -> dict[str, str]:
    """What Arrow's S3 does not read of the environment in all its versions."""
    wanted = {
        "endpoint_override": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    }
    found = {
        name: next((os.environ[v] for v in variables if os.environ.get(v)), None)
        for name, variables in wanted.items()
    }
    return {name: value for name, value in found.items() if value is not None}


def _by_fsspec(url: str, scheme: str) -> tuple[Any, str]:
    from pyarrow import fs

    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise ImportError(f"{scheme}:// needs fsspec: pip install 'crowdlearn[remote]'") from error
    try:
        system, path = url_to_fs(url)
    except (ValueError, ImportError) as error:  # an unknown scheme, or its package is not there
        raise VotesError(f"{url}: cannot be opened: {error}") from error
    return fs.PyFileSystem(fs.FSSpecHandler(system)), path
