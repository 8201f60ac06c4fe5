"""As much of S3 as reading needs, over HTTP on this machine: listings, heads, ranges of objects."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

WHEN = "2026-01-02T03:04:05.000Z"


@contextmanager
def served(bucket: str, objects: dict[str, bytes], key_id: str) -> Iterator[str]:
    """The address of a server with these objects, for requests signed with this key id."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, with_body: bool) -> None:
            parts = urlsplit(self.path)
            where, _, key = unquote(parts.path).lstrip("/").partition("/")
            asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if f"Credential={key_id}/" not in self.headers.get("Authorization", ""):
                self.send(403, b"<Error><Code>AccessDenied</Code></Error>", with_body)
            elif where != bucket or (key and key not in objects):
                self.send(404, b"<Error><Code>NoSuchKey</Code></Error>", with_body)
            elif key:
                self.send_object(objects[key], with_body)
            else:
                self.send(200, listing(bucket, objects, asked).encode(), with_body)

        def send_object(self, data: bytes, with_body: bool) -> None:
            span = self.headers.get("Range")
            if span is None:
                self.send(200, data, with_body)
                return
            low, high = span.removeprefix("bytes=").split("-")
            piece = data[int(low) : int(high) + 1]
            last = int(low) + len(piece) - 1
            self.send(206, piece, with_body, f"bytes {low}-{last}/{len(data)}")

        def send(self, status: int, data: bytes, with_body: bool, span: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
            self.send_header("ETag", '"e"')
            if span:
                self.send_header("Content-Range", span)
            self.end_headers()
            if with_body:
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def listing(bucket: str, objects: dict[str, bytes], asked: dict[str, str]) -> str:
    """ListObjectsV2, all in one page."""
    prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
    found, folders = [], set()
    for key in sorted(objects):
        if not key.startswith(prefix):
            continue
        head, sign, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
        if sign:
            folders.add(prefix + head + delimiter)
        else:
            found.append(key)
    contents = "".join(
        f"<Contents><Key>{escape(key)}</Key><LastModified>{WHEN}</LastModified>"
        f"<Size>{len(objects[key])}</Size></Contents>"
        for key in found
    )
    common = "".join(
        f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>" for f in sorted(folders)
    )
    return (
        f"<ListBucketResult><Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix>"
        f"<KeyCount>{len(found) + len(folders)}</KeyCount><IsTruncated>false</IsTruncated>"
        f"{contents}{common}</ListBucketResult>"
    )
