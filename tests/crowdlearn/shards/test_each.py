import pytest

from crowdlearn.errors import SettingsError
from crowdlearn.shards.each import each_on, in_turn, once


def test_in_turn_is_lazy_and_in_order():
    done = []
    results = in_turn(lambda k: done.append(k) or -k, [(1,), (2,)])
    assert done == [] and list(results) == [-1, -2] and done == [1, 2]
    assert each_on("auto") is each_on("cpu") is in_turn
    with pytest.raises(SettingsError, match="device 'gpu': coded votes are fitted on"):
        each_on("gpu")


def test_a_folder_appears_whole_and_the_first_one_stays(tmp_path):
    target = tmp_path / "a" / "b"
    with once(target) as folder:
        (folder / "first").touch()
        assert not target.exists()
    with once(target) as folder:
        (folder / "second").touch()
    with pytest.raises(RuntimeError), once(tmp_path / "c"):
        raise RuntimeError
    assert [path.name for path in target.iterdir()] == ["first"]
    assert [path.name for path in target.parent.iterdir()] == ["b"]
    assert not list(tmp_path.glob("c*"))
