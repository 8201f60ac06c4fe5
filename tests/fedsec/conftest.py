"""Image sets that many tests use; the shared ones where they are at hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fedsec.data.images import ImageData, load_images

PREPARED = Path(
    os.environ.get("FEDSEC_DATA") or Path(__file__).parents[3] / "shared" / "data" / "images"
)


@pytest.fixture(scope="session")
def digits() -> ImageData:
    """1297 and 500 images of 8 x 8."""
    return load_images("digits")


@pytest.fixture(scope="session")
def image_file() -> Callable[[str], Path]:
    """Name -> path of a prepared image set; skips where it is not at hand."""

    def find(name: str) -> Path:
        path = PREPARED / f"{name}.npz"
        if not path.is_file():
            pytest.skip(f"needs {path.name}: set FEDSEC_DATA to a folder that has it")
        return path

    return find
