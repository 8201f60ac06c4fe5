"""Does a service that is killed at any moment lose or double what it acknowledged?

    python -m benchmarks.service_crash [--kills 50] [--seed 0] [--postgresql]

A service is fed votes (batches with keys, and streams of lines) and answers by two clients that
send everything again until it is acknowledged, while it is killed by SIGKILL at random moments and
started again. Then: is every acknowledged vote and answer in the log once, was anything doubled,
are the estimates those that the log gives to the last bit, and is the state that a last, orderly
stop kept the one rebuilt from the log?
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select

from benchmarks.machine import RESULTS, record, write_json
from benchmarks.service_process import Client, Process
from crowdlearn.service import fold
from crowdlearn.service.access import LOCAL
from crowdlearn.service.accounts import make_key
from crowdlearn.service.folder import rebuilt
from crowdlearn.service.projects import create_project
from crowdlearn.service.verifying import verify
from crowdlearn.store import open_store
from crowdlearn.store.tables import events, fits
from tests.services import fresh_database, postgresql_server

CLASSES = ["a", "b", "c"]
N_ITEMS, N_WORKERS, A_BATCH = 2000, 50, 20


def crash(address: str, n_kills: int, seed: int, longest: float = 1.5) -> dict[str, Any]:
    """Kill the service `n_kills` times, each after at most `longest` seconds; what is left."""
    with open_store(address, create=True) as store:
        with store.write() as db:
            create_project(db, LOCAL, "p", CLASSES, settings={"lease_seconds": 5})
            _, key = make_key(db, LOCAL, "p", "crash", "admin")
    process = Process(address)
    stop = threading.Event()
    voted: list[str] = []
    answered: list[tuple[str, str]] = []
    failed: list[BaseException] = []
    threads = [
        threading.Thread(target=_guarded, args=(failed, work, process.port, key, kept, stop, seed))
        for work, kept in ((_vote, voted), (_answer, answered))
    ]
    for thread in threads:
        thread.start()
    rng = random.Random(seed)
    for _ in range(n_kills):
        time.sleep(rng.uniform(0, longest))
        process.kill()
        process.start()
    time.sleep(1)
    stop.set()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    code = process.stop()
    return {"kills": n_kills, "exit code": code, **_found(address, voted, answered)}


def _guarded(failed: list[BaseException], work: Any, *arguments: Any) -> None:
    try:
        work(*arguments)
    except BaseException as error:
        failed.append(error)


def _vote(port: int, key: str, kept: list[str], stop: threading.Event, seed: int) -> None:
    client, rng, n = Client(port, key, "p"), np.random.default_rng(seed), 0
    while not stop.is_set():
        batch = [
            {
                "item": f"i{rng.integers(N_ITEMS)}", "worker": f"w{rng.integers(N_WORKERS)}",
                "label": CLASSES[rng.integers(3)], "key": f"v{n + k}",
            }
            for k in range(A_BATCH)
        ]  # fmt: skip
        n += A_BATCH
        status, reply = client.insist("POST", "/votes", {"votes": batch})
        assert status == 200 and reply["n_new"] + reply["n_duplicates"] == A_BATCH, (status, reply)
        kept += [vote["key"] for vote in batch]
    client.close()


def _answer(
    port: int, key: str, kept: list[tuple[str, str]], stop: threading.Event, seed: int
) -> None:
    client, rng, n = Client(port, key, "p"), random.Random(seed), 0
    while not stop.is_set():
        status, loan = client.insist("POST", "/next", {"purpose": "answer"})
        if status == 204:
            time.sleep(0.05)
            continue
        assert status == 200, loan
        n += 1
        said = {
            "item": loan["item"]["name"], "label": rng.choice(CLASSES), "key": f"a{n}",
            "token": loan["token"], "seen": loan["seen"],
        }  # fmt: skip
        status, reply = client.insist("POST", "/answers", said)
        assert status == 200, reply
        kept.append((said["key"], said["label"]))
    client.close()


def _found(address: str, voted: list[str], answered: list[tuple[str, str]]) -> dict[str, Any]:
    """What the store holds of what was acknowledged."""
    with open_store(address) as store, store.read() as db:
        rows = db.execute(select(events.c.key, events.c.kind, events.c.label)).all()
        times = Counter(row.key for row in rows if row.key is not None)
        label = {row.key: row.label for row in rows if row.kind == "answer"}
        verified = verify(db, LOCAL, "p")
        last = db.execute(
            select(fits.c.summary, fits.c.fold)
            .where(fits.c.kind == "snapshot")
            .order_by(fits.c.id.desc())
        ).first()
        again = fold.digest(rebuilt(db, 1))
    acknowledged = [*voted, *(key for key, _ in answered)]
    return {
        "acknowledged votes": len(voted),
        "acknowledged answers": len(answered),
        "lost": sum(times[key] == 0 for key in acknowledged),
        "doubled": sum(n > 1 for n in times.values()),
        "changed": sum(CLASSES[label[key]] != said for key, said in answered if key in label),
        "never acknowledged, in the log once": len(times) - len(set(acknowledged)),
        "problems": list(verified.problems[:10]),
        "folds": verified.fold,
        "kept state equals the rebuilt one": bool(
            last and last.fold == verified.fold and last.summary["digest"] == again
        ),
    }


@contextmanager
def addresses(postgresql: bool) -> Iterator[str]:
    """Where to make a store."""
    if postgresql:
        with postgresql_server() as server, fresh_database(server) as url:
            yield url
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield str(Path(folder) / "crash.db")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--postgresql", action="store_true")
    given = parser.parse_args()
    result = record(__doc__.strip().splitlines()[0], [given.seed])
    for name, chosen in (("sqlite", False), ("postgresql", True)):
        if chosen and not given.postgresql:
            continue
        with addresses(chosen) as address:
            result[name] = crash(address, given.kills, given.seed)
        print(name, result[name], flush=True)
    write_json(RESULTS / "service_crash.json", result)


if __name__ == "__main__":
    main()
