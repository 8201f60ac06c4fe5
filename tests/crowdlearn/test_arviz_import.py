"""ArviZ's notice of the day reaches nobody, not even where warnings are errors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = "from crowdlearn.arviz_import import import_arviz; print(import_arviz().__name__)"


def test_the_first_import_of_a_day_is_quiet(tmp_path: Path) -> None:
    pytest.importorskip("arviz")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CODE],
        capture_output=True, text=True, env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "arviz\n"), done.stderr
    assert done.stderr == ""


def test_without_arviz_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from crowdlearn.arviz_import import import_arviz

    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ImportError, match=r"crowdlearn\[bayes\]"):
        import_arviz()
