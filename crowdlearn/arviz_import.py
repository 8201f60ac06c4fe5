"""ArviZ, without the notice about its next version that it gives on the first import of a day."""

from __future__ import annotations

import warnings
from types import ModuleType


def import_arviz() -> ModuleType:
    """The module `arviz`. Raises ImportError naming the extra where it is not installed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*ArviZ is undergoing", FutureWarning)
        try:
            import arviz
        except ImportError as error:
            raise ImportError("needs ArviZ: pip install 'crowdlearn[bayes]'") from error
    module: ModuleType = arviz
    return module
