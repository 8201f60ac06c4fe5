"""What each client contributed: to one round, and over a training; and whether that is fair.

A method within a round is a call `(game, rng) -> Contribution`, one over rounds a call
`(rounds, n_clients, rng) -> Contribution`.
"""

from fedsec.federated.contribution.completed import ComFedSV, SampledComFedSV
from fedsec.federated.contribution.exact import Exact
from fedsec.federated.contribution.fairness import (
    client_fairness,
    clipped_shares,
    data_share,
    relative_contribution,
    shifted_shares,
    softmax_shares,
    system_fairness,
)
from fedsec.federated.contribution.game import (
    Method,
    RoundGame,
    Utility,
    accuracy,
    coalition_models,
    negative_loss,
    round_game,
)
from fedsec.federated.contribution.gtg import Gtg
from fedsec.federated.contribution.leave_one_out import LeaveOneOut
from fedsec.federated.contribution.methods import (
    CONTRIBUTIONS,
    OVER_ROUNDS,
    contribution_method,
)
from fedsec.federated.contribution.monte_carlo import MonteCarlo
from fedsec.federated.contribution.moving_average import ShapleyFL, aggregation_shares
from fedsec.federated.contribution.per_round import FedSV, PlayedRound
from fedsec.federated.contribution.permutations import permutations_needed
from fedsec.federated.contribution.result import Contribution

__all__ = [
    "CONTRIBUTIONS",
    "OVER_ROUNDS",
    "ComFedSV",
    "Contribution",
    "Exact",
    "FedSV",
    "Gtg",
    "LeaveOneOut",
    "Method",
    "MonteCarlo",
    "PlayedRound",
    "RoundGame",
    "SampledComFedSV",
    "ShapleyFL",
    "Utility",
    "accuracy",
    "aggregation_shares",
    "client_fairness",
    "clipped_shares",
    "coalition_models",
    "contribution_method",
    "data_share",
    "negative_loss",
    "permutations_needed",
    "relative_contribution",
    "round_game",
    "shifted_shares",
    "softmax_shares",
    "system_fairness",
]
