"""The record of an audit is fit for JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
from numpy.testing import assert_allclose

from fedsec.inversion.audit import About, Recipe, audit, to_record
from fedsec.inversion.audit.curves import Got, Leak
from fedsec.inversion.audit.record import of_leak, plain
from fedsec.inversion.audit.threats import THREATS
from tests.fedsec.inversion.audit.audits import DIGITS, TINY, client


def test_what_json_has_not_becomes_null() -> None:
    found = plain({1: np.array([1.0, np.nan]), "b": (np.float32(np.inf), np.bool_(True), "x")})
    assert found == {"1": [1.0, None], "b": [None, True, "x"]}


def test_the_record_goes_to_json_and_back_and_holds_the_findings() -> None:
    found = audit(
        client(2), DIGITS, recipe=Recipe(images=2), scope=replace(TINY, threats=("update",))
    )
    record = to_record(found, About(model="m", client="c", rerun="r"))
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["finished"] and record["rerun"] == "r" and record["model"]["name"] == "m"
    by_name = {one["attack"]: one for one in record["findings"]}
    assert set(by_name) == set(THREATS["update"].attacks)
    for one in found.findings:
        told = by_name[one.attack]
        if one.scores is not None and one.found is not None:
            assert_allclose(told["psnr"], one.scores.psnr)
            assert told["measures"]["psnr_median"] == one.scores.summary()["psnr_median"]
            assert told["knowledge_in_words"] == str(one.knowledge)
            assert told["iterations"] == one.found.iterations
    order = [one["attack"] for one in record["findings"]]
    strengths = {one.attack: one.strength for one in found.findings}
    assert [strengths[name] for name in order] == sorted(strengths.values(), reverse=True)


def test_a_leak_has_the_best_of_each_measure() -> None:
    def got(name: str, psnr: list[float], hits: list[bool]) -> Got:
        return Got(name, np.array(psnr), np.array(hits), np.array(hits))

    found = of_leak(Leak((got("a", [10.0, 20.0], [True, True]),
                          got("b", [30.0, 40.0], [True, False]))))  # fmt: skip
    assert found is not None
    assert (found["attack"], found["psnr_median"]) == ("b", 35)
    assert (found["share_reidentified"], found["images"]) == (1.0, 2)
    assert_allclose(found["psnr_quartiles"], (32.5, 37.5))
    assert of_leak(None) is None
