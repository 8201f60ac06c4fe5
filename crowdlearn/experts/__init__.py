"""Which few items an expert should look at."""

from crowdlearn.experts.acquisition import ACQUISITIONS, cent, entropy, least_confident, margin

__all__ = ["ACQUISITIONS", "cent", "entropy", "least_confident", "margin"]
