import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crowdlearn.errors import VotesError, VotesWarning
from crowdlearn.shards import code_votes, coding, open_votes
from crowdlearn.shards import scatter as scattering
from tests.crowdlearn.shards.conftest import write_parts


def triples(votes):
    """All votes as (item, worker, label) names, sorted."""
    table = votes.to_table()
    return sorted(zip(*(table[c].to_pylist() for c in ("task", "worker", "label")), strict=True))


def whole(coded):
    """All buckets as one `Votes`, names put back."""
    votes = coded.load(0, coded.n_buckets)
    return type(votes)(
        coded.item_names(0, coded.n_buckets), votes.workers, votes.classes, votes.item_offsets,
        votes.worker, votes.label,
    )  # fmt: skip


def test_all_votes_are_there_once_and_sizes_are_right(world):
    assert triples(whole(world.coded)) == triples(world.votes)
    coded, votes = world.coded, world.votes
    assert (coded.n_items, coded.n_votes, coded.n_workers) == (
        votes.n_items, votes.n_votes, votes.n_workers,
    )  # fmt: skip
    order = np.argsort(votes.workers.to_pylist())
    assert coded.workers.to_pylist() == sorted(votes.workers.to_pylist())
    assert np.array_equal(coded.votes_per_worker, votes.votes_per_worker[order])
    assert np.array_equal(coded.votes_per_class, np.bincount(votes.label))


@pytest.mark.parametrize(("n_files", "n_buckets"), [(1, 1), (5, 8), (2, 40)])
def test_codes_depend_neither_on_files_nor_on_buckets(world, tmp_path, n_files, n_buckets):
    files = write_parts(whole(world.coded).to_table(), tmp_path, n_files)
    again = whole(code_votes([str(f) for f in files], tmp_path / "coded", n_buckets=n_buckets))
    first = whole(world.coded)
    assert again.items.equals(first.items) and again.workers.equals(first.workers)
    assert np.array_equal(again.item_offsets, first.item_offsets)
    assert triples(again) == triples(first)


def test_batches_smaller_than_a_file_change_nothing(world, tmp_path, monkeypatch):
    monkeypatch.setattr("crowdlearn.reading.parquet.BATCH", 100)
    coded = code_votes([str(f) for f in world.files], tmp_path / "coded", n_buckets=8)
    assert triples(whole(coded)) == triples(whole(world.coded))


def test_two_names_with_one_hash_are_told_apart_by_another_salt(world, tmp_path, monkeypatch):
    true = scattering.hashes

    def poor(names, salt=0):
        return (
            true(names, salt) >> np.uint64(56) << np.uint64(56) if salt == 0 else true(names, salt)
        )

    monkeypatch.setattr(scattering, "hashes", poor)
    coded = code_votes([str(f) for f in world.files], tmp_path / "coded", n_buckets=4)
    assert coded.salt == 1 and triples(whole(coded)) == triples(world.votes)
    assert sorted(path.name for path in (tmp_path / "coded").iterdir()) == sorted(
        path.name for path in world.folder.iterdir()
    )
    monkeypatch.setattr(scattering, "hashes", lambda names, salt: poor(names, 0))
    with pytest.raises(VotesError, match="share a hash"):
        code_votes([str(f) for f in world.files], tmp_path / "never", n_buckets=4)
    assert not (tmp_path / "never").exists()


def part(path, **columns):
    pq.write_table(
        pa.table({"task": ["a", "b"], "worker": ["u", "v"], "label": ["x", "y"]} | columns), path
    )
    return str(path)


