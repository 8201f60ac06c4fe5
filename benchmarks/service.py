"""How fast is the service under load, and with a million items?

    python -m benchmarks.service [--parts load size browser] [--seconds 60]

Parts that are not run keep the figures they had.

load     8 clients for 60 s on SQLite and PostgreSQL, each on a connection of its own: take an item
         and answer it, send five votes, read a page of posteriors, an item, the progress. Once
         without a pause, which is as much as the service can do, and once with a pause of half a
         second after each such round. After it: was any acknowledged vote or answer lost or
         doubled, did two loans of an item overlap, are the estimates those of the log?
size     10^6 votes into SQLite, and 10^6 items with 5 x 10^6 votes: ingest, fold, next item, pages.
browser  With these: from opening the review app's address to a Queue that can be worked on, in
         Chromium that is up and at rest: the very first visit, the median of five in browsers that
         were never here, and of six that were.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sqlalchemy import select

from benchmarks.machine import ONE_THREAD, RESULTS, ROOT, peak_mib, record, write_json
from benchmarks.service_crash import CLASSES, addresses
from benchmarks.service_process import Client, served
from crowdlearn.service.access import LOCAL
from crowdlearn.service.accounts import make_key
from crowdlearn.service.assignments import next_item
from crowdlearn.service.folder import Folder
from crowdlearn.service.importing import Upload, perform
from crowdlearn.service.items import count_items, list_items
from crowdlearn.service.progress import read_progress
from crowdlearn.service.projects import create_project, read_project
from crowdlearn.service.verifying import verify
from crowdlearn.service.views import view_item
from crowdlearn.simulate import dawid_skene, fixed_per_item
from crowdlearn.store import Store, open_store
from crowdlearn.store.tables import assignments, events
from crowdlearn.votes import Votes
from tests.services import free_port, wait_for

N_CLIENTS = 8
LOAD_ITEMS, PAUSE = 20_000, 0.5
AT_REST = 2000  # milliseconds, in which a new window of Chromium has loaded its own page
NEW, AGAIN = "in a new browser, median", "again, median"
# Asked at every frame: Playwright's own waiting for a button soon asks twice a second only.
SKIP_IS_THERE = """() => [...document.querySelectorAll("button")].some(
    (button) => button.innerText.includes("Skip") && button.checkVisibility() && !button.disabled
)"""


def world(n_items: int, per_item: int, seed: int) -> Votes:
    """Simulated votes of 2,000 workers, three classes."""
    made = dawid_skene(n_items, 2000, 3, assign=fixed_per_item(per_item), seed=seed).votes
    return Votes.from_codes(
        made.item, made.worker, made.label, items=pa.array([f"item-{i}" for i in range(n_items)]),
        workers=pa.array([f"worker-{w}" for w in range(2000)]), classes=CLASSES,
    )  # fmt: skip


def fill(store: Store, votes: Votes, project: str = "p") -> float:
    """Seconds that importing these votes takes."""
    started = time.perf_counter()
    with store.write() as db:
        create_project(db, LOCAL, project, votes.classes)
        perform(db, LOCAL, project, Upload("votes", "votes", votes=votes))
    return time.perf_counter() - started


def load(address: str, seconds: float, pause: float, seed: int) -> dict[str, Any]:
    """Eight clients at once, who rest for `pause` seconds after each round."""
    with open_store(address, create=True) as store:
        fill(store, world(LOAD_ITEMS, 3, seed))
        with store.write() as db:
            keys = [make_key(db, LOCAL, "p", f"c{k}", "admin")[1] for k in range(N_CLIENTS)]
    took: dict[str, list[float]] = defaultdict(list)
    sent: dict[str, list[str]] = {"votes": [], "answers": []}
    wrong: list[str] = []
    with served(address) as process:
        _wait_until_folded(process.port, keys[0])
        until = time.monotonic() + seconds
        threads = [
            threading.Thread(
                target=_work, args=(process.port, key, k, until, pause, took, sent, wrong)
            )
            for k, key in enumerate(keys)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        code = process.stop()
    n = sum(len(times) for times in took.values())
    return {
        "clients": N_CLIENTS, "seconds": seconds, "pause": pause,
        "requests a second": round(n / seconds, 1),
        "errors": wrong[:5], "n_errors": len(wrong), "exit code": code,
        "milliseconds": {
            name: {
                "n": len(times),
                **{f"p{q}": round(1000 * float(np.quantile(times, q / 100)), 1)
                   for q in (50, 95, 99)},
            }
            for name, times in sorted(took.items())
        },
        **_kept(address, sent),
    }  # fmt: skip


def _wait_until_folded(port: int, key: str) -> None:
    client = Client(port, key, "p")
    for _ in range(1200):
        if client.call("GET", "/progress")[1]["n_pending"] == 0:
            break
        time.sleep(0.1)
    client.close()


def _work(
    port: int, key: str, number: int, until: float, pause: float,
    took: dict[str, list[float]], sent: dict[str, list[str]], wrong: list[str],
) -> None:  # fmt: skip
    client, rng, n = Client(port, key, "p"), random.Random(number), 0

    def ask(name: str, *request: Any) -> Any:
        started = time.perf_counter()
        status, reply = client.call(*request)
        took[name].append(time.perf_counter() - started)
        if status >= 300:
            wrong.append(f"{name}: {status} {reply}")
        return reply

    while time.monotonic() < until:
        n += 1
        loan = ask("next", "POST", "/next", {"purpose": "answer"})
        if loan is not None and "item" in loan:
            name, code = loan["item"]["name"], f"a{number}-{n}"
            said = {"item": name, "label": rng.choice(CLASSES), "key": code,
                    "token": loan["token"], "seen": loan["seen"]}  # fmt: skip
            if "seq" in (ask("answer", "POST", "/answers", said) or {}):
                sent["answers"].append(code)
        votes = [
            {"item": f"item-{rng.randrange(LOAD_ITEMS)}", "worker": f"worker-{rng.randrange(2000)}",
             "label": rng.choice(CLASSES), "key": f"v{number}-{n}-{k}"}
            for k in range(5)
        ]  # fmt: skip
        if "n_new" in (ask("votes", "POST", "/votes", {"votes": votes}) or {}):
            sent["votes"] += [vote["key"] for vote in votes]
        ask("posteriors", "GET", "/posteriors?limit=100")
        ask("item", "GET", f"/item/view?name=item-{rng.randrange(LOAD_ITEMS)}")
        if n % 5 == 0:
            ask("progress", "GET", "/progress")
        time.sleep(pause)
    client.close()


def _kept(address: str, sent: dict[str, list[str]]) -> dict[str, Any]:
    with open_store(address) as store, store.read() as db:
        keys = db.execute(select(events.c.key).where(events.c.key.is_not(None))).scalars()
        times = Counter(keys)
        spans = defaultdict(list)
        for row in db.execute(select(assignments).order_by(assignments.c.taken_at)):
            spans[row.item].append((row.taken_at, row.ended_at or row.until))
        problems = verify(db, LOCAL, "p").problems
    return {
        "acknowledged votes": len(sent["votes"]),
        "acknowledged answers": len(sent["answers"]),
        "lost": sum(times[key] == 0 for of in sent.values() for key in of),
        "doubled": sum(n > 1 for n in times.values()),
        "loans": sum(map(len, spans.values())),
        "overlapping loans": sum(
            one[1] > other[0]
            for of in spans.values()
            for one, other in zip(of, of[1:], strict=False)
        ),
        "problems": list(problems[:5]),
    }


def timed(act: Callable[[], Any], times: int = 20) -> dict[str, float]:
    """Milliseconds: median and largest."""
    took = []
    for _ in range(times):
        started = time.perf_counter()
        act()
        took.append(1000 * (time.perf_counter() - started))
    return {"median": round(float(np.median(took)), 1), "max": round(max(took), 1)}


def size(folder: Path, seed: int) -> tuple[dict[str, Any], str]:
    """What a million items cost; and where their store is."""
    with open_store(folder / "votes.db", create=True) as store:
        ingest = fill(store, world(200_000, 5, seed))
    address = str(folder / "large.db")
    with open_store(address, create=True) as store:
        large = fill(store, world(1_000_000, 5, seed))
        with store.read() as db:
            number = read_project(db, LOCAL, "p").id
        folder_of = Folder(store)
        started = time.perf_counter()
        folder_of.catch_up(number)
        folded = time.perf_counter() - started
        folder_of.close()
    with open_store(address) as store:
        asked = _pages(store)
    bytes_of = os.path.getsize(address)
    return {
        "ingest 10^6 votes, seconds": round(ingest, 1),
        "ingest 5 x 10^6 votes on 10^6 items, seconds": round(large, 1),
        "fold them, seconds": round(folded, 1),
        "peak memory of it, MiB": round(peak_mib()),
        "bytes": bytes_of,
        "milliseconds": asked,
    }, address


def _pages(store: Store) -> dict[str, Any]:
    sessions = iter(range(10**6))

    def read(act: Callable[[Any], Any]) -> Callable[[], Any]:
        def run() -> Any:
            with store.read() as db:
                return act(db)

        return run

    def take(purpose: str) -> Callable[[], Any]:
        def run() -> Any:
            n = str(next(sessions))
            with store.write() as db:
                worker = f"worker-{n}" if purpose == "vote" else None
                return next_item(db, LOCAL, "p", purpose, session=n, worker=worker)

        return run

    sure = {"at_least": 0.5, "at_most": 0.6}
    return {
        "next item to answer": timed(take("answer")),
        "next item to vote on": timed(take("vote")),
        "item in full": timed(read(lambda db: view_item(db, LOCAL, "p", "item-123456"))),
        "page of items by urgency": timed(
            read(lambda db: list_items(db, LOCAL, "p", order="urgency"))
        ),
        "page of items by confidence": timed(
            read(lambda db: list_items(db, LOCAL, "p", order="confidence", **sure))
        ),
        "count of a condition": timed(read(lambda db: count_items(db, LOCAL, "p", **sure)), 5),
        "search by name": timed(
            read(lambda db: list_items(db, LOCAL, "p", search="item-99999")), 5
        ),
        "progress": timed(read(lambda db: read_progress(db, LOCAL, "p")), 5),
    }


def browser(address: str) -> dict[str, Any]:
    """Seconds from opening the app to a Queue whose buttons are there.

    In a browser that is up and has never been here, and then in the same one once more.
    """
    from playwright.sync_api import sync_playwright

    from apps.review.run import command

    port = free_port()
    arguments, environment = command(
        address, auth="none", port=port, host="127.0.0.1", project="p", headless=True
    )
    process = subprocess.Popen(
        arguments, cwd=ROOT, env=os.environ | ONE_THREAD | environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}/_stcore/health", 60)
        with sync_playwright() as pw, ExitStack() as stack:
            chromium = pw.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            stack.callback(chromium.close)
            visits: dict[str, list[float]] = {NEW: [], AGAIN: []}
            for _ in range(6):
                page = chromium.new_context().new_page()
                for seconds in visits.values():
                    page.wait_for_timeout(AT_REST)
                    started = time.perf_counter()
                    page.goto(f"http://127.0.0.1:{port}", wait_until="commit")
                    page.wait_for_function(SKIP_IS_THERE, polling="raf", timeout=120_000)
                    seconds.append(round(time.perf_counter() - started, 2))
                page.context.close()
    finally:
        process.terminate()
        process.wait()
    return {
        "the very first": visits[NEW][0],
        NEW: round(float(np.median(visits[NEW][1:])), 2),
        AGAIN: round(float(np.median(visits[AGAIN])), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", default=["load", "size", "browser"])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    path = RESULTS / "service.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    result = before | record(__doc__.strip().splitlines()[0], [given.seed])
    if "load" in given.parts:
        for name, postgresql in (("sqlite", False), ("postgresql", True)):
            for kind, pause in (("load", 0.0), ("paced", PAUSE)):
                with addresses(postgresql) as address:
                    found = load(address, given.seconds, pause, given.seed)
                result[f"{kind} {name}"] = found
                print(name, found, flush=True)
    if "size" in given.parts or "browser" in given.parts:
        with tempfile.TemporaryDirectory() as folder:
            result["size"], address = size(Path(folder), given.seed)
            print(result["size"], flush=True)
            if "browser" in given.parts:
                result["queue page, seconds"] = browser(address)
                print(result["queue page, seconds"], flush=True)
    write_json(path, result)


if __name__ == "__main__":
    main()
