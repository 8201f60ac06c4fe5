"""Files out and in: every format, all or nothing, and no file that breaks the service."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from tests.crowdlearn.service.api.conftest import BIRDS, PNG, Place, Template
from tests.crowdlearn.service.api.test_rights import digest

PATH = f"/v1/projects/{BIRDS}"


@pytest.fixture(autouse=True)
def no_files_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Temporary files go where the test sees whether they are removed."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("what", ["labels", "votes", "answers", "workers"])
@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_exports_agree_with_each_other(admin: TestClient, what: str, format: str) -> None:
    admin.post(f"{PATH}/note", json={"item": "birds-1", "text": "hm"})
    found = admin.get(f"{PATH}/export", params={"what": what, "format": format})
    assert found.status_code == 200
    if format == "csv":
        rows = list(csv.DictReader(io.StringIO(found.text)))
    elif format == "jsonl":
        rows = [json.loads(line) for line in found.text.splitlines()]
    else:
        rows = pq.read_table(io.BytesIO(found.content)).to_pylist()
    assert len(rows) == {"labels": 7, "votes": 15, "answers": 1, "workers": 3}[what]
    name = f"birds-{what}.{format}"
    assert found.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert int(found.headers["content-length"]) == len(found.content)


def test_label_studio_gets_its_tasks(admin: TestClient) -> None:
    found = admin.get(f"{PATH}/export", params={"format": "label-studio"})
    assert len(found.json()) == 7 and len(found.json()[0]["annotations"]) == 3
    asked = {"format": "label-studio", "what": "votes"}
    assert admin.get(f"{PATH}/export", params=asked).status_code == 422


def test_exports_are_safe_in_name_and_cell_and_on_the_record(place: Place) -> None:
    owner = place.client("owner")
    name = 'a"; x=ü\u2028b'
    owner.post("/v1/projects", json={"name": "a; x=ü b", "classes": ["a", "b"]})
    owner.post("/v1/projects/a; x=ü b/items", json={"items": [{"name": "=cmd()"}]})
    found = owner.get("/v1/projects/a; x=ü b/export")
    assert found.headers["content-disposition"] == 'attachment; filename="a-x-b-labels.csv"'
    assert "'=cmd()" in found.text
    raw = owner.get("/v1/projects/a; x=ü b/export", params={"raw": True})
    assert "\n=cmd()" in raw.text.replace("\r", "")
    trail = owner.get("/v1/projects/a; x=ü b/audit").json()
    assert [row["action"] for row in trail] == ["export", "export", "create project"]
    assert owner.post("/v1/projects", json={"name": name, "classes": ["a", "b"]}).status_code == 422


def test_an_import_is_tried_first_and_then_done(admin: TestClient, place: Place) -> None:
    content = b"task,worker,label\nbirds-0,w7,no\nnew,w7,maybe\n"
    before = digest(place.store)
    asked = {"kind": "votes", "name": "/tmp/../my votes.csv"}
    tried = admin.post(f"{PATH}/imports", params=asked, content=content).json()
    assert (tried["done"], tried["n_new"], tried["unknown_classes"]) == (False, 2, ["maybe"])
    assert digest(place.store) == before
    refused = admin.post(f"{PATH}/imports", params=asked | {"dry_run": False}, content=content)
    assert refused.status_code == 422 and refused.json()["detail"].startswith("my votes.csv: ")
    assert digest(place.store) == before
    done = admin.post(
        f"{PATH}/imports", params=asked | {"dry_run": False, "add_classes": True}, content=content
    )
    assert done.json()["done"] and done.json()["n_new_items"] == 1
    again = admin.post(f"{PATH}/imports", params=asked, content=content).json()
    assert (again["n_new"], again["n_known"]) == (0, 2)


def test_votes_of_one_class_are_imported(admin: TestClient) -> None:
    content = b"task,worker,label\nbirds-0,w7,no\n"
    asked = {"kind": "votes", "dry_run": False}
    assert admin.post(f"{PATH}/imports", params=asked, content=content).json()["n_new"] == 1


def test_a_bad_row_leaves_nothing_behind(admin: TestClient, place: Place) -> None:
    before = digest(place.store)
    bad = {
        "votes": b"task,worker,label\nfresh,w7,no\nfresh,,yes\n",
        "items": b"task,text\nfresh,words\n,words\n",
        "answers": b"task,label\nbirds-0,no\nfresh,yes\n",
    }
    for kind, content in bad.items():
        asked = {"kind": kind, "dry_run": False, "name": "mine.csv"}
        found = admin.post(f"{PATH}/imports", params=asked, content=content)
        assert found.status_code == 422 and "mine.csv" in found.json()["detail"], found.text
    assert digest(place.store) == before


def test_files_of_every_kind_are_imported(admin: TestClient) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("a/one.png", PNG + b"1")
    table = io.BytesIO()
    pq.write_table(pa.table({"task": ["t1"], "text": ["words"]}), table)
    files = {
        ("items", "a.zip"): archive.getvalue(),
        ("items", "a.parquet"): table.getvalue(),
        ("items", "a.jsonl"): b'{"item": "t2", "json": {"x": [1]}}\n',
        ("answers", "a.csv"): b"task,label\nbirds-0,no\n",
    }
    for (kind, name), content in files.items():
        asked = {"kind": kind, "name": name, "dry_run": False}
        found = admin.post(f"{PATH}/imports", params=asked, content=content)
        assert found.status_code == 200 and found.json()["n_new"] == 1, found.text
    assert admin.get(f"{PATH}/item", params={"name": "a/one.png"}).json()["payload_kind"] == "image"


def test_files_that_unpack_without_end_are_not_unpacked(
    admin: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gzip

    monkeypatch.setattr("crowdlearn.service.api.uploads.LARGEST_UNPACKED", 10_000)
    packed = gzip.compress(b"task,worker,label\n" + b"a,b,no\n" * 10_000)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb.png", PNG + bytes(10_000_000))
    table = io.BytesIO()
    pq.write_table(pa.table({"task": ["t"] * 100_000, "text": ["w" * 100] * 100_000}), table)
    for name, content in (
        ("a.csv.gz", packed), ("a.zip", archive.getvalue()), ("a.parquet", table.getvalue()),
    ):  # fmt: skip
        asked = {"kind": "votes" if "csv" in name else "items", "name": name}
        found = admin.post(f"{PATH}/imports", params=asked, content=content)
        assert found.status_code == 422, (name, found.text)


def test_names_that_say_no_format_are_refused(admin: TestClient) -> None:
    for name in ("votes", "votes.exe", "a.csv/..", ".csv.exe"):
        found = admin.post(f"{PATH}/imports", params={"kind": "votes", "name": name}, content=b"x")
        assert found.status_code == 422, name


def broken_archive(place: int) -> bytes:
    """An archive with a byte of its compressed content changed."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.png", PNG + bytes(range(256)))
    changed = bytearray(file.getvalue())
    changed[place] ^= 0xFF
    return bytes(changed)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b'{"task": "\\ud800"}'),
        ("a.jsonl", b'{"task": "a", "text": "\\udfff"}'),
        ("a.jsonl", b'{"task": "a", "json": {"x": "\\ud800"}}'),
        ("a.jsonl", b'{"task": ' + b"9" * 5000 + b"}"),
        ("a.csv", b"x" * 200_000 + b"\n"),
        ("a.csv", b"task,text\na," + b"x" * 200_000 + b"\n"),
        ("a.parquet", b"PAR1" + b"\xff" * 50 + b"PAR1"),
    ],
)
def test_what_cannot_be_kept_is_refused(admin: TestClient, name: str, content: bytes) -> None:
    asked = {"kind": "items", "name": name, "dry_run": False}
    found = admin.post(f"{PATH}/imports", params=asked, content=content)
    assert found.status_code == 422, found.text
    assert found.json()["detail"].startswith(name) and len(found.text) < 1000


