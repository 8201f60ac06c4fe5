"""Make the parts of the documentation that follow from the code and the benchmark results.

    python docs/make_pages.py            writes the pages on command line and library,
                                         and the marked blocks
    python docs/make_pages.py --check    changes nothing; names what is out of date, exits with 1

A marked block stands in a page between `<!-- begin NAME -->` and `<!-- end NAME -->`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

from page_api import api_page, fedsec_api_page  # noqa: E402
from page_cli import cli_page, fedsec_page  # noqa: E402
from page_methods import inferences_table, methods_table, settings_table  # noqa: E402
from page_results import RESULT_BLOCKS  # noqa: E402

BLOCK = re.compile(r"(<!-- begin (?P<name>[^>]+?) -->\n).*?(<!-- end (?P=name) -->)", re.DOTALL)


def fill(text: str) -> str:
    """The page with every marked block made anew. Raises ValueError for an unknown block."""

    def content(match: re.Match[str]) -> str:
        return f"{match[1]}\n{block(match['name'])}\n\n{match[3]}"

    return BLOCK.sub(content, text)


def block(name: str) -> str:
    """The Markdown of the block with this name."""
    if name.startswith("settings "):
        return settings_table(name.removeprefix("settings "))
    made = {"methods": methods_table, "inferences": inferences_table}
    tables: dict[str, Callable[[], str]] = {**made, **RESULT_BLOCKS}
    if name not in tables:
        raise ValueError(f"no block is called {name!r}; there are {', '.join(tables)}")
    return tables[name]()


def pages() -> dict[Path, str]:
    """What every page made or refilled here should hold."""
    made = {
        DOCS / "cli.md": cli_page(),
        DOCS / "fedsec-cli.md": fedsec_page(),
        DOCS / "api.md": api_page(DOCS.parent / "crowdlearn"),
        DOCS / "fedsec-api.md": fedsec_api_page(DOCS.parent / "fedsec"),
    }
    for path in sorted([*DOCS.rglob("*.md"), DOCS.parent / "README.md"]):
        text = path.read_text(encoding="utf-8")
        if "<!-- begin " in text:
            made[path] = fill(text)
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say what is out of date")
    check = parser.parse_args().check
    stale = [
        path
        for path, text in pages().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        print(f"{path.relative_to(DOCS.parent)} {'is out of date' if check else 'written'}")
        if not check:
            path.write_text(pages()[path], encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
