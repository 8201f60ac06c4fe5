"""Is the story any good? Predicting left-out votes, and comparing what it predicts with the votes.

Needs the extra `bayes`.
"""

from crowdlearn.criticism.draws import PosteriorDraws, posterior_draws
from crowdlearn.criticism.loo import Loo, compare, loo, vote_log_probabilities
from crowdlearn.criticism.predictive import STATISTICS, Check, check, checks_table
from crowdlearn.criticism.prior_predictive import PriorPredictive, prior_predictive

__all__ = [
    "STATISTICS",
    "Check",
    "Loo",
    "PosteriorDraws",
    "PriorPredictive",
    "check",
    "checks_table",
    "compare",
    "loo",
    "posterior_draws",
    "prior_predictive",
    "vote_log_probabilities",
]
