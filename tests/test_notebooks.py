"""Notebooks run from the first cell to the last, and their pages hold figures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "notebooks"  # where `make docs` puts them, so that they run once

pytest.importorskip("jupytext", reason="notebooks need: pip install 'crowdlearn[notebooks]'")


@pytest.mark.slow
def test_every_notebook_runs_and_is_rendered_with_figures() -> None:
    done = subprocess.run(
        [sys.executable, "docs/make_notebooks.py", "--stale"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    for script in (ROOT / "notebooks").glob("*.py"):
        page = (PAGES / f"{script.stem}.md").read_text("utf-8")
        pictures = list(PAGES.glob(f"{script.stem}_*.svg"))
        assert pictures and all(picture.name in page for picture in pictures)
        assert str(ROOT) not in page
