"""The review app as people use it: a real server, a real browser, keys pressed fast."""

from __future__ import annotations

import csv
import io
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from apps.review.desk import TOO_SOON
from apps.review.run import command
from crowdlearn.service import answers
from crowdlearn.service.access import LOCAL
from crowdlearn.service.accounts import add_user
from crowdlearn.service.items import read_item
from crowdlearn.service.new_items import NewItem, add_items
from crowdlearn.service.projects import create_project
from crowdlearn.service.votes import NewVote, append_votes
from crowdlearn.store import Store, open_store
from tests.services import free_port, wait_for

pytestmark = pytest.mark.e2e

OWNER, PASSWORD = "olga", "correct horse"
CLASSES = ("animal", "plant")
PROBE = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"
STRANGE = (":smile: :material/home:", "a -> b -- c", "$x^2$ `code`", "[link](https://x.y)", PROBE)
MAIN = '[data-testid="stMain"]'


@dataclass
class Server:
    url: str
    store: Store


@dataclass
class Seen:
    """A page, and everything that went wrong in it."""

    page: Page
    wrong: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app with passwords on an empty store that has one owner."""
    folder = tmp_path_factory.mktemp("review")
    store = open_store(folder / "store.db", create=True)
    with store.write() as db:
        add_user(db, LOCAL, OWNER, PASSWORD, owner=True)
    port = free_port()
    argv, environment = command(str(folder / "store.db"), auth="password", port=port, headless=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, env=environment, cwd=folder, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/_stcore/health", 60)
        yield Server(f"http://127.0.0.1:{port}", store)
    finally:
        process.terminate()
        process.wait(timeout=30)
        store.close()


@contextmanager
def window(chromium: Browser, server: Server, scheme: str = "light") -> Iterator[Seen]:
    """A signed-in window of its own; whatever fails in it fails the test."""
    with chromium.new_context(
        viewport={"width": 1366, "height": 768}, color_scheme=scheme, accept_downloads=True
    ) as context:  # type: ignore[call-overload]
        page = context.new_page()
        seen = Seen(page)
        page.on("console", lambda m: seen.wrong.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: seen.wrong.append(str(error)))
        page.on("requestfailed", lambda request: seen.wrong.append(request.url))
        page.goto(server.url)
        page.get_by_label("User name").fill(OWNER, timeout=60_000)
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_label("User name")).to_have_count(0, timeout=60_000)
        settle(page)
        yield seen
        assert seen.wrong == []


def settle(page: Page) -> None:
    """Return once the app has stopped running."""
    page.wait_for_timeout(200)
    expect(page.get_by_test_id("stApp")).to_have_attribute(
        "data-test-script-state", "notRunning", timeout=60_000
    )


def head(page: Page) -> Locator:
    """Where the Queue page names its item."""
    return page.locator(".st-key-item-head strong")


def press(page: Page, key: str) -> tuple[str, str]:
    """Look at the item, press the key; the names of this item and of the next."""
    head(page).wait_for(timeout=60_000)  # between a rerun and the next the app is at rest, too
    settle(page)
    name = head(page).inner_text()
    page.wait_for_timeout(1000 * TOO_SOON + 150)
    page.keyboard.press(key)
    expect(head(page)).not_to_have_text(name, timeout=20_000)
    return name, head(page).inner_text()


def visit(page: Page, name: str) -> None:
    """Open a page by the side bar."""
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=name).click()
    settle(page)


def section(page: Page, name: str) -> None:
    """Open a section of the Project page."""
    page.get_by_role("radio", name=name, exact=True).or_(
        page.get_by_test_id("stButtonGroup").get_by_text(name, exact=True)
    ).first.click()
    settle(page)


def choose(page: Page, label: str, option: str) -> None:
    """Choose from a box that drops down."""
    page.get_by_role("combobox", name=re.compile(label)).first.click()
    page.get_by_role("option", name=option, exact=True).click()
    page.locator(MAIN).click(position={"x": 15, "y": 300})  # keys go to the page again
    settle(page)


def choose_project(page: Page, name: str) -> None:
    """Choose a project in the side bar, whose button names the one that is shown."""
    page.get_by_test_id("stSidebar").get_by_test_id("stPopover").first.click()
    choose(page, "Project", name)


def world(n_items: int = 60, seed: int = 3) -> tuple[bytes, bytes]:
    """Files of votes and of texts: six workers, three votes an item, one of them a guesser."""
    rng = np.random.default_rng(seed)
    votes, texts = io.StringIO(), io.StringIO()
    csv.writer(votes).writerow(["task", "worker", "label"])
    csv.writer(texts).writerow(["task", "text"])
    for k in range(n_items):
        truth = int(rng.integers(2))
        csv.writer(texts).writerow([f"note-{k:02d}", f"Note {k} is about an {CLASSES[truth]}."])
        for w in rng.permutation(6)[:3].tolist():
            right = rng.random() < (0.5 if w == 0 else 0.8)
            label = CLASSES[truth if right else 1 - truth]
            csv.writer(votes).writerow([f"note-{k:02d}", f"worker-{w}", label])
    return votes.getvalue().encode(), texts.getvalue().encode()


def upload(page: Page, name: str, content: bytes) -> None:
    page.locator('input[type="file"]').first.set_input_files(
        {"name": name, "mimeType": "text/csv", "buffer": content}
    )
    settle(page)


def answered(store: Store, project: str, names: list[str]) -> dict[str, str]:
    """The labels that experts gave these items, as the store has them."""
    with store.read() as db:
        found = [read_item(db, LOCAL, project, name) for name in names]
    return {item.name: str(item.label) for item in found if item.state == "answered"}


def shoot(page: Page, folder: Path, name: str) -> None:
    page.wait_for_timeout(700)  # charts fade in
    page.screenshot(path=folder / f"{name}.png")


@pytest.fixture(scope="module")
def project(chromium: Browser, server: Server) -> str:
    """A project that is made in the browser, of two files."""
    votes, texts = world()
    with window(chromium, server) as seen:
        page = seen.page
        page.get_by_role("button", name="New project").click()
        page.get_by_label("Name", exact=True).fill("notes")
        upload(page, "votes.csv", votes)
        page.get_by_role("button", name="Create project").click()
        expect(page.get_by_role("heading", name="Project notes")).to_be_visible(timeout=30_000)
        page.get_by_text("items", exact=True).click()
        expect(page.get_by_text("A column task and one of")).to_be_visible()
        settle(page)
        upload(page, "texts.csv", texts)
        expect(page.get_by_text("Known already")).to_be_visible()
        page.get_by_role("button", name=re.compile("Import")).click()
        settle(page)
    with server.store.read() as db:
        assert read_item(db, LOCAL, "notes", "note-00").payload is not None
    return "notes"


def test_from_the_keyboard_to_the_exported_file(
    chromium: Browser, server: Server, project: str
) -> None:
    with window(chromium, server) as seen:
        page = seen.page
        decided = {}
        for k in range(10):
            name, _ = press(page, "12"[k % 2])
            decided[name] = CLASSES[k % 2]
        last = list(decided)[-1]
        change = page.get_by_text(f"You decided {last}")
        expect(change).to_contain_text("→ 100 %", timeout=20_000)
        settle(page)
        before, after = re.findall(r"probability ([\d>. ]+) % → ([\d>. ]+) %", change.inner_text())[
            0
        ]
        assert float(before) < float(after) == 100

        page.keyboard.press("u")
        expect(head(page)).to_have_text(last, timeout=20_000)
        decided.pop(last)
        change = page.get_by_text(f"You took back {last}")
        expect(change).to_contain_text("its probability", timeout=20_000)
        assert re.search(r"probability 100 % → \d\d %", change.inner_text())
        flagged, _ = press(page, "f")
        skipped, _ = press(page, "s")

        visit(page, "Items")
        choose(page, "State", "flagged")
        expect(page.locator(".st-key-pager")).to_contain_text("1 to 1 of 1 item")
        choose(page, "State", "answered")
        expect(page.locator(".st-key-pager")).to_contain_text("of 9 items")
        visit(page, "Workers")
        expect(page.locator(".st-key-pager")).to_contain_text("6 workers")
        visit(page, "Progress")
        expect(page.get_by_text("9 of 60 items decided")).to_be_visible()
        visit(page, "Compare")
        page.get_by_role("button", name="Run").click()
        expect(page.get_by_text("Errors are against the answers")).to_be_visible(timeout=90_000)

        visit(page, "Project")
        section(page, "Export")
        choose(page, "Content", "labels")
        page.get_by_role("button", name="Prepare file").click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download 60 rows").click()
        assert download.value.suggested_filename == "notes-labels.csv"
        text = download.value.path().read_text(encoding="utf-8")
        rows = list(csv.DictReader(text.splitlines()))
    experts = {row["task"]: row["label"] for row in rows if row["source"] == "expert"}
    assert experts == decided == answered(server.store, project, [row["task"] for row in rows])
    with server.store.read() as db:
        said = {
            name: [e["kind"] for e in answers.history(db, LOCAL, project, name)]
            for name in (flagged, skipped, last)
        }
    assert said[flagged][-1] == "flag" and said[skipped][-1] == "skip"
    assert said[last][:2] == ["answer", "undo"]


def test_two_windows_never_show_the_same_item(
    chromium: Browser, server: Server, project: str
) -> None:
    with window(chromium, server) as one, window(chromium, server) as other:
        shown: tuple[list[str], list[str]] = ([], [])
        for _ in range(4):
            for seen, names in zip((one, other), shown, strict=True):
                names.append(head(seen.page).inner_text())
                assert head(one.page).inner_text() != head(other.page).inner_text()
                press(seen.page, "1")
    assert len({*shown[0], *shown[1]}) == 8


def test_keys_pressed_too_fast_decide_nothing_that_was_not_shown(
    chromium: Browser, server: Server, project: str
) -> None:
    with window(chromium, server) as seen:
        page = seen.page
        page.evaluate(
            """() => {
                window.shown = new Set();
                const look = () => {
                    const head = document.querySelector('.st-key-item-head strong');
                    if (head) window.shown.add(head.innerText);
                };
                look();
                new MutationObserver(look).observe(
                    document.body, {subtree: true, childList: true, characterData: true});
            }"""
        )
        everything = [f"note-{k:02d}" for k in range(60)]
        before = answered(server.store, project, everything)
        page.wait_for_timeout(1000 * TOO_SOON + 150)
        for _ in range(8):
            page.keyboard.press("2")
            page.wait_for_timeout(30)
        settle(page)
        page.wait_for_timeout(1000)
        shown = set(page.evaluate("() => [...window.shown]"))
        after = answered(server.store, project, everything)
    new = after.keys() - before.keys()
    assert 1 <= len(new) < 8
    assert new <= shown and len(new) < len(shown)


def test_names_and_texts_are_shown_as_they_are_and_run_nothing(
    chromium: Browser, server: Server
) -> None:
    with server.store.write() as db:
        create_project(db, LOCAL, "strange", STRANGE)
        add_items(db, LOCAL, "strange", [NewItem(name=n, kind="text", payload=n) for n in STRANGE])
        votes = [NewVote(item=name, worker=name, label=name) for name in STRANGE]
        append_votes(db, LOCAL, "strange", votes)
    with window(chromium, server) as seen:
        page = seen.page
        choose_project(page, "strange")
        names = set()
        for _ in STRANGE:
            names.add(plain(head(page).inner_text()))
            pages_text = plain(page.locator(MAIN).inner_text())
            for name in STRANGE:
                assert name in pages_text
            if len(names) < len(STRANGE):
                press(page, "s")
        assert names == set(STRANGE)
        visit(page, "Workers")
        visit(page, "Items")
        assert page.evaluate("() => window.hacked") is None
        assert page.locator(f"{MAIN} a[href*='x.y']").count() == 0
        assert page.locator(f"{MAIN} img").count() == 0


def plain(text: str) -> str:
    return text.replace("\u2060", "")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_drawn_in_light_and_dark(
    chromium: Browser, server: Server, project: str, scheme: str, tmp_path: Path
) -> None:
    folder = Path(os.environ.get("E2E_ARTIFACTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    with window(chromium, server, scheme) as seen:
        page = seen.page
        choose_project(page, project)
        dark = scheme == "dark"
        ground = page.evaluate(
            "() => getComputedStyle(document.querySelector('.stApp')).backgroundColor"
        )
        assert (ground == "rgb(18, 22, 29)") == dark  # the theme of the app's own folder
        for name in ("Queue", "Items", "Workers", "Progress", "Compare", "Project"):
            visit(page, name)
            shoot(page, folder, f"{name.lower()}-{scheme}")
        for name in ("Export", "Settings", "Members", "API keys", "Trail", "New project", "Users"):
            section(page, name)
            shoot(page, folder, f"project-{name.lower().replace(' ', '-')}-{scheme}")
        page.get_by_text(OWNER).first.click()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("User name")).to_be_visible()
        shoot(page, folder, f"sign-in-{scheme}")


def test_wrong_passwords_make_ever_longer_waits(chromium: Browser, server: Server) -> None:
    with chromium.new_context() as context:
        page = context.new_page()
        page.goto(server.url)
        page.get_by_label("User name").fill("somebody", timeout=60_000)
        refused = page.get_by_text("Too many failed tries")
        for k in range(12):  # on a slow machine the first waits are over before the next try
            page.get_by_label("Password", exact=True).fill(f"wrong {k}")
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("alert")).to_be_visible(timeout=20_000)
            settle(page)
            if refused.count():
                break
        assert k >= 5
        expect(refused).to_be_visible()
