"""Public sets: the bundled one, prepared folders, and fetching from a server on this machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from crowdlearn import datasets
from crowdlearn.datasets import DATASETS, NAMES, Dataset, fetch, load, load_truth
from crowdlearn.errors import VotesError
from crowdlearn.reading.raw import LAYOUTS

PREPARED = Path(
    os.environ.get("CROWDLEARN_DATA") or Path(__file__).parents[3] / "shared" / "data" / "crowd"
)

TINY = Dataset(
    2, 2, 3, 2, 1, "nobody", "who/what@0123456789ab", ("some dir/label.csv", "truth.csv"), "scale",
    "for tests",
)  # fmt: skip
FILES = {
    "some dir/label.csv": "item,worker,label\na,ann,0\na,bob,1\nb,bob,1\n",
    "truth.csv": "item,truth\nb,1\n",
}


def test_the_bundled_table_is_that_of_dawid_and_skene() -> None:
    votes = load("anesthesia")
    assert votes.classes == ("1", "2", "3", "4")
    assert_array_equal(votes.votes_per_item, np.full(45, 7))
    assert_array_equal(votes.votes_per_worker, [135, 45, 45, 45, 45])
    assert_array_equal(votes.counts()[0], [7, 0, 0, 0])  # all say 1 of the first patient
    assert_array_equal(load_truth("anesthesia", votes), np.full(45, -1))


@pytest.mark.parametrize("name", NAMES)
def test_prepared_sets_hold_what_the_table_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not PREPARED.is_dir():
        pytest.skip("CROWDLEARN_DATA is not set, and no prepared folder lies beside the repository")
    monkeypatch.setenv("CROWDLEARN_DATA", str(PREPARED))
    dataset = DATASETS[name]
    votes = load(name)
    found = (votes.n_items, votes.n_workers, votes.n_votes, votes.n_classes)
    assert found == (dataset.items, dataset.workers, dataset.votes, dataset.classes)
    assert (load_truth(name, votes) >= 0).sum() == dataset.truths


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A server with one small set; its base URL."""
    monkeypatch.setitem(DATASETS, "tiny", TINY)
    monkeypatch.delenv("CROWDLEARN_DATA", raising=False)
    monkeypatch.setattr(datasets, "cache_folder", lambda: tmp_path / "cache")
    for name, content in FILES.items():
        path = tmp_path / "www" / "who/what/0123456789ab" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    handler = partial(QuietHandler, directory=str(tmp_path / "www"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_set_is_fetched_once_and_then_read(tiny: str, tmp_path: Path) -> None:
    with pytest.raises(VotesError, match="run 'crowdlearn datasets fetch tiny'"):
        load("tiny")
    folder = fetch("tiny", base_url=tiny)
    assert folder == tmp_path / "cache" / "tiny"
    votes = load("tiny")
    assert votes.items.to_pylist() == ["a", "b"] and votes.workers.to_pylist() == ["ann", "bob"]
    assert_array_equal(load_truth("tiny", votes), [-1, 1])
    assert fetch("tiny", base_url="http://127.0.0.1:9") == folder  # no server there


def test_a_source_that_was_changed_is_refused_and_not_kept(tiny: str, tmp_path: Path) -> None:
    path = tmp_path / "www" / "who/what/0123456789ab" / "some dir" / "label.csv"
    path.write_text(FILES["some dir/label.csv"] + "b,ann,0\n")
    with pytest.raises(VotesError, match="tiny: the source holds 4 votes, where 3 were published"):
        fetch("tiny", base_url=tiny)
    path.write_text("id,worker,label\na,ann,0\n")
    with pytest.raises(VotesError, match="the source has changed its form"):
        fetch("tiny", base_url=tiny)
    path.unlink()
    with pytest.raises(VotesError, match="cannot be fetched from .*some%20dir/label.csv"):
        fetch("tiny", base_url=tiny)
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_a_network_the_way_out_is_said(tiny: str) -> None:
    with pytest.raises(VotesError, match="on the network.*CROWDLEARN_DATA"):
        fetch("tiny", base_url="http://127.0.0.1:9")


def test_a_real_layout_goes_through_the_whole_way(tiny: str, tmp_path: Path) -> None:
    """The source of `face` (whose file names hold blanks) is imitated with as many votes."""
    face = DATASETS["face"]
    repository, commit = face.source.split("@")
    answers = "".join(
        f"{n % face.items},W{n % face.workers},{n % face.classes}\n" for n in range(face.votes)
    )
    truths = "".join(f"{i},{i % face.classes}\n" for i in range(face.items))
    content = ("question,worker,answer\n" + answers, "question,truth\n" + truths)
    for name, text in zip(face.files, content, strict=True):
        path = tmp_path / "www" / repository / commit / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert quote(face.files[0]) != face.files[0]
    fetch("face", base_url=tiny)
    votes = load("face")
    assert (load_truth("face", votes) == np.arange(face.items) % face.classes).all()
    assert votes.n_votes == face.votes


def test_unknown_and_unfetched_sets_are_said(tiny: str, tmp_path: Path) -> None:
    with pytest.raises(VotesError, match="there is no data set 'mnist': choose from anesthesia"):
        load("mnist")
    with pytest.raises(VotesError, match="pickle, which could run anything.*CROWDLEARN_DATA"):
        fetch("cifar10n", base_url=tiny)
    fetch("anesthesia")  # is there already


def test_a_prepared_set_with_other_counts_is_refused(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "labels.csv").write_text("task,worker,label\na,ann,0\na,bob,1\n")
    monkeypatch.setenv("CROWDLEARN_DATA", str(tmp_path))
    with pytest.raises(VotesError, match=r"holds \(1, 2, 2, 2\) items, workers, votes and classes"):
        load("tiny")


def test_every_layout_is_used() -> None:
    assert set(LAYOUTS) == {d.layout for d in DATASETS.values() if d.files}