def test_a_damaged_archive_is_refused_wherever_it_is_damaged(admin: TestClient) -> None:
    for place in range(35, 60):
        asked = {"kind": "items", "name": "a.zip"}
        found = admin.post(f"{PATH}/imports", params=asked, content=broken_archive(place))
        assert found.status_code == 422 and "Traceback" not in found.text, (place, found.text)


field = st.one_of(
    st.sampled_from(
        ["birds-0", "w0", "no", "yes", "", "NaN", "=1+1", '"', "\x00", "\ud800", "a\nb", "x" * 600]
    ),
    st.text(max_size=10),
    st.integers(-3, 2**70).map(str),
)
header = st.sampled_from(
    ["task", "item", "id", "worker", "annotator", "label", "text", "json", "url", "image", "p_no"]
)


@st.composite
def delimited(draw: st.DrawFn) -> bytes:
    """A table that may have any columns, in rows of any length."""
    head = ",".join(draw(st.lists(header, max_size=5)))
    rows = [",".join(row) for row in draw(st.lists(st.lists(field, max_size=6), max_size=6))]
    return "\n".join([head, *rows]).encode("utf-8", "surrogatepass")


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """Lines of JSON, or nearly."""
    value = st.one_of(field, st.integers(), st.floats(), st.none(), st.booleans(), st.just([[]]))
    rows = draw(st.lists(st.dictionaries(header, value, max_size=5), max_size=5))
    broken = draw(
        st.sampled_from([b"", b"{", b"[1]", b"1e999", b"[" * 5000, b'{"task":"\\ud800"}'])
    )
    return b"\n".join([*(json.dumps(row).encode() for row in rows), broken])


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """An archive with odd names and contents, perhaps damaged."""
    file = io.BytesIO()
    names = st.sampled_from(["a.png", "../a.png", "/a.png", "a/b.png", ".x", "a\\b.png", "é.png"])
    with zipfile.ZipFile(file, "w", draw(st.sampled_from([0, 8, 12, 14]))) as packed:
        for name in draw(st.lists(names, max_size=3, unique=True)):
            packed.writestr(name, draw(st.sampled_from([PNG, b"", b"<svg/>", b"RIFF1234WAVE"])))
    return damaged(draw, file.getvalue())


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """A Parquet file of any columns, perhaps damaged."""
    names = draw(st.lists(header, min_size=1, max_size=4, unique=True))
    n = draw(st.integers(0, 4))
    kinds = st.sampled_from(
        [["no"] * n, [1] * n, [1.5] * n, [None] * n, [[1]] * n, [b"\xff"] * n, [True] * n]
    )
    file = io.BytesIO()
    pq.write_table(pa.table({name: pa.array(draw(kinds)) for name in names}), file)
    return damaged(draw, file.getvalue())


