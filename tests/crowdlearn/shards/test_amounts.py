import pytest

from crowdlearn.errors import SettingsError
from crowdlearn.shards.amounts import bytes_of


@pytest.mark.parametrize(
    ("text", "n"),
    [("4GB", 4e9), ("1.5 GiB", 1.5 * 2**30), ("500m", 5e8), ("123", 123), (77, 77), ("1ti", 2**40)],
)
def test_amounts_of_memory(text, n):
    assert bytes_of(text) == n


def test_nothing_and_what_is_no_amount():
    assert bytes_of(None) is None
    for wrong in ("0GB", "4XB", "", "-1", 0):
        with pytest.raises(SettingsError, match="give an amount as 4GB or 500MiB"):
            bytes_of(wrong)
