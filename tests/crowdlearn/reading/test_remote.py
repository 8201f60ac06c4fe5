"""A URL gives what the same file gives by its path."""

import builtins
import gzip
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crowdlearn.errors import VotesError
from crowdlearn.io import read_votes
from crowdlearn.reading.remote import is_url
from crowdlearn.reading.sources import files_of
from crowdlearn.shards import code_votes
from tests.crowdlearn.reading.s3_server import served

fsspec = pytest.importorskip("fsspec")

ROWS = [("a", "u", "x"), ("a", "v", "y"), ("b", "u", "y"), ("c", "v", "x"), ("c", "w", "x")]
CSV = "task,worker,label\n" + "".join(",".join(row) + "\n" for row in ROWS)


def parquet(rows):
    sink = io.BytesIO()
    columns = zip(*rows, strict=True)
    names = ("task", "worker", "label")
    pq.write_table(
        pa.table({name: list(own) for name, own in zip(names, columns, strict=True)}), sink
    )
    return sink.getvalue()


FILES = {
    "one.csv": CSV.encode(),
    "packed.csv.gz": gzip.compress(CSV.encode()),
    "parts/p-0.parquet": parquet(ROWS[:2]),
    "parts/p-1.parquet": parquet(ROWS[2:]),
    "parts/deep/p-2.parquet": parquet(ROWS[:1]),
    "parts/note.txt": b"not votes",
}


@pytest.fixture(params=["file", "memory", "s3"])
def store(request, tmp_path, monkeypatch):
    """The start of the URLs of `FILES`, in stores of three kinds."""
    if request.param == "s3":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        with served("bucket", {f"votes/{name}": data for name, data in FILES.items()}, "me") as at:
            monkeypatch.setenv("AWS_ENDPOINT_URL", at)
            yield "s3://bucket/votes"
        return
    root = "file://" + str(tmp_path) if request.param == "file" else "memory://votes"
    system, _ = fsspec.core.url_to_fs(root)
    for name, data in FILES.items():
        at = f"{root}/{name}"
        system.makedirs(at.rpartition("/")[0], exist_ok=True)
        with system.open(at, "wb") as file:
            file.write(data)
    yield root
    if request.param == "memory":
        system.rm(root, recursive=True)


def triples(votes):
    table = votes.to_table()
    return sorted(zip(*(table[c].to_pylist() for c in ("task", "worker", "label")), strict=True))


def test_files_and_globs_are_read_by_url(store):
    assert triples(read_votes(f"{store}/one.csv")) == sorted(ROWS)
    assert triples(read_votes(f"{store}/packed.csv.gz")) == sorted(ROWS)
    assert triples(read_votes(f"{store}/parts/*.parquet")) == sorted(ROWS)
    assert triples(read_votes([f"{store}/parts/p-[0-1].parquet"])) == sorted(ROWS)
    assert triples(read_votes(f"{store}/p*/p-?.parquet")) == sorted(ROWS)
    assert triples(read_votes(f"{store}/**/*.parquet")) == sorted(ROWS + ROWS[:1])
    found = files_of(f"{store}/parts/*.parquet")
    assert [file.name for file in found] == [f"{store}/parts/p-{k}.parquet" for k in (0, 1)]
    assert [file.n_bytes for file in found] == [len(FILES[f"parts/p-{k}.parquet"]) for k in (0, 1)]


def test_votes_are_coded_by_url(store, tmp_path):
    coded = code_votes(f"{store}/parts/*.parquet", tmp_path / "coded", n_buckets=2)
    assert (coded.n_votes, coded.n_items, coded.n_workers) == (5, 3, 3)


def test_what_is_not_there_is_named(store):
    with pytest.raises(VotesError, match=f"{store}/gone.csv: there is no such file"):
        read_votes(f"{store}/gone.csv")
    with pytest.raises(VotesError, match=r"/\*.csv.bz: no file matches"):
        read_votes(f"{store}/*.csv.bz")
    with pytest.raises(VotesError, match=r"parts: is a directory: name its files, as '.*parquet'"):
        read_votes(f"{store}/parts")
    with pytest.raises(VotesError, match="note.txt"):
        read_votes(f"{store}/parts/note.txt")


def test_a_key_that_is_not_known_is_said(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "other")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    with served("bucket", {"one.csv": b""}, "me") as at:
        monkeypatch.setenv("AWS_ENDPOINT_URL", at)
        with pytest.raises(
            VotesError, match="s3://bucket/one.csv: cannot be read: .*ACCESS_DENIED"
        ):
            read_votes("s3://bucket/one.csv")


def test_other_schemes_are_said(monkeypatch):
    with pytest.raises(
        VotesError, match="nonsense://a/b.csv: cannot be opened: Protocol not known"
    ):
        read_votes("nonsense://a/b.csv")
    with pytest.raises(VotesError, match="a glob needs a bucket or folder before its first"):
        read_votes("s3://*/b.csv")
    true = builtins.__import__

    def without(name, *rest):
        if name.startswith("fsspec"):
            raise ImportError(name)
        return true(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"memory:// needs fsspec: pip install 'crowdlearn\[rem"):
        read_votes("memory://a/b.csv")


def test_paths_are_no_urls():
    assert is_url("s3://b/k") and is_url("file:///x") and is_url("a+b://x")
    assert not any(map(is_url, ("votes.csv", "/a/b", "C:/x", "a:b", "./s3://x", "://x")))
