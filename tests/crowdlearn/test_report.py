"""The report is one safe file of bounded size that says what the fit says."""

import base64
import re
import xml.etree.ElementTree as xml
from html.parser import HTMLParser

import numpy as np
import pytest

from crowdlearn import simulate
from crowdlearn.aggregation import Aggregation, Draws, History, Interval
from crowdlearn.aggregators import aggregator
from crowdlearn.errors import OutputError
from crowdlearn.highlights import contested, item_names
from crowdlearn.predictors import ProductPredictor
from crowdlearn.report import render, write_report
from crowdlearn.votes import Votes

VOID = {"meta", "img", "br", "hr", "link", "input"}
NASTY = ["<script>alert(1)</script>", "\"><img src=x onerror='x'>", "a\nb", "{{ 7 * 7 }}", "漢字"]


class Page(HTMLParser):
    """Tags, texts and headings of a page; fails on tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def hand_made(world: simulate.World, n_chains: int = 0) -> Aggregation:
    """A fit that knows the workers: quick at any size."""
    votes, n = world.votes, world.votes.n_workers
    predictor = ProductPredictor(
        world.prior,
        np.ascontiguousarray(world.confusion.transpose(0, 2, 1)),
        np.arange(votes.n_classes),
    )
    posterior = predictor.predict(votes)
    mean = np.einsum("wkk,k->w", world.confusion, world.prior)
    rng = np.random.default_rng(0)
    draws = Draws(
        rng.normal(size=(n_chains, 100)),
        rng.dirichlet(np.ones(votes.n_classes), (n_chains, 100)),
        rng.random((n_chains, 100, n, votes.n_classes)),
        np.arange(n),
    )
    return Aggregation(
        method="hand-made",
        settings={"pseudocount": 0.1},
        votes=votes,
        posterior=posterior,
        labels=posterior.argmax(axis=1),
        prior=world.prior,
        confusion=world.confusion,
        worker_accuracy=Interval(mean, mean - 0.01, mean + 0.01),
        history=History(np.arange(9.0), 0.5 ** np.arange(9), "log likelihood", True),
        predictor=predictor,
        gold=np.full(votes.n_items, -1),
        seconds=0.5,
        draws=draws if n_chains else None,
        warnings=("raise <b>max_sweeps</b>",),
    )


@pytest.fixture(scope="module")
def known() -> simulate.World:
    return simulate.dawid_skene(200, 12, 3, seed=3)


def test_page_is_whole_and_loads_nothing(known):
    html = render(hand_made(known, 2), truth=known.truth)
    page = Page(html)
    assert not page.all("script") and not page.all("link")
    assert "http" not in html
    for image in page.all("img"):
        head, code = str(image["src"]).split(",")
        assert head == "data:image/svg+xml;base64"
        xml.fromstring(base64.b64decode(code))


def test_page_is_readable_without_seeing_it(known):
    page = Page(render(hand_made(known, 2), truth=known.truth))
    assert page.all("html") == [{"lang": "en"}]
    assert all(image["alt"] for image in page.all("img"))
    assert all(head["scope"] in ("col", "row") for head in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    anchors = {str(link["href"])[1:] for link in page.all("a")}
    assert anchors == {str(section["id"]) for section in page.all("section")}


def test_sections_for_truth_and_draws_come_where_there_are_any(known):
    bare = render(hand_made(known))
    assert "Against the truth" not in bare and "R-hat" not in bare
    full = render(hand_made(known, 2), truth=known.truth)
    assert "Against the truth" in full and "R-hat" in full


def test_names_from_the_votes_are_escaped(known):
    given = known.votes
    votes = Votes.from_codes(
        given.item,
        given.worker,
        given.label,
        items=[f"{NASTY[i % 5]}{i}" for i in range(200)],
        workers=[f"{NASTY[w % 5]}{w}" for w in range(12)],
        classes=[f"{NASTY[k]}{k}" for k in range(3)],
    )
    fit = aggregator("dawid-skene").fit(votes)
    html = render(fit, truth=known.truth, title=NASTY[0])
    page = Page(html)
    assert not page.all("script")
    assert all("onerror" not in image for image in page.all("img"))
    assert "49" not in re.findall(r"\{\{.*?\}\}|49\d*\b(?=</th>)", html)
    assert "&lt;script&gt;" in html
    assert any("漢字" in text for text in page.text)


def test_warnings_are_shown_as_text(known):
    html = render(hand_made(known))
    assert "raise &lt;b&gt;max_sweeps&lt;/b&gt;" in html
    assert "Warnings" in html


def test_contested_items_are_listed_in_order(known):
    fit = hand_made(known)
    names = re.findall(r"<summary><bdi>(.*?)</bdi>", render(fit))
    open_ones = [i for i in contested(fit, 20) if fit.confidence[i] < 0.995]
    assert len(open_ones) >= 5
    assert names == item_names(fit.votes, np.array(open_ones))


def test_size_does_not_grow_with_the_items():
    fits = [hand_made(simulate.dawid_skene(n, 60, 4, seed=1)) for n in (2_000, 100_000)]
    small, large = (len(render(fit).encode()) for fit in fits)
    assert large < 1.1 * small
    assert large < 2_000_000


@pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")
def test_size_does_not_grow_with_the_length_of_names(known):
    given = known.votes
    votes = Votes.from_codes(
        given.item,
        given.worker,
        given.label,
        items=[f"{i} {'word ' * 2000}" for i in range(200)],
        workers=[f"{w} {'name ' * 2000}" for w in range(12)],
        classes=[f"{k} {'class ' * 2000}" for k in range(3)],
    )
    html = render(aggregator("bcc-gibbs", n_draws=20, n_warmup=5).fit(votes), truth=known.truth)
    assert len(html.encode()) < 500_000


def test_many_classes_and_workers_stay_small():
    world = simulate.dawid_skene(3000, 400, 60, seed=1)
    html = render(hand_made(world), truth=world.truth)
    assert len(html.encode()) < 2_000_000
    assert "Shown are 50 of 400" in html


def test_an_item_with_very_many_votes_is_counted():
    rng = np.random.default_rng(0)
    votes = Votes.from_codes(np.zeros(500, int), rng.integers(0, 9, 500), rng.integers(0, 2, 500))
    html = render(aggregator("majority").fit(votes))
    counts = np.bincount(votes.label)
    assert f"{counts[0]} said 0" in html and f"{counts[1]} said 1" in html


@pytest.mark.parametrize("method", ["majority", "wawa", "bcc", "ebcc", "idbla"])
def test_every_kind_of_method_has_a_report(method, tiny):
    truth = np.array([0, 1, -1], dtype=np.int32)
    page = Page(render(aggregator(method).fit(tiny), truth=truth))
    assert len(page.all("section")) == 9


def test_single_votes_and_gold_alone_are_answered(tiny):
    single = Votes.from_codes(np.arange(3), np.arange(3), np.array([0, 1, 1]))
    assert "No item has two votes" in render(aggregator("majority").fit(single))
    gold = aggregator("majority").fit(tiny, gold=np.array([0, 1, 1]))
    assert "Every item has a gold answer" in render(gold)


def test_a_stopped_sampler_has_a_report(tiny):
    fit = aggregator("bcc-gibbs").fit(tiny, on_sweep=lambda sweep: sweep.number >= 2)
    assert "stopped" in render(fit)


def test_report_is_written_whole_or_not_at_all(known, tmp_path):
    fit = hand_made(known)
    write_report(fit, tmp_path / "report.html", truth=known.truth)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text == render(fit, truth=known.truth)
    with pytest.raises(OutputError, match="is a directory"):
        write_report(fit, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
