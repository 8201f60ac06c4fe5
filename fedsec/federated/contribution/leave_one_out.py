"""Leave-one-out, the influence index: what is lost without a client.

Story       value_i = v(all) - v(all without i). With minus the loss as utility this is
            L(model without i) - L(model of all): positive for a client that helps.
Paper       FedEMD, arXiv 2106.10734, section 3, the influence index.
Departures  The printed index is L(with) - L(without), under which a helpful client is negative,
            while the text takes larger as better; the sign here is the text's.
            A player alone is compared with the model before the round; the paper has 0/0 there.
Caution     The shares of the others grow when one is left out, so the index depends on the
            weighting: under weights by data size a Maverick with much data comes out low, under
            the plain mean it can come out highest. The values do not sum to what the round gained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedsec.federated.contribution.game import RoundGame
from fedsec.federated.contribution.result import Contribution, exactly


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut:
    """What each player's absence costs; K + 1 evaluations, no error from drawing."""

    name: ClassVar[str] = "leave-one-out"

    def __call__(self, game: RoundGame, rng: np.random.Generator) -> Contribution:
        """Nothing is drawn: `rng` is there as for all methods."""
        game = game.counted()
        full = game.value(game.everyone)
        values = np.array(
            [full - game.value(game.everyone ^ 1 << player) for player in range(game.n_players)]
        )
        return exactly(self, values, game.n_evaluations)
