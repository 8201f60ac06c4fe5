"""Training: a step by hand, the moving average in closed form, resuming to the bit, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fedsec.core.rng import torch_stream
from fedsec.data.images import ImageData
from fedsec.diffusion import train as training
from fedsec.diffusion.model import DiffusionModel, new_model
from fedsec.diffusion.objectives import to_model_space
from fedsec.diffusion.progress import Progress
from fedsec.diffusion.schedule import noise_schedule
from fedsec.diffusion.train import TrainSettings, TrainWatch, ema_weight, make_step, rate, train
from fedsec.errors import DataError, SettingsError

SMALL = {"kind": "unet", "channels": 1, "width": 8, "mults": [1, 2], "groups": 4}
QUICK = TrainSettings(steps=7, batch=4, lr=1e-2, seed=5)


@pytest.fixture(scope="module")
def some(digits: ImageData) -> Tensor:
    return digits.train.x[:20]


def model(objective: str = "v") -> DiffusionModel:
    return new_model(SMALL, (1, 8, 8), schedule=noise_schedule("sigmoid", 8), objective=objective)


def same(first: DiffusionModel, second: DiffusionModel) -> bool:
    there = second.net.state_dict()
    return all(torch.equal(value, there[name]) for name, value in first.net.state_dict().items())


def after(n: int) -> TrainWatch:
    """A watch that stops after n steps."""
    asked = iter(range(n + 1))
    return TrainWatch(stop=lambda: next(asked) == n)


@pytest.mark.parametrize("objective", ["eps", "v", "x0"])
def test_training_is_algorithm_1_by_hand(some: Tensor, objective: str) -> None:
    """Written out, with torch's plain Adam, on the same draws."""
    start, settings = model(objective), replace(QUICK, steps=3, ema=None)
    found, history = train(start, some, settings)
    net, draws = model(objective).net, torch_stream(5, "batches")
    ids, times = (torch.randint(n, (training.DRAWN, 4), generator=draws) for n in (20, 8))
    noise = torch_stream(5, "noise")
    optimiser = torch.optim.Adam(net.parameters(), foreach=False, fused=False)
    losses = []
    for step in range(3):
        x0, t = 2 * some[ids[step]] - 1, times[step]
        a = start.schedule.alpha_bar[t].view(-1, 1, 1, 1).float()
        eps = torch.randn(x0.shape, generator=noise)
        answer = net(a.sqrt() * x0 + (1 - a).sqrt() * eps, t)
        asked = {"eps": eps, "x0": x0, "v": a.sqrt() * eps - (1 - a).sqrt() * x0}[objective]
        of = {"eps": torch.ones_like(a), "x0": a / (1 - a), "v": a}[objective]
        loss = (of * (answer - asked) ** 2).mean()
        optimiser.param_groups[0]["lr"] = 1e-2 * (1 + np.cos(np.pi * step / 3)) / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    np.testing.assert_allclose(history.loss, losses, rtol=1e-4)
    for name, value in net.named_parameters():
        torch.testing.assert_close(
            found.net.get_parameter(name), value, rtol=1e-3, atol=1e-4, msg=name
        )


def test_the_moving_average_is_its_closed_form(some: Tensor) -> None:
    """The sum of all parameters that there were, each with its weight."""
    settings, start = replace(QUICK, ema=0.4), model()
    net = model().net
    progress = Progress.begin(net, settings, torch_stream(0, "noise"))
    path = [[value.double().clone() for value in progress.parameters]]
    for _ in range(7):
        make_step(progress, replace(start, net=net), to_model_space(some), settings)
        path.append([value.double().clone() for value in progress.parameters])
    kept = [min(0.4, (1 + k) / (10 + k)) for k in range(7)]
    assert kept == [ema_weight(0.4, k) for k in range(7)] and 0.1 == kept[0] < kept[5] == 0.4
    weights = [float(np.prod(kept))] + [
        (1 - kept[k]) * float(np.prod(kept[k + 1 :])) for k in range(7)
    ]
    assert sum(weights) == pytest.approx(1)
    assert progress.average is not None
    for place, found in enumerate(progress.average):
        expected = sum(w * values[place] for w, values in zip(weights, path, strict=True))
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    progress.finish()
    assert all(
        torch.equal(value, found)
        for value, found in zip(net.parameters(), progress.average, strict=True)
    )


