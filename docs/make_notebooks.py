"""Run the notebooks and write each as a page with its outputs and figures.

    python docs/make_notebooks.py [--stale] [--to FOLDER] [--processes N]

Pages go to docs/notebooks by default, and as many notebooks run at a time as there are cores.

`--stale` leaves out pages that are newer than their notebook and the packages. A notebook is a
percent script in `notebooks/`. A cell that raises ends the run with its traceback.
"""

from __future__ import annotations

import argparse
import base64
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
QUICKLY_COMPILED = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
PICTURES = {"image/svg+xml": "svg", "image/png": "png"}


def render(script: Path, folder: Path) -> Path:
    """Execute one percent script and write its page and pictures into `folder`."""
    import jupytext
    from nbclient import NotebookClient

    notebook = jupytext.read(script)
    with tempfile.TemporaryDirectory() as work:
        notebook.cells.insert(0, hidden_setup())
        client = NotebookClient(notebook, timeout=600, kernel_name="python3")
        manager = client.create_kernel_manager()
        manager.transport, manager.ip = "ipc", f"{work}/kernel"  # files, not open ports
        client.execute(cwd=work)
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for number, cell in enumerate(notebook.cells[1:]):
        stem = f"{script.stem}_{number:02}"
        parts.append(cell.source if cell.cell_type == "markdown" else code(cell, folder, stem))
    page = folder / f"{script.stem}.md"
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return page


def hidden_setup() -> Any:
    """A first cell that finds the package in this checkout; not shown on the page.

    XLA compiles quickly, as most of this code runs once. tqdm, which NumPyro imports, would print a
    warning with its path about a missing widget. Pictures of matplotlib become SVG.
    """
    import nbformat

    quiet = 'import warnings; warnings.filterwarnings("ignore", message="IProgress not found")'
    lines = [
        f"import os, sys; sys.path.insert(0, {str(ROOT)!r})",
        f"os.environ.setdefault('XLA_FLAGS', {QUICKLY_COMPILED!r})",
        quiet,
        "%matplotlib inline",  # whatever the environment says
        "%config InlineBackend.figure_formats = ['svg']",
    ]
    return nbformat.v4.new_code_cell("\n".join(lines))


def code(cell: Any, folder: Path, stem: str) -> str:
    """A code cell and its outputs as Markdown; pictures become files."""
    parts = [f"```python\n{cell.source}\n```"]
    for number, output in enumerate(cell.outputs):
        parts.append(shown(output, folder, f"{stem}_{number}"))
    return "\n\n".join(parts)


def shown(output: Any, folder: Path, stem: str) -> str:
    """One output: printed text, a picture, or the text form of a value."""
    if output.output_type == "stream":
        return f"```text\n{output.text.rstrip()}\n```"
    for kind, ending in PICTURES.items():
        if kind in output.data:
            content = output.data[kind]
            raw = content.encode() if ending == "svg" else base64.b64decode(content)
            (folder / f"{stem}.{ending}").write_bytes(raw)
            return f"![Figure made by the cell above]({stem}.{ending})"
    return f"```text\n{output.data['text/plain'].rstrip()}\n```"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "notebooks")
    parser.add_argument("--stale", action="store_true")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    due = [
        script
        for script in sorted((ROOT / "notebooks").glob("*.py"))
        if not (given.stale and is_fresh(given.to / f"{script.stem}.md", script))
    ]
    with ProcessPoolExecutor(given.processes) as pool:
        for page in pool.map(partial(render, folder=given.to), due):
            print(f"{page} written", flush=True)


def is_fresh(page: Path, script: Path) -> bool:
    """Whether a page was made after all that it depends on was last changed."""
    sources = [
        script,
        *(p for name in ("crowdlearn", "fedsec") for p in (ROOT / name).rglob("*.py")),
    ]
    return page.exists() and page.stat().st_mtime > max(p.stat().st_mtime for p in sources)


if __name__ == "__main__":
    main()
