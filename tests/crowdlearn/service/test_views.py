"""What reviewers are shown: explanations, workers, progress, comparisons."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from crowdlearn.aggregators import aggregator
from crowdlearn.errors import NotFoundError, SettingsError
from crowdlearn.evaluation import error
from crowdlearn.service.access import LOCAL
from crowdlearn.service.answers import answer
from crowdlearn.service.comparing import (
    compare_methods,
    gather,
    keep_comparison,
    list_fits,
    similar_workers,
)
from crowdlearn.service.demo import add_demo
from crowdlearn.service.folder import Folder
from crowdlearn.service.items import count_items, list_items
from crowdlearn.service.progress import agreement, curve, read_progress
from crowdlearn.service.projects import change_project, create_project, read_project
from crowdlearn.service.views import view_item
from crowdlearn.service.workers import confusion, drift, judge_worker, list_workers
from crowdlearn.store import Store
from tests.crowdlearn.service.conftest import Desk


@pytest.mark.parametrize("method", ["bcc", "idbla"])
def test_an_explanation_is_that_of_the_fit(desk: Desk, method: str) -> None:
    with desk.store.write() as db:
        change_project(db, LOCAL, "p", settings={"method": method})
    desk.fold()
    fit = aggregator(method, max_sweeps=1000, tolerance=1e-8).fit(desk.votes)
    for name in ("3", "50", "119"):
        with desk.store.read() as db:
            view = view_item(db, LOCAL, "p", name)
        expected = fit.explain(name)
        assert view.explanation is not None
        assert view.explanation.label == expected.label == view.item.label
        found = {(v.worker, v.label): v.weight for v in view.explanation.votes}
        wanted = {(v.worker, v.label): v.weight for v in expected.votes}
        assert found.keys() == wanted.keys()
        if method == "bcc":  # IDBLA's stream starts from another prior than its batch form
            for vote, weight in wanted.items():
                assert_allclose(found[vote], weight, atol=0.05)
        assert [v.worker for v in view.votes] != [] and view.n_votes == len(view.votes)


def test_items_are_found_by_page_and_condition(desk: Desk) -> None:
    desk.fold()
    with desk.store.read() as db:
        for order in ("number", "confidence", "urgency"):
            for descending in (False, True):
                names, place = [], None
                while True:
                    page, place = list_items(
                        db, LOCAL, "p", order=order, descending=descending, after=place, limit=17
                    )
                    names += [item.name for item in page]
                    if place is None:
                        break
                assert len(names) == len(set(names)) == 120
        sure = count_items(db, LOCAL, "p", at_least=0.9)
        assert 0 < sure == 120 - count_items(db, LOCAL, "p", at_most=np.nextafter(0.9, 0))
        by_label = [count_items(db, LOCAL, "p", label=name) for name in "012"]
        assert sum(by_label) == 120
        assert count_items(db, LOCAL, "p", search="11") == len(
            [name for name in map(str, range(120)) if "11" in name]
        )
        assert count_items(db, LOCAL, "p", search="%") == 0
        mine = count_items(db, LOCAL, "p", worker=0)
        first = desk.votes.worker == 0
        assert mine == len(np.unique(desk.votes.item[first]))
        for bad in ({"state": "x"}, {"label": "x"}, {"order": "x"}, {"limit": 0}):
            with pytest.raises(SettingsError):
                list_items(db, LOCAL, "p", **bad)


def test_a_worker_is_shown_with_confusion_and_drift(desk: Desk) -> None:
    desk.fold()
    with desk.store.read() as db:
        rows = confusion(db, LOCAL, "p", "0")
        assert rows is not None
        fit = aggregator("bcc", max_sweeps=1000, tolerance=1e-8).fit(desk.votes)
        assert_allclose(rows, fit.confusion[0], atol=0.01)
        found = drift(db, LOCAL, "p", "0", windows=5)
        assert found.n_votes.sum() == (desk.votes.worker == 0).sum()
        assert ((found.low <= found.right) & (found.right <= found.high)).all()
        assert len(list_workers(db, LOCAL, "p", search="1")) == 3  # 1, 10, 11
        with pytest.raises(NotFoundError):
            confusion(db, LOCAL, "p", "none")
    with desk.store.write() as db:
        assert judge_worker(db, LOCAL, "p", "0", "retrain").flag == "retrain"
        assert judge_worker(db, LOCAL, "p", "0", None).flag is None
        with pytest.raises(SettingsError):
            judge_worker(db, LOCAL, "p", "0", "fired")


def test_progress_counts_and_costs(desk: Desk) -> None:
    desk.fold()
    with desk.store.write() as db:
        before = read_progress(db, LOCAL, "p")
        answer(db, LOCAL, "p", "0", "1")
        change_project(db, LOCAL, "p", settings={"vote_cost": 2.0, "answer_cost": 10.0})
        now = read_progress(db, LOCAL, "p")
    n_votes = desk.votes.n_votes
    assert (before.n_open, before.n_answered, before.n_pending) == (120, 0, 0)
    assert (now.n_open, now.n_answered, now.n_pending) == (119, 1, 1)
    assert now.cost == 2 * n_votes + 10
    assert sum(before.classes.values()) == 120
    assert before.expected_error is not None
    assert before.reached == (before.expected_error <= 0.05)
    desk.fold()
    with desk.store.read() as db:
        points = curve(db, LOCAL, "p")
        found = agreement(db, LOCAL, "p")
        after = read_progress(db, LOCAL, "p")
    assert points[-1]["expected_error"] == after.expected_error
    assert found is not None and found.low < found.alpha < found.high


def test_methods_are_compared_by_the_answers_they_have_not_seen(desk: Desk) -> None:
    with desk.store.write() as db:
        for item in range(40):
            answer(db, LOCAL, "p", str(item), str(desk.truth[item]))
    with desk.store.read() as db:
        material = gather(db, LOCAL, "p")
    assert material is not None
    rows, torn = compare_methods(material, ["majority", "dawid-skene", "bcc"])
    truth = np.where(np.arange(120) < 40, desk.truth, -1)
    expected = error(aggregator("dawid-skene").fit(desk.votes).posterior, truth)
    assert rows[1].error is not None and rows[1].low is not None and rows[1].high is not None
    assert_allclose(rows[1].error, expected)
    assert rows[1].low <= rows[1].error <= rows[1].high
    assert rows[0].differs == 0 and 0 < len(torn) <= 50
    with desk.store.write() as db:
        keep_comparison(db, LOCAL, "p", material, rows)
        assert [fit["method"]["name"] for fit in list_fits(db, LOCAL, "p")] == [
            "bcc", "dawid-skene", "majority",
        ]  # fmt: skip
    with pytest.raises(SettingsError, match="method 'x'"):
        compare_methods(material, ["x"])


def test_an_empty_project_is_shown_as_such(store: Store) -> None:
    with store.write() as db:
        create_project(db, LOCAL, "p", ["a", "b"])
        number = read_project(db, LOCAL, "p").id
    folder = Folder(store)
    folder.catch_up(number)
    with store.read() as db:
        assert read_progress(db, LOCAL, "p").n_items == 0
        assert agreement(db, LOCAL, "p") is None
        assert gather(db, LOCAL, "p") is None
        assert list_items(db, LOCAL, "p") == ([], None)
    folder.close()


def test_the_demo_says_that_it_is_simulated_and_finds_who_copies(store: Store) -> None:
    pytest.importorskip("sklearn")
    with store.write() as db:
        made = add_demo(db, LOCAL)
    assert [(project.name, project.simulated) for project in made] == [
        ("digits", True), ("anesthesia", False),
    ]  # fmt: skip
    folder = Folder(store)
    folder.catch_up(made[0].id)
    folder.close()
    with store.read() as db:
        material = gather(db, LOCAL, "digits")
        page, _ = list_items(db, LOCAL, "digits", limit=1)
        guessing = {w.name for w in list_workers(db, LOCAL, "digits", order="accuracy",
                                                 descending=False, limit=2)}  # fmt: skip
    assert material is not None and page[0].payload_kind == "image"
    pairs = {(pair.worker, pair.other) for pair in similar_workers(material)}
    assert ("worker-03", "worker-04") in pairs and len(pairs) <= 3
    assert guessing == {"worker-01", "worker-02"}