@pytest.mark.parametrize("stop", [0, 1, 4, 6])
@pytest.mark.parametrize("ema", [0.9, None])
def test_a_resumed_run_ends_with_the_same_bits(
    some: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int, ema: float | None
) -> None:
    monkeypatch.setattr(training, "DRAWN", 4)  # so that draws begin anew within the run
    settings, path = replace(QUICK, ema=ema), tmp_path / "run.safetensors"
    whole, history = train(model(), some, settings)
    _, before = train(model(), some, settings, checkpoint=path, watch=after(stop))
    assert len(before.loss) == stop
    found, rest = train(model(), some, settings, checkpoint=path)
    assert same(found, whole)
    np.testing.assert_array_equal(rest.loss, history.loss)
    again, _ = train(model(), some, settings, checkpoint=path)  # nothing is left to do
    assert same(again, whole)
    assert [one.name for one in tmp_path.iterdir()] == ["run.safetensors"]


def test_the_seed_decides_and_the_start_stays(some: Tensor) -> None:
    start = model()
    first, _ = train(start, some, QUICK)
    assert same(start, model()) and not same(first, start)
    assert same(first, train(start, some, QUICK)[0])
    assert not same(first, train(start, some, replace(QUICK, seed=6))[0])
    assert not first.net.training and first.schedule is start.schedule


def test_progress_is_told(some: Tensor) -> None:
    told: list[tuple[int, int, float]] = []
    watch = TrainWatch(progress=lambda *what: told.append(what), every=3)
    _, history = train(model(), some, QUICK, watch=watch)
    assert [one[:2] for one in told] == [(3, 7), (6, 7), (7, 7)]
    assert told[1][2] == pytest.approx(history.loss[3:6].mean(), rel=1e-6)


def test_it_learns(some: Tensor) -> None:
    """A single image, given the noise: the loss falls far below that of the answer 0."""
    settings = TrainSettings(steps=120, batch=16, lr=1e-2, weight="none")
    _, history = train(model("eps"), some[:1], settings)
    assert history.loss[:5].mean() > 0.7
    assert history.loss[-20:].mean() < 0.3


def test_bfloat16_products_leave_parameters_float32(some: Tensor) -> None:
    found, history = train(model(), some, replace(QUICK, precision="bfloat16"))
    exact, by_float32 = train(model(), some, QUICK)
    assert all(value.dtype == torch.float32 for value in found.net.parameters())
    assert not same(found, exact)
    np.testing.assert_allclose(history.loss, by_float32.loss, rtol=0.1)


def test_the_rate_falls_along_a_cosine_or_stays() -> None:
    settings = TrainSettings(steps=10, lr=2.0)
    assert [rate(settings, step) for step in (0, 5)] == pytest.approx([2, 1])
    assert 0 < rate(settings, 9) < 0.1
    assert rate(replace(settings, decay="constant"), 9) == 2


def test_checkpoints_of_other_runs_and_broken_ones_are_refused(
    some: Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "run.safetensors"
    train(model(), some, QUICK, checkpoint=path, watch=after(2))
    for start, images, settings, said in (
        (model(), some, replace(QUICK, lr=0.5), "settings.lr is 0.01 there and 0.5 here"),
        (model("eps"), some, QUICK, "objective is v there and eps here"),
        (model(), some[:19], QUICK, "images is"),
    ):
        with pytest.raises(SettingsError, match=f"is of another run .*{said}"):
            train(start, images, settings, checkpoint=path)
    whole = path.read_bytes()
    for broken in (b"", whole[:-9]):
        path.write_bytes(broken)
        with pytest.raises(DataError, match="not a checkpoint, or not a whole one"):
            train(model(), some, QUICK, checkpoint=path)


def test_images_and_settings_that_cannot_be_are_refused(some: Tensor) -> None:
    for images in (some[:, :, :6], some[:0]):
        with pytest.raises(DataError, match="where the model is for 1 x 8 x 8"):
            train(model(), images, QUICK)
    with pytest.raises(SettingsError, match="the loss is .* after 7 steps: give a lower lr"):
        train(model(), some, replace(QUICK, lr=1e30))
    wrong: dict[str, Any] = {
        "steps": 0, "batch": 0, "lr": float("nan"), "ema": 1.0, "decay": "odd", "weight": "odd",
        "precision": "float16", "seed": -1,
    }  # fmt: skip
    for name, value in wrong.items():
        with pytest.raises(SettingsError, match=f"{name} = "):
            TrainSettings(**{"steps": 1, name: value})