def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """The content, or most of it with a byte changed."""
    if draw(st.booleans()):
        return content
    place = draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    changed[place] ^= draw(st.integers(1, 255))
    return bytes(changed[: draw(st.integers(place, len(content)))])


FORMATS = ("csv", "jsonl", "zip", "parquet")
FILES = {
    "csv": delimited(),
    "jsonl": records(),
    "zip": archives(),
    "parquet": tables(),
    "bytes": st.binary(max_size=200),
    "gzip": st.binary(max_size=50).map(lambda text: b"\x1f\x8b\x08\x00" + text),
    "huge": st.just(b"task,worker,label\na,b," + b"x" * 200_000 + b"\n"),
}


@pytest.fixture(scope="module")
def one_place(tmp_path_factory: pytest.TempPathFactory, template: Template) -> Iterator[Place]:
    """One store for all files here: what is refused leaves it as it is."""
    with template.copied(tmp_path_factory.mktemp("imports") / "store.db") as place:
        yield place


@pytest.mark.parametrize("what", FILES)
def test_no_file_breaks_the_service_or_is_half_imported(one_place: Place, what: str) -> None:
    client = one_place.client()

    @settings(
        max_examples=40 if what != "huge" else 3,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        content=FILES[what],
        kind=st.sampled_from(["votes", "items", "answers"]),
        ending=st.sampled_from(["csv", "jsonl", "json", "parquet", "zip", "tsv"]),
        right=st.booleans(),
    )
    def check(content: bytes, kind: str, ending: str, right: bool) -> None:
        name = f"file.{what if right and what in FORMATS else ending}"
        before = digest(one_place.store)
        asked = {"kind": kind, "name": name, "dry_run": False}
        found = client.post(f"{PATH}/imports", params=asked, content=content)
        assert found.status_code in (200, 409, 422), (found.status_code, content, asked)
        if found.status_code != 200:
            assert digest(one_place.store) == before
            assert found.headers["content-type"] == "application/problem+json"
            for telling in ("Traceback", tempfile.gettempdir(), "site-packages", ".py"):
                assert telling not in found.text, found.text

    check()
