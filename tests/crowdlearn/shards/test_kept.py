import gc
import os

import pytest

from crowdlearn.errors import SettingsError, VotesError
from crowdlearn.shards.kept import coded_votes


def names(world):
    return [str(file) for file in world.files]


def test_a_folder_is_used_again_by_the_same_votes_and_only_by_them(world, tmp_path):
    folder = tmp_path / "coded"
    first = coded_votes(names(world), folder)
    written = (folder / "summary.json").stat().st_mtime_ns
    told = []
    again = coded_votes(names(world), folder, memory=7, n_actors=2, progress=told.append)
    assert (first.reused, again.reused, told) == (False, True, [])
    assert (folder / "summary.json").stat().st_mtime_ns == written
    assert (again.votes.memory, again.votes.n_actors) == (7, 2)
    again.remove()
    assert folder.exists()
    for source, options, why in (
        (names(world)[:2], {}, "part-2.parquet was among them"),
        (names(world)[::-1], {}, "the files came in another order"),
        (names(world), {"classes": ["c0", "c1", "c2", "c3"]}, "classes was None, and is"),
        (names(world), {"drop_missing": True}, "drop_missing was False, and is True"),
        (names(world), {"columns": {"item": "task"}}, "columns was {}, and is"),
    ):
        with pytest.raises(SettingsError, match=f"coded of other votes: .*{why}.*name another"):
            coded_votes(source, folder, **options)


def test_a_part_that_changed_since_is_named(world, tmp_path):
    part = tmp_path / "part.parquet"
    part.write_bytes(world.files[0].read_bytes())
    coded_votes(str(part), tmp_path / "coded")
    coded_votes(part, tmp_path / "coded")
    os.utime(part, ns=(0, 1))
    with pytest.raises(SettingsError, match="part.parquet has changed since"):
        coded_votes(str(part), tmp_path / "coded")
    part.unlink()
    with pytest.raises(VotesError, match="part.parquet: there is no such file"):
        coded_votes(str(part), tmp_path / "coded")


def test_a_result_is_not_taken_for_coded_votes(world, tmp_path):
    (tmp_path / "summary.json").write_text('{"format": 1, "method": "bcc"}')
    with pytest.raises(VotesError, match="holds no coded votes"):
        coded_votes(names(world), tmp_path)


def test_a_temporary_folder_goes_with_the_votes_when_told_and_after_errors(world, tmp_path):
    found = coded_votes(names(world), beside=tmp_path / "new")
    (there,) = (tmp_path / "new").iterdir()
    assert found.votes.folder == str(there / "coded")
    found.remove()
    assert not there.exists()
    found = coded_votes(names(world), beside=tmp_path / "new")
    del found
    gc.collect()
    assert not list((tmp_path / "new").iterdir())
    bad = tmp_path / "bad.csv"
    bad.write_text("task,worker,label\na,u,x\n")
    with pytest.raises(VotesError, match="a single class"):
        coded_votes(str(bad), beside=tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())


def test_a_checkpoint_keeps_the_coded_votes(world, tmp_path):
    first = coded_votes(names(world), checkpoint=tmp_path / "notes")
    assert first.votes.folder == str(tmp_path / "notes" / "coded")
    assert coded_votes(names(world), checkpoint=tmp_path / "notes").reused
