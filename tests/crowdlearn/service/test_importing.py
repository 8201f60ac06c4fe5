"""Files come in whole or not at all; what is there is not added twice; errors name the place."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from crowdlearn.errors import ConflictError, CrowdlearnError, SettingsError, VotesError
from crowdlearn.service.access import LOCAL
from crowdlearn.service.answers import answer
from crowdlearn.service.importing import KINDS, Upload, perform, preview, read_upload
from crowdlearn.service.items import list_items, read_item, read_media
from crowdlearn.service.projects import create_project, read_project
from crowdlearn.service.verifying import verify
from crowdlearn.store import Store
from crowdlearn.store.tables import events, items
from crowdlearn.votes import Votes

PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9b"
    b"U\x00\x00\x00\nIDATx\x9cc`\x00\x00\x00\x02\x00\x01H\xaf\xa4q\x00\x00\x00\x00IEND\xaeB`\x82"
)


@pytest.fixture
def project(store: Store) -> Store:
    with store.write() as db:
        create_project(db, LOCAL, "p", ["cat", "dog"])
    return store


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def count(store: Store) -> tuple[int, int]:
    with store.read() as db:
        return tuple(
            db.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (items, events)
        )  # type: ignore[return-value]


def test_a_file_that_grows_adds_what_is_new(project: Store, tmp_path: Path) -> None:
    rows = ["task,worker,label", "a,w,cat", "a,v,dog", "b,w,dog", "b,w,dog"]
    path = write(tmp_path, "votes.csv", "\n".join(rows))
    with project.write() as db:
        told = preview(db, LOCAL, "p", read_upload(path, "votes"))
        done = perform(db, LOCAL, "p", read_upload(path, "votes"))
        assert told == done
        assert (done.n_rows, done.n_new, done.n_new_items, done.n_new_workers) == (4, 4, 2, 2)
        assert done.sample[0] == {"task": "a", "worker": "w", "label": "cat"}
    path.write_text("\n".join([*rows, "b,w,dog", "c,x,cat"]))
    with project.write() as db:
        done = perform(db, LOCAL, "p", read_upload(path, "votes"))
        assert (done.n_new, done.n_known, done.n_new_items) == (2, 4, 1)
        assert perform(db, LOCAL, "p", read_upload(path, "votes")).n_new == 0
        assert read_item(db, LOCAL, "p", "b").n_votes == 3
        assert verify(db, LOCAL, "p").problems == ()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 1)), min_size=1),
        min_size=1, max_size=4,
    ),
    number=st.integers(0, 10**9),
)  # fmt: skip
def test_importing_twice_is_importing_once(
    project: Store, parts: list[list[tuple[int, int, int]]], number: int
) -> None:
    """After any files, in any order, twice: each vote as often as in the file that has it most."""
    name = f"q{number}"
    from collections import Counter

    wanted: Counter[tuple[int, int, int]] = Counter()
    with project.write() as db:
        try:
            create_project(db, LOCAL, name, ["cat", "dog"])
        except ConflictError:
            return
        for part in [*parts, *parts]:
            columns = np.array(part)
            votes = Votes.from_codes(*columns.T, classes=["cat", "dog"], items=4, workers=3)
            perform(db, LOCAL, name, Upload("f", "votes", votes=votes))
            for row, times in Counter(part).items():
                wanted[row] = max(wanted[row], times)
        about = read_project(db, LOCAL, name)
        assert about.n_votes == sum(wanted.values())
        assert verify(db, LOCAL, name).problems == ()


@pytest.mark.parametrize(
    ("name", "text", "kind", "said"),
    [
        ("v.csv", "task,worker\na,b", "votes", r"^mine/v\.csv"),
        ("v.csv", "task,worker,label\na,b,cat\na,,dog", "votes", r"mine/v\.csv, row 3"),
        ("v.jsonl", '{"task": "a"}\n', "votes", r"mine/v\.jsonl"),
        ("i.csv", "name,text\na,b", "items", r"mine/i\.csv: has the columns name, text"),
        ("i.csv", "task,text,url\na,b,http://x", "items", r"row 2: has both text and url"),
        ("i.csv", "task,url\na,javascript:alert(1)", "items", r"row 2: .*https:// or http://"),
        ("i.csv", "task,text\n,b", "items", r"row 2: has no name"),
        ("i.csv", "task,image\na,../../etc/passwd", "items", r"row 2: .*lies outside"),
        ("i.csv", "task,image\na,/etc/passwd", "items", r"row 2: .*lies outside"),
        ("i.csv", "task,image\na,none.png", "items", r"row 2: 'none.png' cannot be read"),
        ("i.csv", "task,image\na,i.csv", "items", r"row 2: .*are no image that can be shown"),
        ("i.jsonl", '{"task": "a", "json": {"x": 1}}\n{]\n', "items", r"row 2: is no JSON"),
        ("i.jsonl", "3\n", "items", r"row 1: is no JSON object"),
        ("i.parquet", "no", "items", r"is no Parquet file"),
        ("a.csv", "task,label\nx,bird", "answers", r"mine/a\.csv, row 2.*bird"),
    ],
)
def test_bad_files_are_refused_by_name_and_row(
    project: Store, tmp_path: Path, name: str, text: str, kind: str, said: str
) -> None:
    path = write(tmp_path, name, text)
    with pytest.raises(CrowdlearnError, match=said) as caught:
        read_upload(path, kind, name=f"mine/{name}", classes=["cat", "dog"], media_root=tmp_path)
    assert str(tmp_path) not in str(caught.value)
    assert count(project) == (0, 0)


def test_unknown_classes_are_told_before_and_added_on_request(
    project: Store, tmp_path: Path
) -> None:
    path = write(tmp_path, "v.csv", "task,worker,label\na,w,cat\na,v,bird\nb,w,dog")
    upload = read_upload(path, "votes")
    with project.write() as db:
        told = preview(db, LOCAL, "p", upload)
        assert told.unknown_classes == ("bird",) and "bird" in (told.problem or "")
    with pytest.raises(SettingsError, match="no classes of the project: bird"):
        with project.write() as db:
            perform(db, LOCAL, "p", upload)
    assert count(project) == (0, 0)
    with project.write() as db:
        perform(db, LOCAL, "p", upload, add_classes=True)
        assert read_project(db, LOCAL, "p").classes == ("cat", "dog", "bird")
        assert read_project(db, LOCAL, "p").n_votes == 3


def archive(path: Path, files: dict[str, bytes], **how: int) -> Path:
    with zipfile.ZipFile(path, "w", how.get("compression", zipfile.ZIP_STORED)) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return path


def test_an_archive_of_images_makes_items(project: Store, tmp_path: Path) -> None:
    path = archive(tmp_path / "x.zip", {"a/1.png": PNG, "2.png": PNG, "__MACOSX/1.png": b"x"})
    with project.write() as db:
        assert perform(db, LOCAL, "p", read_upload(path, "items")).n_new == 2
        found = read_item(db, LOCAL, "p", "a/1.png")
        assert found.payload is not None
        assert read_media(db, LOCAL, "p", found.payload) == ("image/png", PNG)
        assert perform(db, LOCAL, "p", read_upload(path, "items")).n_new == 0
    with pytest.raises(ConflictError, match="another payload"), project.write() as db:
        other = archive(tmp_path / "y.zip", {"2.png": PNG + b"more"})
        perform(db, LOCAL, "p", read_upload(other, "items"))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"../x.png": PNG}, "leads out of the archive"),
        ({"/x.png": PNG}, "leads out of the archive"),
        ({"a\\..\\x.png": PNG}, "leads out of the archive"),
        ({"x.svg": b"<svg onload='alert(1)'/>"}, "no image or sound"),
        ({"x.html": b"<script>"}, "no image or sound"),
    ],
)
def test_archives_that_lead_elsewhere_are_refused(
    tmp_path: Path, files: dict[str, bytes], said: str
) -> None:
    with pytest.raises(VotesError, match=said):
        read_upload(archive(tmp_path / "x.zip", files), "items")


def test_an_archive_that_would_fill_the_disk_is_not_opened(tmp_path: Path) -> None:
    bomb = archive(
        tmp_path / "b.zip", {"x.png": b"\x00" * 10_000_000}, compression=zipfile.ZIP_DEFLATED
    )
    assert bomb.stat().st_size < 20_000
    with pytest.raises(VotesError, match="over 200 times its size"):
        read_upload(bomb, "items")


def test_an_archive_that_lies_about_its_sizes_is_stopped(tmp_path: Path) -> None:
    content = PNG + bytes(np.random.default_rng(0).integers(0, 256, 21 << 20, dtype=np.uint8))
    path = archive(tmp_path / "x.zip", {"x.png": content})
    raw = path.read_bytes().replace(len(content).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    path.write_bytes(raw)
    with pytest.raises(VotesError):
        read_upload(path, "items")


def test_links_out_of_the_media_folder_are_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    secret = tmp_path / "secret.png"
    secret.write_bytes(PNG)
    (root / "link.png").symlink_to(secret)
    path = write(tmp_path, "i.csv", "task,image\na,link.png")
    with pytest.raises(VotesError, match="lies outside"):
        read_upload(path, "items", media_root=root)


def test_answers_are_imported_once_and_conflicts_are_told(project: Store, tmp_path: Path) -> None:
    votes = write(tmp_path, "v.csv", "task,worker,label\na,w,cat\nb,v,dog")
    path = write(tmp_path, "a.csv", "task,label\na,dog\nb,cat")
    with project.write() as db:
        perform(db, LOCAL, "p", read_upload(votes, "votes"))
        upload = read_upload(path, "answers", classes=["cat", "dog"])
        assert perform(db, LOCAL, "p", upload).n_new == 2
        assert perform(db, LOCAL, "p", upload).n_new == 0
        page, _ = list_items(db, LOCAL, "p", decided=True)
        assert [(item.name, item.label) for item in page] == [("a", "dog"), ("b", "cat")]
    other = write(tmp_path, "o.csv", "task,label\na,cat\nnone,cat")
    with pytest.raises(SettingsError, match="not in the project, the first 'none'"):
        with project.write() as db:
            perform(db, LOCAL, "p", read_upload(other, "answers", classes=["cat", "dog"]))
    other.write_text("task,label\na,cat")
    with pytest.raises(SettingsError, match="another answer already, the first 'a'"):
        with project.write() as db:
            perform(db, LOCAL, "p", read_upload(other, "answers", classes=["cat", "dog"]))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(
        st.binary(max_size=300),
        st.text(max_size=300).map(str.encode),
        st.lists(st.lists(st.text(max_size=8), min_size=1, max_size=4), max_size=5).map(
            lambda rows: ("task,worker,label\n" + "\n".join(map(",".join, rows))).encode()
        ),
        st.dictionaries(st.text(max_size=5), st.text(max_size=5)).map(
            lambda row: json.dumps(row).encode()
        ),
        st.binary(max_size=50).map(lambda b: b"PK\x03\x04" + b),
    ),
    ending=st.sampled_from([".csv", ".jsonl", ".json", ".parquet", ".zip", ".txt", ".csv.gz"]),
    kind=st.sampled_from(KINDS),
)
@pytest.mark.filterwarnings("ignore::crowdlearn.errors.VotesWarning")
def test_any_bytes_are_read_or_refused(
    tmp_path: Path, content: bytes, ending: str, kind: str
) -> None:
    path = tmp_path / f"x{ending}"
    path.write_bytes(content)
    try:
        read_upload(path, kind, name="x", classes=["cat", "dog"], media_root=tmp_path)
    except CrowdlearnError as error:
        assert str(tmp_path) not in str(error)


def test_nothing_is_kept_of_an_import_that_breaks(
    project: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "v.csv", "task,worker,label\na,w,cat\na,v,dog")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr("crowdlearn.service.votes.insert_rows", broken)
    with pytest.raises(RuntimeError), project.write() as db:
        perform(db, LOCAL, "p", read_upload(path, "votes"))
    assert count(project) == (0, 0)
    monkeypatch.undo()
    with project.write() as db:
        perform(db, LOCAL, "p", read_upload(path, "votes"))
        answer(db, LOCAL, "p", "a", "cat")
        assert verify(db, LOCAL, "p").problems == ()
