"""Is the order of the classes somebody's choice? For what reads classes as a scale."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from crowdlearn.errors import VotesWarning


def warn_of_spelling_order(classes: Sequence[str]) -> None:
    """A VotesWarning where three or more classes stand in the order of their spelling.

    Readers sort classes so where nobody names them in order. Numbers in their order, and grades of
    one letter, mean what they say.
    """
    meant = len(classes) < 3 or all(len(name) == 1 for name in classes) or _ascending(classes)
    if not meant and list(classes) == sorted(classes):
        warnings.warn(
            f"classes are taken to be in the order {', '.join(classes[:20])}, which is that of "
            "their spelling: name them from one end of the scale to the other with classes=[...] "
            "(--classes)",
            VotesWarning,
            stacklevel=4,
        )


def _ascending(classes: Sequence[str]) -> bool:
    try:
        values = [float(name) for name in classes]
    except ValueError:
        return False
    return all(low < high for low, high in zip(values[:-1], values[1:], strict=True))
