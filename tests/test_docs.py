"""The documentation cannot drift: made pages are in step, links lead somewhere, code blocks run."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest

from crowdlearn import datasets
from crowdlearn.aggregators import AGGREGATORS, aggregator
from crowdlearn.io import write_csv

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(
    p for p in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")] if p.parent != DOCS / "notebooks"
)
CARDS = {
    "idbla-factorised": "idbla",
    "idbla-gibbs": "idbla",
    "fixed-idbla-factorised": "fixed-idbla",
    "fixed-idbla-gibbs": "fixed-idbla",
    "consensus-onecoin": "consensus",
}
LIST_COMMANDS = (
    "from crowdlearn.cli import app; import typer.main as typer; "
    "print(*typer.get_command(app).commands)"
)
PARTS = ("Story", "Inference", "Start", "Settings", "When it fails", "Source", "Departures")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def ids(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return [body for name, body in FENCE.findall(page.read_text("utf-8")) if name == language]


def anchors(page: Path) -> set[str]:
    """The anchors that the site gives to the headings of a page."""
    prose = FENCE.sub("", page.read_text("utf-8"))
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", h).strip().lower()) for h in headings}


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


def test_made_pages_are_in_step_with_code_and_results() -> None:
    done = run("docs/make_pages.py", "--check")
    assert done.returncode == 0, f"{done.stdout}{done.stderr}run: python docs/make_pages.py"


@pytest.mark.parametrize("page", PAGES, ids=ids(PAGES))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if path.parent == DOCS / "notebooks":  # made from the script of the same name
            path = ROOT / "notebooks" / f"{path.stem}.py"
        assert path.exists(), f"{target}: there is no such file"
        assert not anchor or anchor in anchors(path), f"{target}: there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=ids(PAGES))
def test_every_file_named_in_code_marks_exists(page: Path) -> None:
    named = re.findall(
        r"`((?:docs|tests|benchmarks|notebooks|crowdlearn)/[\w./-]+\.(?:py|md))`",
        FENCE.sub("", page.read_text("utf-8")),
    )
    made_later = {"benchmarks/results/accuracy.md"}
    schematic = {"crowdlearn/a/b.py", "tests/crowdlearn/a/test_b.py"}
    schematic |= {
        "crowdlearn/aggregators/peer_vote.py",
        "tests/crowdlearn/aggregators/test_peer_vote.py",
    }
    missing = [n for n in named if not (ROOT / n).exists() and n not in made_later | schematic]
    assert not missing


@pytest.mark.parametrize("name", AGGREGATORS)
def test_every_method_has_a_card_with_all_its_parts(name: str) -> None:
    card = (DOCS / "methods" / f"{CARDS.get(name, name)}.md").read_text("utf-8")
    assert f"`{name}`" in card
    for part in PARTS:
        assert f"\n## {part}\n" in card, f"the card has no part {part!r}"
    for field in dataclasses.fields(AGGREGATORS[name]):
        assert f"| `{field.name}` |" in card


def test_every_command_is_on_the_page() -> None:
    page = (DOCS / "cli.md").read_text("utf-8")
    listed = run("-c", LIST_COMMANDS).stdout.split()
    assert "aggregate" in listed
    for name in listed:
        assert f"## crowdlearn {name}\n" in page


def test_the_readme_counts_the_methods_right() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert f"crowdlearn has {len(AGGREGATORS)} methods" in readme


NOT_RUN = ("api.md", "fedsec-api.md", "CONTRIBUTING.md")
RUNNABLE = [p for p in PAGES if blocks(p, "python") and p.name not in NOT_RUN]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNABLE, ids=ids(RUNNABLE))
def test_python_blocks_run_in_turn(page: Path, tmp_path: Path) -> None:
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks(page, "python")), "utf-8")
    done = run("-W", "error", str(script), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip(), "a page that shows code should show what it prints"


def test_the_worked_example_of_a_new_method_passes_its_own_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = ModuleType("peer_vote")
    monkeypatch.setitem(sys.modules, "peer_vote", module)
    for block in blocks(ROOT / "CONTRIBUTING.md", "python"):
        exec(compile(block, "CONTRIBUTING.md", "exec", dont_inherit=True), vars(module))
    module.test_weight_is_agreement_with_the_other_voters()


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "index.md"], ids=["readme", "index"])
def test_the_first_example_prints_what_is_shown(page: Path, tmp_path: Path) -> None:
    (lines,) = blocks(page, "python")
    shown = next(block for block in blocks(page, "text") if block.startswith("item "))
    script = tmp_path / "first.py"
    script.write_text(lines, "utf-8")
    assert run(str(script), cwd=tmp_path).stdout.rstrip() == shown.rstrip()


COMMANDS = sorted(
    {
        line
        for page in [ROOT / "README.md", DOCS / "index.md", *(DOCS / "howto").glob("*.md")]
        for block in blocks(page, "bash")
        for line in block.splitlines()
        if line.startswith("crowdlearn ")
    }
)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages speak of."""
    folder = tmp_path_factory.mktemp("shelf")
    votes = datasets.load("anesthesia")
    for name in ("votes.csv", "labels.csv"):
        write_csv(votes.to_table(), folder / name)
    (folder / "gold.csv").write_text("task,label\n2,3\n3,1\n")
    (folder / "truth.csv").write_text("task,label\n1,1\n2,3\n3,1\n4,2\n5,2\n")
    rows = "".join(f"{v % 20},j{v % 3},0.{v % 7 + 1}0,0.{8 - v % 7}0,0.1\n" for v in range(60))
    (folder / "soft.csv").write_text("task,worker,p_a,p_b,p_c\n" + rows)
    aggregator("bcc").fit(votes).save(folder / "january")
    (folder / "votes").mkdir()
    pq.write_table(votes.to_table(), folder / "votes" / "part-0.parquet")
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_shown_run(command: str, shelf: Path) -> None:
    words = ["1" if word == "ITEM" else word for word in shlex.split(command)[1:]]
    done = run("-m", "crowdlearn", *words, cwd=shelf)
    assert done.returncode == 0, done.stderr
