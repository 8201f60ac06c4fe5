"""`fedsec data`: what is there, where, and how it gets there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fedsec.cli.data import found_at
from fedsec.data.images import IMAGE_SETS, load_images
from fedsec.errors import DataError
from tests.fedsec.cli.commands import done, refused


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Three folders where a set may be: given, prepared, cached; all empty."""
    folders = {name: tmp_path / name for name in ("given", "prepared", "cache")}
    for folder in folders.values():
        folder.mkdir()
    monkeypatch.setenv("FEDSEC_DATA", str(folders["prepared"]))
    monkeypatch.setattr("fedsec.data.fetching.cache_folder", lambda: folders["cache"])
    monkeypatch.setattr("fedsec.data.images.cache_folder", lambda: folders["cache"])
    return folders


def save(folder: Path, n: int) -> Path:
    """An image set that is told from others by its size."""
    arrays = {}
    for part in ("train", "test"):
        arrays[f"x_{part}"] = np.zeros((n, 28, 28), np.uint8)
        arrays[f"y_{part}"] = np.arange(n) % 10
    np.savez(folder / "mnist.npz", **arrays)
    return folder / "mnist.npz"


def test_list_says_what_is_there(places: dict[str, Path]) -> None:
    path = save(places["prepared"], 3)
    lines = [json.loads(line) for line in done("data", "list", "--json").stdout.splitlines()]
    assert [one["name"] for one in lines] == list(IMAGE_SETS)
    found = {one["name"]: one["found"] for one in lines}
    assert found["mnist"] == str(path) and found["digits"] == "scikit-learn"
    assert found["cifar10"] is None
    assert "fedsec data fetch cifar10" in done("data", "list").stdout


def test_it_is_found_where_loading_finds_it(places: dict[str, Path]) -> None:
    given = str(places["given"])
    with pytest.raises(DataError):
        load_images("mnist")
    assert found_at("mnist", None) is None
    for n, name in enumerate(("cache", "prepared"), 4):  # the later one comes first
        assert found_at("mnist", None) != save(places[name], n)
        assert found_at("mnist", None) == str(places[name] / "mnist.npz")
        assert len(load_images("mnist").train) == n
    with pytest.raises(DataError):
        load_images("mnist", given)
    assert found_at("mnist", given) is None
    save(places["given"], 9)
    assert found_at("mnist", given) == str(places["given"] / "mnist.npz")
    assert len(load_images("mnist", given).train) == 9


def test_show_counts_images(tmp_path: Path) -> None:
    found = json.loads(done("data", "show", "digits", "--json").stdout)
    assert sum(found["train"]) == 1297 and sum(found["test"]) == 500
    assert (found["channels"], found["height"], found["width"]) == (1, 8, 8)
    said = done("data", "show", "digits").stdout
    assert "digits: 1,297 training and 500 test images, 1 x 8 x 8; scikit-learn" in said
    path = save(tmp_path, 12)
    assert json.loads(done("data", "show", path, "--json").stdout)["found"] == str(path)


def test_show_refuses_what_is_not_there(places: dict[str, Path]) -> None:
    assert "run 'fedsec data fetch mnist'" in refused("data", "show", "mnist")
    assert "no image set 'cats'" in refused("data", "show", "cats")


def test_fetch_gets_a_set(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(name: str, cache: str | None) -> Path:
        assert (name, cache) == ("mnist", str(places["given"]))
        return save(places["given"], 2)

    monkeypatch.setattr("fedsec.data.fetching.fetch_images", fetched)
    words = ("data", "fetch", "mnist", "--data-dir", places["given"])
    path = str(places["given"] / "mnist.npz")
    assert done(*words).stdout == f"mnist is in {path}\n"
    assert json.loads(done(*words, "--json").stdout) == {"name": "mnist", "path": path}


def test_fetch_knows_what_needs_no_fetching() -> None:
    assert "nothing to fetch" in done("data", "fetch", "digits").stdout
    assert "'cats' cannot be fetched: choose from" in refused("data", "fetch", "cats")
