"""Make the pictures of the review app: python docs/make_screenshots.py [--folder docs/images]

Starts the app on the demo project in a store of its own, answers a few items as an expert who knows
the digits would, and takes a picture of every page in Chromium.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from apps.review.run import command  # noqa: E402
from crowdlearn.service.access import LOCAL  # noqa: E402
from crowdlearn.service.answers import answer  # noqa: E402
from crowdlearn.service.assignments import next_item  # noqa: E402
from crowdlearn.service.demo import DIGITS, add_demo  # noqa: E402
from crowdlearn.service.folder import Folder  # noqa: E402
from crowdlearn.store import open_store  # noqa: E402
from tests.services import free_port, wait_for  # noqa: E402

SIZE = {"width": 1366, "height": 768}
PAGES = ("queue", "items", "workers", "progress", "compare", "project")
DARK = ("queue",)
N_ANSWERS = 40


def prepare(address: str) -> None:
    """The demo, with answers of an expert."""
    from sklearn.datasets import load_digits

    truth = load_digits().target
    with open_store(address, create=True) as store:
        with store.write() as db:
            number = add_demo(db, LOCAL)[0].id
        folder = Folder(store)
        folder.catch_up(number)
        for _ in range(N_ANSWERS):
            with store.write() as db:
                loan = next_item(db, LOCAL, DIGITS, "answer")
                assert loan is not None, "there are more items than answers"
                right = str(truth[loan.item.number])
                answer(db, LOCAL, DIGITS, loan.item.name, right, token=loan.token)
            folder.catch_up(number, settle=True)
        folder.close()


@contextmanager
def app(address: str) -> Iterator[int]:
    """The app on this store; its port."""
    port = free_port()
    arguments, environment = command(address, port=port, project=DIGITS, headless=True)
    process = subprocess.Popen(arguments, env=os.environ | environment, cwd=ROOT)
    try:
        wait_for(f"http://127.0.0.1:{port}/_stcore/health", 60)
        yield port
    finally:
        process.terminate()
        process.wait()


def picture(browser: Any, port: int, page: str, scheme: str, file: Path) -> None:
    """One page in one colour scheme, when nothing moves any more."""
    context = browser.new_context(viewport=SIZE, color_scheme=scheme)
    tab = context.new_page()
    tab.goto(f"http://127.0.0.1:{port}/{'' if page == 'queue' else page}")
    tab.get_by_text("up to date").first.wait_for(timeout=60_000)
    if page == "queue":
        tab.get_by_role("button", name="Skip").wait_for(timeout=60_000)
    if page == "compare":
        tab.get_by_role("button", name="Run").click()
        tab.locator("canvas, svg.marks").first.wait_for(timeout=60_000)
    tab.locator("[data-testid='stStatusWidget']").wait_for(state="hidden", timeout=60_000)
    tab.wait_for_timeout(1500)  # charts draw themselves
    tab.screenshot(path=file)
    context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "images")
    given = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        address = str(Path(folder) / "demo.db")
        prepare(address)
        with app(address) as port, sync_playwright() as pw:
            browser = pw.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            for page in PAGES:
                picture(browser, port, page, "light", given.folder / f"review-{page}.png")
                if page in DARK:
                    picture(browser, port, page, "dark", given.folder / f"review-{page}-dark.png")
            browser.close()


if __name__ == "__main__":
    main()
