"""A result appears whole or not at all, and the message says what would do."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest

from crowdlearn.errors import OutputError, VotesError
from crowdlearn.output import new_file, new_folder, write_csv


def fill(folder: Path, word: str) -> None:
    (folder / "summary.json").write_text(json.dumps({"format": 1, "word": word}))
    (folder / "part").mkdir()
    (folder / "part" / "data").write_text(word)


def entries(folder: Path) -> list[str]:
    """Everything in the folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def test_the_folder_appears_at_the_end_and_not_before(tmp_path: Path) -> None:
    target = tmp_path / "new" / "out"
    with new_folder(target) as folder:
        assert folder.parent == target.parent and not target.exists()
        fill(folder, "one")
    assert (target / "part" / "data").read_text() == "one"
    assert entries(target.parent) == ["out"]
    plain = tmp_path / "plain"
    plain.mkdir()
    assert target.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, VotesError])
@pytest.mark.parametrize("existing", [False, True])
def test_on_any_error_nothing_is_left_and_the_old_result_stays(
    error: type[BaseException], existing: bool, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    if existing:
        with new_folder(target) as folder:
            fill(folder, "old")
    with pytest.raises(error), new_folder(target) as folder:
        fill(folder, "new")
        raise error("no")
    assert entries(tmp_path) == ["out"] * existing
    if existing:
        assert (target / "part" / "data").read_text() == "old"


def test_an_earlier_result_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with new_folder(target) as folder:
        fill(folder, "old")
        (folder / "left_over").touch()
    with new_folder(target) as folder:
        fill(folder, "new")
    assert entries(target) == ["part", "summary.json"]
    assert (target / "part" / "data").read_text() == "new"
    assert entries(tmp_path) == ["out"]


def test_an_empty_folder_and_a_link_to_one_are_filled(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with new_folder(tmp_path / "link") as folder:
        fill(folder, "one")
    assert (tmp_path / "link").is_symlink()
    assert entries(tmp_path / "real") == ["part", "summary.json"]


@pytest.mark.parametrize("summary", [None, "no json", "[1]", '{"name": "theirs"}'])
def test_the_files_of_others_are_not_overwritten(summary: str | None, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    if summary is not None:
        (tmp_path / "summary.json").write_text(summary)
    before = entries(tmp_path)
    with pytest.raises(OutputError, match="holds other files.*choose a new folder"):
        with new_folder(tmp_path):
            raise AssertionError("must not start")
    assert entries(tmp_path) == before


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OutputError, match="is a file: choose a folder"),
        new_folder(tmp_path / "file"),
    ):
        pass
    with pytest.raises(OutputError, match="was not written"), new_folder(tmp_path / "file" / "out"):
        pass
    with pytest.raises(OutputError, match="is a directory: name a file in it"), new_file(tmp_path):
        pass


def test_a_failed_swap_puts_the_old_result_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    with new_folder(target) as folder:
        fill(folder, "old")
    rename = Path.rename

    def fails_for_the_new_one(path: Path, to: Path) -> Path:
        if path.name.endswith(".partial"):
            raise OSError(5, "Input/output error")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", fails_for_the_new_one)
    with pytest.raises(OutputError, match="Input/output error"), new_folder(target) as folder:
        fill(folder, "new")
    assert (target / "part" / "data").read_text() == "old"
    assert entries(tmp_path) == ["out"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 64 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_said_and_leaves_nothing(small_disk: Path) -> None:
    table = pa.table({"x": np.arange(100_000)})
    with pytest.raises(OutputError, match="out: was not written: the disk is full"):
        with new_folder(small_disk / "out") as folder:
            (folder / "data").write_bytes(b"x" * 1_000_000)
    with pytest.raises(OutputError, match="the disk is full: free some space"):
        with new_folder(small_disk / "out") as folder:
            np.savez(folder / "arrays.npz", x=np.arange(100_000))
    with pytest.raises(OutputError, match="the disk is full"):
        write_csv(table, small_disk / "table.csv")
    assert entries(small_disk) == []


def test_a_read_only_disk_is_said(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OutputError, match="the file system is read-only: write elsewhere"):
        with new_folder(small_disk / "out"):
            raise AssertionError("must not start")
    with pytest.raises(OutputError, match="the file system is read-only"):
        write_csv(pa.table({"x": [1]}), small_disk / "table.csv")


def test_a_folder_without_permission_is_said(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        place = Path("/proc/self/out")  # where not even root may
    else:
        tmp_path.chmod(0o500)
        place = tmp_path / "out"
    with pytest.raises(OutputError, match="was not written: .*write elsewhere"), new_folder(place):
        raise AssertionError("must not start")


def test_a_new_file_replaces_the_old_one_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    for word in ("one", "two"):
        with new_file(target) as path:
            path.write_text(word)
        assert target.read_text() == word
    with pytest.raises(KeyboardInterrupt), new_file(target) as path:
        path.write_text("three")
        raise KeyboardInterrupt
    assert target.read_text() == "two"
    assert entries(tmp_path) == ["report.html"]


def test_csv_quotes_whatever_a_name_holds(tmp_path: Path) -> None:
    names = ["plain", "com,ma", 'quo"te', "line\nend", "", "=1+1", "  blank", "日本"]
    table = pa.table({"task": names, 'odd, "name"': np.arange(len(names))})
    write_csv(table, tmp_path / "table.csv")
    options = pa_csv.ParseOptions(newlines_in_values=True)
    assert pa_csv.read_csv(tmp_path / "table.csv", parse_options=options).equals(table)
