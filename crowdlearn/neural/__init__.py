"""Label aggregation networks on torch: a network answers, a guiding model says what fits the votes.

Votes stay in long format: every step costs by votes, never by items times workers.
Needs the extra `torch`.
"""

try:
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError("networks need torch: pip install 'crowdlearn[torch]'") from error
