"""Time steps are read off the gradient exactly, of one image and of batches."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from fedsec.core.functional import gradient, state_of
from fedsec.core.record import Knowledge
from fedsec.diffusion.model import new_model
from fedsec.diffusion.schedule import noise_schedule
from fedsec.errors import SettingsError, UpdateError
from fedsec.inversion.attacks.gidm_plus import times_of
from fedsec.inversion.denoiser import diffusion_victim, victim_of
from fedsec.inversion.timesteps import TimeLayer, Timesteps, recover_timesteps, time_layer_of
from tests.fedsec.inversion.cases import SHAPE, digits, generator
from tests.fedsec.inversion.denoisers import SMALL, client_of, small_model, small_victim

SINGLE = small_victim(dtype=torch.float32)


@pytest.mark.parametrize("t", range(16))
def test_one_image_shows_its_step(t: int) -> None:
    """F1, for every step of the schedule, in single precision."""
    found = times_of(client_of([t], victim=SINGLE, images=[t]).case(Knowledge()))
    assert found.t == (t,) and found.clear and found.repeats == 0
    assert float(found.scores[t]) < 1e-8 and found.assignments() == [(t,)]


def test_one_image_shows_its_step_among_a_thousand() -> None:
    model = new_model(SMALL, SHAPE, schedule=noise_schedule(steps=1024), seed=2)
    victim = victim_of(model)
    for t in (0, 1, 511, 512, 1022, 1023):
        assert times_of(client_of([t], victim=victim).case(Knowledge())).t == (t,)


@pytest.mark.parametrize("steps", [(1, 5, 9, 14), (0, 1, 2, 3), (15, 3, 11, 7), (12, 13, 14, 15)])
def test_a_batch_shows_its_different_steps(steps: tuple[int, ...]) -> None:
    """F2, in single precision: the scores of the true steps are orders below all others."""
    found = times_of(client_of(steps, victim=SINGLE).case(Knowledge()))
    assert found.t == tuple(sorted(steps)) and found.rank == 4 and found.clear
    others = [float(found.scores[t]) for t in range(16) if t not in steps]
    assert max(float(found.scores[t]) for t in steps) < 1e-2 * min(others)


def test_repeats_lower_the_rank_and_are_said() -> None:
    found = times_of(client_of([3, 9, 3], victim=SINGLE).case(Knowledge()))
    assert found.t == (3, 9) and found.rank == 2 and found.repeats == 1
    assert found.assignments() == [(3, 3, 9), (3, 9, 9)]
    assert "of 3 images, 1 share a step" in str(found)


def test_scale_does_not_matter() -> None:
    """A change of parameters after one step shows them as well."""
    subject = client_of([2, 11], victim=SINGLE)
    (seen,) = subject.observed
    moved = {name: -0.01 * value for name, value in seen.update.tensors.items()}
    delta = replace(seen, update=replace(seen.update, tensors=moved, kind="delta"))
    assert times_of(replace(subject, observed=(delta,)).case(Knowledge())).t == (2, 11)


def test_noise_is_cut_at_the_number_of_images() -> None:
    subject = client_of([1, 9], victim=SINGLE)
    sent, rng = subject.observed[0].update.tensors, generator(1)
    noisy = {
        name: value + 1e-3 * value.square().mean().sqrt() * torch.randn(value.shape, generator=rng)
        for name, value in sent.items()
    }
    found = recover_timesteps(noisy, time_layer_of(SINGLE.net), 16, 2)
    assert found.t == (1, 9) and found.rank == 2


def test_a_layer_without_a_bias_shows_one_step_by_its_span() -> None:
    layer = TimeLayer("time", lambda t: torch.stack([t.double().cos(), t.double().sin()], dim=1))
    sent = {"time.weight": torch.tensor([[2.0], [-1.0]], dtype=torch.float64)
            @ layer.embed(torch.tensor([4]))}  # fmt: skip
    assert recover_timesteps(sent, layer, 6).t == (4,)


def test_so_many_images_that_any_step_fits_are_refused() -> None:
    layer = TimeLayer("time", lambda t: torch.stack([t.double().cos(), t.double().sin()], dim=1))
    sent = {"time.weight": torch.randn(5, 2, generator=generator(), dtype=torch.float64)}
    with pytest.raises(SettingsError, match="span 2 dimensions: any step would fit"):
        recover_timesteps(sent, layer, 6, 3)


def test_what_says_nothing_is_refused() -> None:
    layer = time_layer_of(SINGLE.net)
    name = f"{layer.name}.weight"
    with pytest.raises(UpdateError, match="is 0 in this update"):
        recover_timesteps({name: torch.zeros(64, 16)}, layer, 16)
    with pytest.raises(UpdateError, match="there is no time_mlp.0.weight"):
        recover_timesteps({}, layer, 16)
    with pytest.raises(UpdateError, match="takes 8 features, and the embedding has 16"):
        recover_timesteps({name: torch.ones(64, 8)}, layer, 16)
    with pytest.raises(SettingsError, match="n = 0"):
        recover_timesteps({name: torch.ones(64, 16)}, layer, 16, 0)


def test_layers_are_found_by_what_networks_say() -> None:
    net = small_model().net
    layer = time_layer_of(net)
    assert layer.name == "time_mlp.0" and layer.embed(torch.arange(16)).shape == (16, 16)
    inside = time_layer_of(nn.ModuleDict({"net": net}))
    assert inside.name == "net.time_mlp.0"
    with pytest.raises(SettingsError, match="give TimeLayer"):
        time_layer_of(nn.Linear(2, 2))


def test_a_network_of_diffusers_shows_its_steps() -> None:
    """Its own names and embedding, as it comes from that library."""
    diffusers = pytest.importorskip("diffusers")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = diffusers.UNet2DModel(
            sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "DownBlock2D"), layers_per_block=1,
            up_block_types=("UpBlock2D", "UpBlock2D"), norm_num_groups=4,
            add_attention=False,
        )  # fmt: skip
    layer = time_layer_of(net)
    assert layer.name == "time_embedding.linear_1"
    x, eps = digits([0, 1, 2], torch.float32).x, torch.zeros(3, *SHAPE)
    leaves = {name: value.requires_grad_() for name, value in state_of(net).parameters.items()}
    t = torch.tensor([2, 7, 13])

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = self.net(x, t, return_dict=False)[0]
            return answer

    victim = diffusion_victim(Plain(), noise_schedule(), "eps")
    leaves = {name: value.clone().requires_grad_() for name, value in victim.parameters.items()}
    sent = gradient(victim.loss(leaves, x, (t, eps)), leaves)
    inside = time_layer_of(victim.net)
    assert inside.name == "net.time_embedding.linear_1"
    assert recover_timesteps(sent, inside, 16, 3).t == (2, 7, 13)


def test_unclear_steps_are_said() -> None:
    vague = Timesteps((0,), 1, 1, torch.tensor([0.5, 0.6, 0.9]))
    assert not vague.clear and str(vague) == "t = 0; other steps fit nearly as well"
