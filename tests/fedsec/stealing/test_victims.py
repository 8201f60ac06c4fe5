"""Victims: the seed decides, to the bit; and they learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fedsec.core.functional import state_of
from fedsec.data.images import IMAGE_SETS, ImageData, Images, load_images
from fedsec.errors import SettingsError
from fedsec.metrics.classification import evaluate
from fedsec.stealing.victims import RECIPES, Recipe, recipe_for, train_victim, varied

SHORT = Recipe(steps=40, batch=32)


def test_a_victim_trained_twice_is_the_same_to_the_bit(digits: ImageData) -> None:
    first, again, other = (train_victim(digits, seed, SHORT)[1] for seed in (1, 1, 2))
    for kind in ("parameters", "buffers"):
        for name, value in getattr(first, kind).items():
            assert torch.equal(value, getattr(again, kind)[name])
    weights = [name for name in first.parameters if name.endswith("weight")]
    assert all(not torch.equal(first.parameters[name], other.parameters[name]) for name in weights)


def test_a_victim_of_digits_learns(digits: ImageData) -> None:
    told = []
    net, state = train_victim(
        digits, 0, Recipe(steps=200), progress=lambda *given: told.append(given)
    )
    assert not net.training
    assert evaluate(net, state, digits.test).accuracy > 0.95
    kept = state_of(net)
    assert all(torch.equal(value, kept.parameters[key]) for key, value in state.parameters.items())
    assert [step for step, _, _ in told] == [50, 100, 150, 200]
    assert told[-1][2] < told[0][2]


def test_every_set_has_a_recipe_and_others_get_one() -> None:
    assert set(RECIPES) == set(IMAGE_SETS)
    one = Images(torch.zeros(1, 1, 8, 8), torch.zeros(1, dtype=torch.int64))
    assert recipe_for(ImageData("own.npz", one, one, ("a",))) is RECIPES["fashion-mnist"]


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_a_few_steps_on_larger_images(name: str, image_file: Callable[[str], Path]) -> None:
    images = load_images(name, image_file(name).parent)
    some = ImageData(name, images.train.subset(torch.arange(500)), images.test, images.classes)
    net, state = train_victim(some, 0, Recipe(steps=30, batch=32))
    assert evaluate(net, state, images.test.subset(torch.arange(500))).accuracy > 0.3


def test_a_recipe_with_crops_is_the_same_to_the_bit_too(digits: ImageData) -> None:
    recipe = Recipe(steps=5, flipped=True)
    first, again = (train_victim(digits, 3, recipe)[1] for _ in range(2))
    assert all(
        torch.equal(value, again.parameters[name]) for name, value in first.parameters.items()
    )


def test_varied_images_are_crops_of_the_image_or_its_mirror_image() -> None:
    x = torch.rand(200, 2, 6, 7, generator=torch.Generator().manual_seed(0))
    found = varied(x, torch.Generator().manual_seed(1))
    framed = torch.nn.functional.pad(torch.stack([x, x.flip(3)]), (4, 4, 4, 4))
    seen = set()
    for i, image in enumerate(found):
        places = [
            (side, top, left)
            for side in (0, 1)
            for top in range(9)
            for left in range(9)
            if torch.equal(framed[side, i, :, top : top + 6, left : left + 7], image)
        ]
        assert places
        seen.add(places[0])
    assert {side for side, _, _ in seen} == {0, 1}
    assert {top for _, top, _ in seen} == {left for _, _, left in seen} == set(range(9))


def test_settings_out_of_range_are_refused(digits: ImageData) -> None:
    with pytest.raises(SettingsError, match="steps = 0: give at least 1"):
        Recipe(steps=0)
    with pytest.raises(SettingsError, match="lr = 0"):
        Recipe(lr=0.0)
    with pytest.raises(SettingsError, match="no network 'vgg'"):
        train_victim(digits, 0, Recipe(net="vgg"))
