"""The report: one page that loads nothing, escapes everything, and agrees with its JSON."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

from fedsec.core.record import Knowledge
from fedsec.data.images import ImageData
from fedsec.inversion.audit import About, Audit, Follow, Recipe, audit, render, to_record
from fedsec.inversion.audit.page import HTML, JSON, db, headline, share, spread, write_audit
from fedsec.inversion.audit.pictures import MOST, png
from tests.fedsec.inversion.audit.audits import ANALYTIC, DIGITS, GRADIENT, TINY, client

HOSTILE = "<script>alert('&')</script>"
ABOUT = About(model=HOSTILE, client=f"{HOSTILE}.npz", rerun=f"fedsec audit --model {HOSTILE}")
VOID = {"meta", "img", "br", "source", "link", "input", "hr"}


class Page(HTMLParser):
    """A page taken apart; fails where tags do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.rows: dict[str, list[list[str]]] = {}
        self._table: str | None = None
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.tags.append((tag, told))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._table = told.get("data-threat") or told.get("data-curve")
        if tag == "tr" and self._table:
            self.rows.setdefault(self._table, []).append([])
        if tag in ("td", "th") and self._table:
            self.rows[self._table][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            self._table = None

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self._table and self.open and {"td", "th"} & set(self.open[-3:]):
            self.rows[self._table][-1][-1] += data

    @property
    def images(self) -> list[str]:
        return [told["src"] or "" for tag, told in self.tags if tag == "img"]


@pytest.fixture(scope="module")
def full() -> Audit:
    scope = replace(TINY, threats=("update", "labels"), attacks=("analytic", "idlg", "agic"),
                    clients=1)  # fmt: skip
    recipe = Recipe(images=2, local=GRADIENT)
    hostile = replace(DIGITS, name=HOSTILE, classes=(HOSTILE, *DIGITS.classes[1:]))
    return audit(client(2), hostile, recipe=recipe, scope=scope)


@pytest.fixture(scope="module")
def page(full: Audit) -> Page:
    return Page(render(full, to_record(full, ABOUT)))


def test_nothing_is_loaded_and_nothing_runs(page: Page) -> None:
    for tag, told in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form")
        for name, value in told.items():
            assert not name.startswith("on")
            if name in ("src", "srcset"):
                assert value is not None and value.startswith("data:image/")
            if name == "href":
                assert value is not None and value.startswith("#")
    style = "".join(page.text)
    assert "@import" not in style and "url(" not in style


def test_names_from_outside_are_shown_as_text(page: Page) -> None:
    assert "".join(page.text).count("<script>alert('&')</script>") >= 4


def test_drawings_load_nothing_either(page: Page) -> None:
    drawn = [one for one in page.images if one.startswith("data:image/svg")]
    drawn += [told["srcset"] or "" for tag, told in page.tags if tag == "source"]
    assert len(drawn) == 6  # a light and a dark one of three curves
    for one in drawn:
        svg = base64.b64decode(one.partition(",")[2]).decode()
        assert "<script" not in svg and "<image" not in svg
        assert all(link.startswith("#") for link in svg.split('xlink:href="')[1:])


def test_the_pictures_are_those_of_the_audit(page: Page, full: Audit) -> None:
    """Pixel for pixel: the truth, and what each attack made of it, in the order of the truth."""
    assert full.subject.truth is not None
    shown = {one for one in page.images if one.startswith("data:image/png")}
    for image in full.subject.truth.x:
        assert png(image) in shown
        levels = Image.open(io.BytesIO(base64.b64decode(png(image).partition(",")[2])))
        assert_allclose(np.asarray(levels) / 255, image[0].numpy(), atol=0.5 / 255 + 1e-6)
    for one in full.findings:
        if one.found is not None:
            assert all(png(image) in shown for image in one.found.x)
    alts = [told["alt"] or "" for tag, told in page.tags if tag == "img"]
    assert any("agic, image 2" in alt for alt in alts)


def test_page_and_json_agree(page: Page, full: Audit, tmp_path: Path) -> None:
    write_audit(full, tmp_path, ABOUT)
    record = json.loads((tmp_path / JSON).read_text("utf-8"))
    assert Page((tmp_path / HTML).read_text("utf-8")).rows == page.rows
    for threat in record["threats"]:
        assert threat["verdict"]["says"] in "".join(page.text)
        rows = {row[0].strip(): row for row in page.rows[threat["name"]]}
        for one in record["findings"]:
            if one["threat"] == threat["name"] and one["why_not"] is None:
                cells = rows[one["attack"]]
                assert cells[1] == db(one["measures"]["psnr_median"])
                assert cells[3:5] == [share(one["measures"]["share_reidentified"]),
                                      share(one["measures"]["share_exposed"])]  # fmt: skip
        for guess in record["guesses"].values():
            assert rows[f"guess: {guess['title']}"][1] == db(guess["psnr_median"])
    for curve in record["curves"]:
        points = ([curve["plain"]] if curve["plain"] else []) + curve["points"]
        for row, point in zip(page.rows[curve["name"]][1:], points, strict=True):
            assert row[1:3] == [db(point["leak"]["psnr_median"]),
                                share(point["leak"]["share_reidentified"])]  # fmt: skip
    assert headline(record) in "".join(page.text)


def test_knowledge_stands_with_every_result(page: Page, full: Audit) -> None:
    said = "".join(page.text)
    for one in full.findings:
        if one.found is not None:
            assert str(one.knowledge).capitalize() in said
    assert "idlg rebuilds one image, not 2" in said


def test_what_it_cannot_tell_and_how_to_rerun_are_there(page: Page, full: Audit) -> None:
    said, record = "".join(page.text), to_record(full, ABOUT)
    assert all(text in said for text in (*record["rules"], *record["limits"], record["rerun"]))
    assert all(remark in said for remark in full.remarks)
    assert "not finished" not in said


def test_without_the_truth_there_are_pictures_neighbours_and_no_scores() -> None:
    hidden = replace(client(2), truth=None, facts=Knowledge())
    found = audit(hidden, DIGITS, recipe=Recipe(images=2), scope=TINY)
    record = to_record(found, ABOUT)
    page = Page(render(found, record))
    said = "".join(page.text)
    assert "--truth" in said and record["guesses"] == {}
    assert all("measures" not in one for one in record["findings"])
    nearest = next(one["nearest"] for one in record["findings"] if one["attack"] == "analytic")
    assert png(DIGITS.train.x[nearest[0]]) in page.images and f"no. {nearest[0]}" in said
    assert "nobody told the audit the client's labels" in said
    assert len(page.rows["update"][0]) == 4  # attack, loss, iterations, seconds


def test_an_unfinished_audit_says_so() -> None:
    n_asked = iter(range(100))
    found = audit(
        client(), DIGITS, recipe=Recipe(images=1), scope=replace(ANALYTIC, clients=1),
        follow=Follow(stop=lambda: next(n_asked) > 1),
    )  # fmt: skip
    record = to_record(found, ABOUT)
    said = "".join(Page(render(found, record)).text)
    assert record["finished"] is False and len(record["left_out"]) > 2
    assert "This audit is not finished" in said
    assert all(what in said for what in record["left_out"])


def test_many_images_are_cut() -> None:
    found = audit(client(MOST + 2), DIGITS, recipe=Recipe(images=2), scope=ANALYTIC)
    page = Page(render(found, to_record(found, ABOUT)))
    assert len(page.images) == 3 * MOST
    assert f"The first {MOST} images are shown." in "".join(page.text)


def test_colour_images_are_shown_in_colour() -> None:
    x = DIGITS.train.x[:3].clone().expand(3, 1, 8, 8).repeat(1, 3, 1, 1)
    x[:, 1:] = 0
    code = png(x[0]).partition(",")[2]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(code))))
    assert pixels.shape == (8, 8, 3) and not pixels[..., 1:].any()


