"""Which few items an expert should look at, at what price, and when to stop asking."""

from crowdlearn.experts.acquisition import cent, entropy, least_confident, margin
from crowdlearn.experts.audit import certified_items
from crowdlearn.experts.belief import Belief
from crowdlearn.experts.budget import Budget, DynamicBudget
from crowdlearn.experts.diversity import alike_by_features, alike_by_votes, choose
from crowdlearn.experts.expected import expected_error_reduction, expected_information_gain
from crowdlearn.experts.imperfect import after_answers, expert_confusion, strong_prior, votes_of
from crowdlearn.experts.replay import Replay, fixed_redundancy, simulate_redundancy
from crowdlearn.experts.stopping import NextStep, next_step, stop_items
from crowdlearn.experts.strategies import STRATEGIES, strategy

__all__ = [
    "STRATEGIES",
    "Belief",
    "Budget",
    "DynamicBudget",
    "NextStep",
    "Replay",
    "after_answers",
    "alike_by_features",
    "alike_by_votes",
    "cent",
    "certified_items",
    "choose",
    "entropy",
    "expected_error_reduction",
    "expected_information_gain",
    "expert_confusion",
    "fixed_redundancy",
    "least_confident",
    "margin",
    "next_step",
    "simulate_redundancy",
    "stop_items",
    "strategy",
    "strong_prior",
    "votes_of",
]
