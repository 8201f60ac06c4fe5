"""Attacks of the literature by name: settings, and how they copy a victim. See `steal`."""

from __future__ import annotations

from fedsec.stealing.dast import Dast
from fedsec.stealing.dfme import Dfme
from fedsec.stealing.knockoff import AdaptiveKnockoff, Knockoff
from fedsec.stealing.maze import Maze
from fedsec.stealing.mega import Mega
from fedsec.stealing.noise import UniformNoise
from fedsec.stealing.tandem import Tandem
from fedsec.stealing.zsdb3kd import Zsdb3kd

ATTACKS: dict[str, type] = {
    "mega": Mega,
    "tandemgan": Tandem,
    "noise": UniformNoise,
    "dast": Dast,
    "dfme": Dfme,
    "maze": Maze,
    "zsdb3kd": Zsdb3kd,
    "knockoff": Knockoff,
    "knockoff-adaptive": AdaptiveKnockoff,
}
"""Name -> settings class; called with (oracle, substitute, seed=...) it gives a `Stolen`.

The last two need images of something else, `surrogate`.
"""
