from __future__ import annotations

import numpy as np
import pytest

from crowdlearn.errors import SettingsError
from crowdlearn.hyperparameters import at_least_one, finite, positive


def test_good_values_pass() -> None:
    assert positive("count", 2) == 2.0
    assert positive("count", np.float32(0.5)) == 0.5
    assert finite("ease", -3.0) == -3.0
    assert at_least_one("n_subtypes", 1) == 1


@pytest.mark.parametrize(
    ("check", "bad", "what"),
    [
        (positive, 0.0, "positive, not 0.0: the prior would be improper"),
        (positive, -1.0, "positive, not -1.0"),
        (positive, float("nan"), "finite, not nan"),
        (positive, float("inf"), "finite, not inf"),
        (positive, "1", "a number, not '1'"),
        (positive, True, "a number, not True"),
        (positive, [1.0], r"a number, not \[1.0\]"),
        (finite, None, "a number, not None"),
        (at_least_one, 0, "at least 1, not 0"),
        (at_least_one, 2.0, "a whole number, not 2.0"),
        (at_least_one, True, "a whole number, not True"),
    ],
)
def test_bad_values_are_named(check: object, bad: object, what: str) -> None:
    with pytest.raises(SettingsError, match=f"^depth must be {what}"):
        check("depth", bad)  # type: ignore[operator]