def test_bad_parts_are_named(tmp_path):
    good = part(tmp_path / "good.parquet")
    into = tmp_path / "coded"
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"task": ["a"], "label": ["x"]}), other)
    with pytest.raises(VotesError, match="other.parquet.*worker"):
        code_votes([good, str(other)], into)
    numbers = part(tmp_path / "numbers.parquet", task=[1, 2])
    with pytest.raises(
        VotesError, match="numbers.parquet: its items are int64, and string in .*good"
    ):
        code_votes([good, numbers], into)
    numbers = part(tmp_path / "numbers.parquet", worker=[1, 2])
    with pytest.raises(
        VotesError, match="numbers.parquet: its workers are int64, and string in .*good"
    ):
        code_votes([good, numbers], into)
    nested = part(tmp_path / "nested.parquet", label=[["x"], ["y"]])
    with pytest.raises(VotesError, match="nested.parquet, column 'label': holds list"):
        code_votes([good, nested], into)
    empty = part(tmp_path / "empty.parquet", label=["x", None])
    with pytest.raises(VotesError, match="empty.parquet, row 2, column 'label'"):
        code_votes([good, empty], into)
    with pytest.warns(VotesWarning, match="1 of 4 rows left out"):
        assert code_votes([good, empty], into, drop_missing=True).n_votes == 3
    with pytest.raises(VotesError, match="a single class"):
        code_votes([part(tmp_path / "one.parquet", label=["x", "x"])], tmp_path / "one")
    with pytest.raises(VotesError, match="no such file"):
        code_votes([good, str(tmp_path / "gone.parquet")], tmp_path / "none")
    assert not (tmp_path / "one").exists() and not (tmp_path / "none").exists()


def test_a_part_that_grows_or_goes_between_the_passes_is_named(tmp_path):
    file = tmp_path / "growing.parquet"
    part(file)

    def growing(by):
        def each(function, calls):
            for call in calls:
                if function is coding.scatter:
                    part(file, **by)
                yield function(*call)

        return each

    for by, said in (
        ({"worker": ["u", "new"]}, "worker 'new' was not there in the first pass"),
        ({"label": ["x", "new"]}, "label 'new' was not there in the first pass"),
        (
            {"task": ["a", "b", "b"], "worker": ["u", "v", "u"], "label": ["x", "y", "y"]},
            "has 3 votes, and had 2 in the first pass",
        ),
    ):
        part(file)
        with pytest.raises(VotesError, match=f"growing.parquet: {said}.*when it is whole"):
            code_votes(str(file), tmp_path / "coded", each=growing(by))
    part(file)

    def going(function, calls):
        for call in calls:
            if function is coding.scatter:
                file.unlink()
            yield function(*call)

    with pytest.raises(VotesError, match="growing.parquet: there is no such file"):
        code_votes(str(file), tmp_path / "coded", each=going)
    assert not (tmp_path / "coded").exists()


def test_progress_is_told(world, tmp_path):
    told = []
    code_votes([str(f) for f in world.files], tmp_path / "coded", n_buckets=2, progress=told.append)
    n = world.votes.n_votes
    last = {step.name: step for step in told}
    assert told[0] == coding.Step("survey", 0, 3, 0, 0.0)
    assert list(last.values()) == [
        coding.Step("survey", 3, 3, n, 1.0), coding.Step("scatter", 3, 3, n, 1.0),
        coding.Step("gather", 2, 2, n, 1.0),
    ]  # fmt: skip
    sizes = [file.stat().st_size for file in world.files]
    assert told[1].share == sizes[0] / sum(sizes)
    assert [step.done for step in told] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2]


def test_a_folder_that_is_none_or_was_changed_is_refused(world, tmp_path):
    with pytest.raises(VotesError, match="holds no coded votes"):
        open_votes(tmp_path)
    coded = code_votes([str(f) for f in world.files], tmp_path / "coded", n_buckets=2)
    labels = tmp_path / "coded" / "buckets" / "000001" / "label.npy"
    np.save(labels, np.load(labels)[:-1])
    coded.load(0, 1)
    with pytest.raises(VotesError, match="bucket 1 has .* it was changed"):
        coded.load(1, 2)
    labels.unlink()
    with pytest.raises(VotesError, match="bucket 1 cannot be read"):
        coded.load(0, 2)
