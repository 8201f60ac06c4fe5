"""A client that trains a diffusion model, as an attack sees it: `extra` is (t, eps).

Story       a client adds noise eps to an image x at step t, and sends the gradient of
            w_t |net(x_t, t) - target|^2, the mean over pixels and images. The target is eps, the
            image, or v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x.
Threats     S1   the server sent t and eps, so an attacker who reads the server's mail knows both
            S2   the client drew them and told nobody
Real steps  attacks that search for t by its slope need a loss at t between the steps: the log of
            the signal-to-noise ratio is then interpolated linearly, and the network's embedding is
            taken where t is. At a whole number both give the loss of that step.
Paper       Huang, Hong, Chen, Roos (2025), GIDM: gradient inversion of federated diffusion models,
            ARES; arXiv 2405.20380. The interpolation is ours.
Departures  The released code hands images in [0, 1] to the victim. Here they are brought to
            [-1, 1], as in training.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fedsec.core.functional import Parameters, State, as_function, double_backward, state_of
from fedsec.diffusion.model import DiffusionModel
from fedsec.diffusion.objectives import Predict, diffusion_loss, to_model_space
from fedsec.diffusion.schedule import NoiseSchedule
from fedsec.errors import SettingsError
from fedsec.inversion.victim import Victim

TIMES, NOISE = "t", "eps"  # among what is known or learnt beside the images

Pictures = Float[Tensor, "sample channel height width"]
Times = Int[Tensor, " sample"] | Float[Tensor, " sample"]
Extra = tuple[Times, Pictures]
"""(t, eps)"""


@dataclass(frozen=True, eq=False)
class DiffusionVictim(Victim):
    """A diffusion model as a victim. `diffusion_victim` makes one.

    schedule   of the noise
    objective  "eps", "v" or "x0"
    weight     of the loss by step: "authors" or "none"
    time_map   what the network is told in place of each step; None for the step itself
    """

    schedule: NoiseSchedule
    objective: str
    weight: str = "authors"
    time_map: Int[Tensor, " step"] | None = None

    def to(self, device: torch.device | str) -> DiffusionVictim:
        """The same victim on a device."""
        state = State(self.parameters, self.buffers).to(device)
        time_map = None if self.time_map is None else self.time_map.to(device)
        return _made(
            self.net, state, self.schedule.to(device), self.objective, self.weight, time_map
        )


def diffusion_victim(
    net: nn.Module,
    schedule: NoiseSchedule,
    objective: str,
    *,
    state: State | None = None,
    weight: str = "authors",
    time_map: Int[Tensor, " step"] | None = None,
) -> DiffusionVictim:
    """The victim whose loss is the diffusion loss of a network `net(x_t, t)`.

    Images x are in [0, 1]; `extra` is (t, eps), where t is whole, or real in [0, T - 1].

    state     what was sent; the network's own where None
    time_map  as of a `DiffusionModel`

    Drop-out is off. Raises SettingsError, when it is called, for an objective or a step that there
    is not.
    """
    kept = state_of(net) if state is None else state
    net = copy.deepcopy(net).eval().requires_grad_(False)
    return _made(net, kept, schedule, objective, weight, time_map)


def victim_of(model: DiffusionModel, *, weight: str = "authors") -> DiffusionVictim:
    """The victim whose parameters are those of a model."""
    return diffusion_victim(
        model.net, model.schedule, model.objective, weight=weight, time_map=model.time_map
    )


def extra_of(variables: Parameters) -> Extra:
    """(t, eps), as they stand by name among what is known and learnt."""
    return variables[TIMES], variables[NOISE]


def _made(
    net: nn.Module, state: State, schedule: NoiseSchedule, objective: str, weight: str,
    time_map: Tensor | None,
) -> DiffusionVictim:  # fmt: skip
    buffers, call = dict(state.buffers), as_function(net)

    def loss(parameters: Parameters, x: Tensor, extra: Extra) -> Tensor:
        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            told = t if time_map is None else _mapped(time_map, t)
            with double_backward():
                return call(parameters, buffers, x_t, told)

        t, eps = extra
        if t.is_floating_point():
            return real_time_loss(
                predict, schedule, objective, to_model_space(x), t, eps, weight=weight
            )
        return diffusion_loss(
            predict, schedule, objective, to_model_space(x), t, eps, weight=weight
        )

    parameters = {name: value.detach() for name, value in state.parameters.items()}
    return DiffusionVictim(loss, parameters, net, buffers, schedule, objective, weight, time_map)


def real_time_loss(
    predict: Predict,
    schedule: NoiseSchedule,
    objective: str,
    x0: Pictures,
    t: Float[Tensor, " sample"],
    eps: Pictures,
    *,
    weight: str = "authors",
) -> Float[Tensor, ""]:
    """`diffusion_loss` at real steps in [0, T - 1]; x0 is in model space.

    The log of alpha_bar / (1 - alpha_bar) is linear between the steps. It can be differentiated by
    t, and may be vmapped.
    """
    left = between(schedule.snr.log().to(t), t).sigmoid()
    signal = left.sqrt().to(x0).view(-1, 1, 1, 1)
    noise = (1 - left).sqrt().to(x0).view(-1, 1, 1, 1)
    output = predict(signal * x0 + noise * eps, t)
    asked = {"eps": eps, "x0": x0, "v": signal * eps - noise * x0}.get(objective)
    if asked is None:
        raise SettingsError(f"there is no objective {objective!r}: choose from eps, v, x0")
    error = (output - asked).square().flatten(1).mean(dim=1)
    if weight == "authors" and objective != "eps":
        error = error * (left if objective == "v" else left / (1 - left)).to(error)
    return error.mean()


def between(
    values: Float[Tensor, " step"], t: Float[Tensor, " sample"]
) -> Float[Tensor, " sample"]:
    """Linear interpolation of values at 0, 1, ..., T - 1; constant beyond."""
    if len(values) == 1:
        return values.expand(t.shape)
    below = t.detach().floor().clamp(0, len(values) - 2).long()
    share = (t - below).clamp(0, 1)
    return values[below] + share * (values[below + 1] - values[below])


def _mapped(time_map: Int[Tensor, " step"], t: Tensor) -> Tensor:
    return between(time_map.to(t), t) if t.is_floating_point() else time_map[t]


def refuse_unfit_denoiser(victim: DiffusionVictim, shape: tuple[int, int, int]) -> DiffusionVictim:
    """This victim. Raises SettingsError where images of this shape do not pass through it, or its
    gradient cannot be differentiated again.
    """
    first = next(iter(victim.parameters.values()))
    x = torch.linspace(0, 1, 2 * shape[0] * shape[1] * shape[2]).view(2, *shape).to(first)
    t = torch.zeros(2, dtype=torch.int64, device=first.device)
    leaves = {name: value.clone().requires_grad_() for name, value in victim.parameters.items()}
    try:
        loss = victim.loss(leaves, x.requires_grad_(), (t, torch.ones_like(x)))
    except SettingsError:
        raise
    except (RuntimeError, ValueError) as error:
        raise SettingsError(
            f"images of {' x '.join(map(str, shape))} do not pass through this diffusion model:"
            f" {str(error).splitlines()[0]}"
        ) from error
    try:
        (slope,) = torch.autograd.grad(loss, [x], create_graph=True)
        slope.square().sum().backward()
    except RuntimeError as error:
        raise SettingsError(
            "this diffusion model cannot be differentiated twice"
            f" ({str(error).splitlines()[0]}): where it has attention of its own, write it as plain"
            " products and a softmax"
        ) from error
    return victim
