"""Models: what belongs together, samples by seed, and files that say what they hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fedsec.diffusion.model import (
    Denoiser,
    DiffusionModel,
    load_model,
    make_denoiser,
    new_model,
    save_model,
)
from fedsec.diffusion.objectives import to_pixels
from fedsec.diffusion.samplers import ddim_sample, time_list
from fedsec.diffusion.schedule import noise_schedule, sub_schedule
from fedsec.errors import DataError, SettingsError

SMALL = {"kind": "unet", "channels": 1, "width": 8, "mults": [1, 2], "groups": 4}
SHAPE = (1, 4, 4)


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(**given: Any) -> DiffusionModel:
    return new_model(SMALL, SHAPE, schedule=noise_schedule("cosine", 8), seed=3, **given)


def test_the_seed_decides_and_torch_keeps_its_own_generator() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (make_denoiser(SMALL, seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["first.weight"], other["first.weight"])
    assert isinstance(make_denoiser(SMALL, 0), Denoiser)


def test_samples_are_ddim_from_the_seed_s_noise() -> None:
    one = model()
    found = one.sample(5, steps=3, generator=drawn())
    z = torch.randn(5, *SHAPE, generator=drawn())
    with torch.no_grad():
        x = ddim_sample(one.net, one.schedule, "v", z, times=time_list(8, 3))
    torch.testing.assert_close(found, to_pixels(x), rtol=0, atol=1e-6)
    assert found.min() >= 0 and found.max() <= 1 and not found.requires_grad
    by_two = one.sample(5, steps=3, generator=drawn(), batch=2)
    torch.testing.assert_close(found, by_two, rtol=0, atol=1e-5)
    assert not torch.equal(found, one.sample(5, steps=3, generator=drawn(1)))
    assert one.sample(2, eta=1, generator=drawn()).shape == (2, *SHAPE)


def test_a_time_map_is_what_the_network_is_told() -> None:
    whole, part = model(), torch.tensor([1, 3, 6])
    short = DiffusionModel(
        whole.net, sub_schedule(whole.schedule, part), "v", SHAPE, SMALL, time_map=part
    )
    x = torch.randn(3, *SHAPE, generator=drawn())
    assert torch.equal(short.predict(x, torch.arange(3)), whole.net(x, part))
    with torch.no_grad():
        z = torch.randn(2, *SHAPE, generator=drawn())
        by_hand = ddim_sample(whole.net, whole.schedule, "v", z, times=part.flip(0))
    assert torch.equal(short.sample(2, generator=drawn()), to_pixels(by_hand).clamp(0, 1))


@pytest.mark.parametrize("mapped", [False, True])
def test_a_file_gives_back_the_model_to_the_bit(tmp_path: Path, mapped: bool) -> None:
    one = model(objective="eps")
    if mapped:
        one = replace(one, time_map=torch.arange(8) * 2)
    save_model(tmp_path / "m.safetensors", one, {"data": "digits"})
    found = load_model(tmp_path / "m.safetensors", SMALL)
    assert (found.objective, found.shape, found.architecture) == ("eps", SHAPE, SMALL)
    assert torch.equal(found.schedule.alpha_bar, one.schedule.alpha_bar)
    assert not found.net.training
    for name, value in one.net.state_dict().items():
        assert torch.equal(found.net.state_dict()[name], value)
    assert torch.equal(found.sample(3, generator=drawn()), one.sample(3, generator=drawn()))
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        assert json.loads(file.metadata()["fedsec"])["record"] == {"data": "digits"}


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    save_model(tmp_path / "m.safetensors", model())
    said = r"is of the architecture unet\(channels=1, width=8.*where unet\(width=16\) is asked"
    with pytest.raises(SettingsError, match=said):
        load_model(tmp_path / "m.safetensors", {"kind": "unet", "width": 16})


def test_files_of_other_things_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with pytest.raises(DataError, match="there is no such file"):
        load_model(path)
    path.write_bytes(b"not this")
    with pytest.raises(DataError, match="not a safetensors file, or not a whole one"):
        load_model(path)
    save_model(path, model())
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(DataError, match="not a whole one"):
        load_model(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(DataError, match="not a diffusion model that this version"):
        load_model(path)
    save_file({"x": torch.zeros(1)}, path, metadata={"fedsec": '{"net": "cnn"}'})
    with pytest.raises(DataError, match="but one of the network 'cnn'"):
        load_model(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architecture": {**SMALL, "width": 16}}, "does not hold a network unet.*is 4 x|'.*' is"),
        ({"architecture": {"kind": "odd"}}, "no denoiser 'odd': choose from unet, diffusers"),
        ({"architecture": {**SMALL, "size": 4}}, "'size': unet has no such argument"),
        ({"architecture": {**SMALL, "width": "a"}}, "m.safetensors: "),
        ({"architecture": 3}, "its metadata has no architecture"),
        ({"objective": "odd"}, "no objective 'odd'"),
        ({"shape": [1, 5, 4]}, "halve the height"),
    ],
)
def test_files_that_contradict_themselves_are_refused(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, model())
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["fedsec"])
    save_file(load_file(path), path, metadata={"fedsec": json.dumps({**about, **change})})
    with pytest.raises(DataError, match=said):
        load_model(path)


def test_parts_that_do_not_fit_are_refused() -> None:
    one = model()
    for given, said in (
        ({"objective": "odd"}, "no objective 'odd'"),
        ({"shape": (3, 4, 4)}, "3 channels, where the network takes 1"),
        ({"time_map": torch.arange(3)}, "time_map has 3 steps, where the schedule has 8"),
    ):
        with pytest.raises(SettingsError, match=said):
            replace(one, **given)  # type: ignore[arg-type]
    for steps in (0, 9):
        with pytest.raises(SettingsError, match="give 1 to 8"):
            one.sample(1, steps=steps, generator=drawn())
    with pytest.raises(SettingsError, match="n = 0"):
        one.sample(0, generator=drawn())


def test_the_network_of_diffusers_keeps_too(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    large = {"kind": "diffusers", "channels": 1, "widths": [8, 8], "layers": 1, "groups": 4}
    one = new_model(large, SHAPE, seed=0)
    assert isinstance(one.net, Denoiser)
    save_model(tmp_path / "m.safetensors", one)
    found = load_model(tmp_path / "m.safetensors")
    assert torch.equal(
        found.sample(2, steps=2, generator=drawn()), one.sample(2, steps=2, generator=drawn())
    )
