"""Fetching from a server on this machine: what arrives is checked, and kept whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from fedsec.data.fetching import SOURCES, fetch_images, read_idx
from fedsec.data.images import IMAGE_SETS, load_images
from fedsec.errors import DataError


def idx(array: np.ndarray) -> bytes:
    """A gzipped IDX file."""
    lengths = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes())


@dataclass
class Server:
    """What is served, by file name; `cut` files end after half of the bytes that were promised."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    @property
    def md5(self) -> dict[str, str]:
        return {name: hashlib.md5(content).hexdigest() for name, content in self.files.items()}


@pytest.fixture
def server() -> Iterator[Server]:
    serves = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/sets/")
            serves.asked.append(name)
            if name not in serves.files:
                self.send_error(404)
                return
            content = serves.files[name]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if name in serves.cut else content)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        serves.url = f"http://127.0.0.1:{running.server_port}/sets"
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield serves
        running.shutdown()
        thread.join()


@pytest.fixture
def mnist(server: Server) -> dict[str, np.ndarray]:
    """Small arrays, which the server gives in the files of MNIST."""
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (12, 7, 7), dtype=np.uint8),
        "y_train": rng.integers(0, 10, 12, dtype=np.uint8),
        "x_test": rng.integers(0, 256, (4, 7, 7), dtype=np.uint8),
        "y_test": rng.integers(0, 10, 4, dtype=np.uint8),
    }
    for name, array in zip(SOURCES["mnist"].md5, arrays.values(), strict=True):
        server.files[name] = idx(array)
    return arrays


def test_what_is_fetched_is_what_was_served(
    server: Server, mnist: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "not" / "yet"
    path = fetch_images("mnist", base_url=server.url, cache=cache, md5=server.md5)
    assert path == cache / "mnist.npz" and list(cache.iterdir()) == [path]
    monkeypatch.setattr("fedsec.data.images.cache_folder", lambda: cache)
    monkeypatch.delenv("FEDSEC_DATA", raising=False)
    data = load_images("mnist")
    for part, images in (("train", data.train), ("test", data.test)):
        assert_array_equal(images.x[:, 0] * 255, mnist[f"x_{part}"])
        assert_array_equal(images.y, mnist[f"y_{part}"])
    assert fetch_images("mnist", base_url=server.url, cache=cache) == path
    assert len(server.asked) == 4  # and not again


def test_cifar_comes_from_its_binary_archive(server: Server, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, (6, 3), dtype=np.uint8)
    pixels = rng.integers(0, 256, (6, 3, 3, 32, 32), dtype=np.uint8)
    records = np.concatenate([labels[..., None], pixels.reshape(6, 3, -1)], axis=2)
    names = [f"data_batch_{number}.bin" for number in (1, 2, 3, 4, 5)] + ["test_batch.bin"]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, batch in reversed(list(zip(names, records, strict=True))):
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = batch.nbytes
            archive.addfile(member, io.BytesIO(batch.tobytes()))
    server.files["cifar-10-binary.tar.gz"] = buffer.getvalue()
    fetch_images("cifar10", base_url=server.url, cache=tmp_path, md5=server.md5)
    data = load_images("cifar10", tmp_path)
    expected = torch.from_numpy(pixels).float() / 255
    assert torch.equal(data.train.x, expected[:5].reshape(15, 3, 32, 32))
    assert torch.equal(data.test.x, expected[5])
    assert_array_equal(data.train.y, labels[:5].ravel())


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(
    server: Server, mnist: dict[str, np.ndarray], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="train-images-idx3-ubyte.gz: its MD5 checksum is .* where "
                       "f68b3c2dcbeaaa9fbdd348bbdeb94873 was published"):  # fmt: skip
        fetch_images("mnist", base_url=server.url, cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_download_is_refused_and_can_be_repeated(
    server: Server, mnist: dict[str, np.ndarray], tmp_path: Path
) -> None:
    server.cut = {"t10k-images-idx3-ubyte.gz"}
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte.gz: cannot be fetched: .*onnection"
                       " broken.*named in FEDSEC_DATA"):  # fmt: skip
        fetch_images("mnist", base_url=server.url, cache=tmp_path, md5=server.md5)
    assert not list(tmp_path.iterdir())
    server.cut = set()
    fetch_images("mnist", base_url=server.url, cache=tmp_path, md5=server.md5)
    assert len(load_images("mnist", tmp_path).train) == 12


def test_a_server_without_the_files_and_no_server_are_named(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train-images-idx3-ubyte.gz: cannot be fetched: 404"):
        fetch_images("mnist", base_url=server.url, cache=tmp_path)
    with pytest.raises(DataError, match="cannot be fetched: .*is this machine on the network"):
        fetch_images("mnist", base_url="http://127.0.0.1:9", cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_cache_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(DataError, match="cache/mnist.npz: cannot be written: .*File exists"):
        fetch_images("mnist", cache=tmp_path / "cache")


@pytest.mark.parametrize("name", ["digits", "svhn"])
def test_what_cannot_be_fetched_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=f"'{name}' cannot be fetched: choose from fashion-mnist, "):
        fetch_images(name)


def test_every_set_but_digits_can_be_fetched() -> None:
    assert set(SOURCES) == set(IMAGE_SETS) - {"digits"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<html>", "not a gzip file, or not a whole one"),
        (idx(np.zeros((9, 9), np.uint8))[:-9], "not a gzip file, or not a whole one"),
        (gzip.compress(b""), "not an IDX file of bytes"),
        (gzip.compress(bytes([0, 0, 13, 1, 0, 0, 0, 0])), "not an IDX file of bytes; it begins"),
        (gzip.compress(bytes([0, 0, 8, 3, 0, 0])), "not an IDX file of bytes"),
        (gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7])), r"1 bytes do not fill the .*\(3,\)"),
    ],
    ids=["a web page", "cut off", "nothing in it", "of integers", "without lengths", "too short"],
)  # fmt: skip
def test_files_that_are_not_idx_are_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "train.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"train.gz: {says}"):
        read_idx(path)


def test_an_archive_without_the_batches_is_named(server: Server, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    tarfile.open(fileobj=buffer, mode="w:gz").close()
    for content in (buffer.getvalue(), b"<html>"):
        server.files["cifar-10-binary.tar.gz"] = content
        with pytest.raises(DataError, match="binary.tar.gz: not CIFAR-10's binary archive"):
            fetch_images("cifar10", base_url=server.url, cache=tmp_path, md5=server.md5)
    assert not list(tmp_path.iterdir())
