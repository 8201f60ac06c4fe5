"""True labels from imperfect sources: Bayesian aggregation of crowd votes, with uncertainty.

    from crowdlearn import aggregator, read_votes

    fit = aggregator("dawid-skene").fit(read_votes("labels.csv"))
    fit.to_table()

Or in one call, also for votes larger than memory: `aggregate("votes/*.parquet", device="ray")`.

Importing this package is cheap: each name below is loaded when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crowdlearn.aggregation import Aggregation
    from crowdlearn.aggregators import AGGREGATORS, aggregator
    from crowdlearn.from_files import aggregate
    from crowdlearn.io import read_truth, read_votes
    from crowdlearn.votes import Votes

__version__ = "0.1.0"

_HOMES = {
    "AGGREGATORS": "crowdlearn.aggregators",
    "Aggregation": "crowdlearn.aggregation",
    "Votes": "crowdlearn.votes",
    "aggregate": "crowdlearn.from_files",
    "aggregator": "crowdlearn.aggregators",
    "read_truth": "crowdlearn.io",
    "read_votes": "crowdlearn.io",
}

__all__ = [
    "AGGREGATORS",
    "Aggregation",
    "Votes",
    "__version__",
    "aggregate",
    "aggregator",
    "read_truth",
    "read_votes",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'crowdlearn' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
