"""What an audit looks at."""

from __future__ import annotations

from typing import Any

import pytest

from fedsec.errors import SettingsError
from fedsec.inversion.audit.ladders import LADDERS
from fedsec.inversion.audit.scope import QUICK, Scope


def test_rungs_are_spread_from_the_weakest_to_the_strongest() -> None:
    assert Scope().strengths("noise") == LADDERS["noise"].strengths
    assert QUICK.strengths("noise") == (0.1, 1.0, 10.0)
    assert Scope(rungs=2).strengths("bits") == (8, 1)
    assert Scope(rungs=9).strengths("soteria") == LADDERS["soteria"].strengths


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"threats": ("god",)}, "threat model 'god' is not one of update, labels"),
        ({"attacks": ("magic",)}, "attack 'magic' is not one of dlg"),
        ({"ladders": ("luck",)}, "defence 'luck' is not one of noise"),
        ({"iterations": 0}, "iterations = 0: give at least 1"),
        ({"clients": -1}, "clients = -1: give at least 0"),
        ({"steps": (0,)}, "numbers from 1"),
        ({"threats": ()}, "no threat model: give at least one"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Scope(**settings)