def test_cells() -> None:
    assert (db(None), db(12.345), share(0.5), share(None)) == ("–", "12.3", "50%", "–")
    assert spread([0.5, 0.75]) == "62.5% (50.0% to 75.0%)"
    assert (spread([0.5]), spread([]), spread(None)) == ("50.0%", "–", "–")


def known_record(level: str, knows: list[str], truth: bool) -> dict[str, Any]:
    verdict = {"level": level, "exposed": 1, "n": 3}
    return {"client": {"truth": truth},
            "threats": [{"title": "T", "knows": knows, "verdict": verdict}]}  # fmt: skip


def test_headlines() -> None:
    assert headline(known_record("partly", ["labels", "lr"], True)).startswith(
        "A server that knows labels and lr can rebuild 1 of 3 images"
    )
    assert headline(known_record("exposed", [], True)).startswith("An honest but curious server")
    assert "no proof of safety" in headline(known_record("not shown", [], True))
    assert "not known" in headline(known_record("unknown", [], False))


def test_other_data_sets_can_be_named_in_any_letters() -> None:
    named = ImageData("ziffern-√", DIGITS.train, DIGITS.test, DIGITS.classes)
    found = audit(client(), named, recipe=Recipe(images=1), scope=ANALYTIC)
    assert "ziffern-√" in render(found, to_record(found, ABOUT))
