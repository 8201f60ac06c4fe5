import numpy as np
import pytest

from crowdlearn.aggregators import aggregator
from crowdlearn.errors import SettingsError
from crowdlearn.shards import noted, open_votes
from tests.crowdlearn.sweeps.test_sharded import SMALL, rows

pytestmark = pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")


class Crash(Exception):
    pass


def crash_at(sweep, monkeypatch):
    """Notes all at the end of the sweep before."""

    def on_sweep(at):
        monkeypatch.setattr(noted, "SECONDS", 0.0 if at.number == sweep - 1 else 1e9)
        if at.number == sweep:
            raise Crash

    return on_sweep


@pytest.mark.parametrize(
    ("name", "memory", "blocks"),
    [
        ("dawid-skene", None, None), ("idbla", 1, None), ("idbla-factorised", None, None),
        ("idbla-gibbs", None, None), ("bcc", None, 4), ("one-coin", 1, 4), ("idbla", 1, 4),
    ],
)  # fmt: skip
def test_a_fit_that_crashed_goes_on_to_the_same_answer(
    world, tmp_path, monkeypatch, name, memory, blocks
):
    method = aggregator(name, **SMALL.get(name, {}))
    want = method.fit(open_votes(world.folder))
    monkeypatch.setattr(noted, "SECONDS", 1e9)

    def votes():
        return open_votes(
            world.folder, memory=memory, checkpoint=tmp_path / "notes", worker_blocks=blocks
        )

    for sweep in (3, 8):
        with pytest.raises(Crash):
            method.fit(votes(), on_sweep=crash_at(sweep, monkeypatch))
    monkeypatch.setattr(noted, "SECONDS", 1e9)
    done = []
    true = noted.NotedCrew._remember
    monkeypatch.setattr(
        noted.NotedCrew, "_remember", lambda self, *a: (done.append(a[0][0]), true(self, *a))
    )
    found = method.fit(votes())
    np.testing.assert_allclose(rows(found), rows(want), atol=1e-12)
    np.testing.assert_allclose(found.history.bound, want.history.bound, rtol=1e-12)
    passes = {"product", "mixture", "factorised", "draw", "mixture_draw"}
    chains = 2 if "gibbs" in name else 1
    n_done = sum(op.removeprefix("cut ") in passes for op in done)
    assert 0 < n_done <= chains * (found.history.n_sweeps - 6)


def test_the_notes_of_another_fit_are_refused(world, tmp_path, monkeypatch):
    monkeypatch.setattr(noted, "SECONDS", 0.0)
    votes = open_votes(world.folder, checkpoint=tmp_path / "notes")
    aggregator("bcc", max_sweeps=5).fit(votes)
    again = open_votes(world.folder, checkpoint=tmp_path / "notes")
    with pytest.raises(SettingsError, match="checkpoint of another fit"):
        aggregator("bcc", max_sweeps=5, diagonal=3.0).fit(again)


def test_a_note_that_was_not_finished_does_not_count(world, tmp_path, monkeypatch):
    monkeypatch.setattr(noted, "SECONDS", 0.0)
    method = aggregator("idbla", max_sweeps=6)
    want = method.fit(open_votes(world.folder))
    calls = []
    true = noted.os.replace

    def torn(*args):
        calls.append(args)
        if len(calls) == 6:
            raise Crash
        true(*args)

    monkeypatch.setattr(noted.os, "replace", torn)
    with pytest.raises(Crash):
        method.fit(open_votes(world.folder, checkpoint=tmp_path / "notes"))
    found = method.fit(open_votes(world.folder, checkpoint=tmp_path / "notes"))
    np.testing.assert_allclose(rows(found), rows(want), atol=1e-12)
