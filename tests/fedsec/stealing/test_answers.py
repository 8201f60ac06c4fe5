"""Answer defences: flips are sticky and fair, rounding keeps the first, limits by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, chisquare
from torch import Tensor

from fedsec.errors import SettingsError
from fedsec.stealing.answers import LabelFlips, RateLimit, RateLimited, Rounded, TopOne
from fedsec.stealing.oracle import QueriesRefused


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 1, 4, 4, generator=seeded(seed))


def law(n: int, n_classes: int = 5, seed: int = 1) -> Tensor:
    return torch.randn(n, n_classes, generator=seeded(seed)).softmax(dim=1)


def test_an_image_flips_the_same_way_whenever_it_is_asked() -> None:
    x, p = images(300), law(300)
    flips = LabelFlips(share=0.4, secret=7)
    first = flips(p, x)
    order = torch.randperm(300, generator=seeded(2))
    assert torch.equal(flips(p[order], x[order]), first[order])
    alone = torch.cat([flips(p[i : i + 1], x[i : i + 1]) for i in range(300)])
    assert torch.equal(alone, first)
    assert torch.equal(LabelFlips(share=0.4, secret=7)(p, x), first)
    assert not torch.equal(LabelFlips(share=0.4, secret=8)(p, x), first)
    assert torch.equal(flips(p, (x * 255).round() / 255), first)  # less than a step of a file


@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
def test_the_share_that_flips_is_the_share_asked_for(share: float) -> None:
    """Independent draws: the number that flips is binomial, and each other class as likely."""
    n, n_classes = 20_000, 5
    p = torch.eye(n_classes)[torch.full((n,), 2)]
    found = LabelFlips(share=share)(p, images(n, 3)).argmax(dim=1)
    flipped = found[found != 2]
    assert binomtest(len(flipped), n, share).pvalue > 0.01
    counts = np.bincount(flipped.numpy(), minlength=n_classes)
    assert chisquare(counts[[0, 1, 3, 4]]).pvalue > 0.01


def test_images_that_flip_at_a_share_flip_at_every_larger_one() -> None:
    p, x = law(500), images(500)
    small, large = (LabelFlips(share=share)(p, x) for share in (0.2, 0.6))
    flips = (small != p).any(dim=1)
    assert flips.any() and torch.equal(small[flips], large[flips])


def test_no_share_and_the_whole_share() -> None:
    p, x = law(200), images(200)
    assert torch.equal(LabelFlips(share=0)(p, x), p)
    found = LabelFlips(share=1)(p, x)
    assert (found.argmax(dim=1) != p.argmax(dim=1)).all()
    assert torch.equal(found.sort(dim=1).values, p.sort(dim=1).values)  # only places change
    assert ((found != p).sum(dim=1) == 2).all()
    two = law(50, 2)
    assert torch.equal(LabelFlips(share=1)(two, images(50)), two.flip(1))
    with pytest.raises(SettingsError, match="share = 1.5: give a number from 0 to 1"):
        LabelFlips(share=1.5)


@pytest.mark.parametrize("decimals", [0, 1, 2, 4])
def test_rounded_answers_are_laws_near_the_rounded_numbers(decimals: int) -> None:
    p = law(400, 8)
    found = Rounded(decimals=decimals)(p, images(400))
    assert torch.allclose(found.sum(dim=1), torch.ones(400))
    assert torch.equal(found.argmax(dim=1), p.argmax(dim=1))
    rounded = p.double().round(decimals=decimals)
    sums = rounded.sum(dim=1, keepdim=True)
    fine = sums.flatten() > 0
    assert torch.allclose(found[fine].double(), (rounded / sums)[fine], atol=1e-5)
    certain = found[~fine]
    assert torch.allclose(certain.max(dim=1).values, torch.ones(len(certain)))


def test_a_tie_after_rounding_stays_with_the_first() -> None:
    p = torch.tensor([[0.34, 0.36, 0.30], [0.49, 0.01, 0.50]])
    assert Rounded(decimals=1)(p, images(2)).argmax(dim=1).tolist() == [1, 2]
    assert TopOne()(p, images(2)).tolist() == [[0, 1, 0], [0, 0, 1]]
    with pytest.raises(SettingsError, match="decimals = 7"):
        Rounded(decimals=7)


def test_the_limit_holds_in_every_window() -> None:
    now = [0.0]
    limit = RateLimit(images=10, window=60, clock=lambda: now[0])
    p = law(6)
    assert limit(p, images(6)) is p
    now[0] = 30.0
    with pytest.raises(RateLimited, match="6 images after 6 in 60 s: the limit is 10") as refused:
        limit(p, images(6))
    assert refused.value.seconds == 30.0
    assert limit(p[:4], images(4)) is not None  # a refused batch counts for nothing
    now[0] = 60.0
    assert limit(p, images(6)) is p
    now[0] = 89.0
    with pytest.raises(RateLimited):
        limit(p[:1], images(1))
    with pytest.raises(RateLimited) as never:
        RateLimit(images=3, window=1)(p, images(6))
    assert never.value.seconds == math.inf
    assert isinstance(never.value, QueriesRefused)


@pytest.mark.parametrize(("queries", "windows"), [(1, 0), (10, 0), (11, 1), (20, 1), (95, 9)])
def test_how_long_a_limit_holds_up(queries: int, windows: int) -> None:
    assert RateLimit(images=10, window=60).seconds_for(queries) == 60 * windows


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(SettingsError, match="images = 0 in window = 1"):
        RateLimit(images=0, window=1)
