"""Clients that train a shared diffusion model: the diffusion loss as the loss of a task.

    task = Task(model.net, digits.train, parts, digits.test, 10, loss=DenoisingLoss.of(model))
    federation = Federation(per_round=5, local=FullGradient(lr=0.05))

Story       in every step a client draws for each of its images a time step t and noise eps, and
            descends w_t |net(x_t, t) - target|^2. FedAvg averages what local steps changed; FedSGD
            averages gradients, which are what inversion attacks look at.
Who draws   private   the client does, and tells nobody
            sent      the server draws, and sends; here it sends the seed of the stream, so both
                      compute the same (`noise_of`). Servers do so to coordinate training, or to
                      make noise common to all clients; an attacker who reads the server knows it
            Both are streams of their own, so that one says nothing of the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call

from fedsec.core.functional import State
from fedsec.core.rng import torch_stream
from fedsec.data.images import Images
from fedsec.diffusion.model import DiffusionModel
from fedsec.diffusion.objectives import add_noise, target, to_model_space, weights
from fedsec.diffusion.schedule import NoiseSchedule
from fedsec.errors import DataError, SettingsError
from fedsec.federated.local import Plan
from fedsec.metrics.classification import Evaluation

EVALUATED = 512  # images at a time
Pictures = Float[Tensor, "sample channel height width"]


@dataclass(frozen=True, eq=False, kw_only=True)
class DenoisingLoss:
    """A `TaskLoss`. The network is called as `net(x_t, t)`.

    schedule   of the noise
    objective  "eps", "v" or "x0"
    weight     by step, "authors" or "none"
    private    whether the client draws steps and noise itself, and tells nobody
    time_map   what the network is told in place of each step
    """

    schedule: NoiseSchedule
    objective: str
    weight: str = "authors"
    private: bool = True
    time_map: Int[Tensor, " step"] | None = None

    @classmethod
    def of(cls, model: DiffusionModel, *, private: bool = True) -> DenoisingLoss:
        """The loss that a model was made for."""
        return cls(
            schedule=model.schedule, objective=model.objective, private=private,
            time_map=model.time_map,
        )  # fmt: skip

    def draws(self, plan: Plan, device: torch.device | str) -> torch.Generator:
        """Of a client's steps and noise in a round."""
        purpose = "private noise" if self.private else "sent noise"
        return torch_stream(plan.seed, purpose, plan.number, plan.client, device)

    def drawn(
        self, shape: tuple[int, ...], generator: torch.Generator
    ) -> tuple[Int[Tensor, " sample"], Pictures]:
        """Steps, each as likely as the others, and standard normal noise for so many images."""
        device = generator.device
        t = torch.randint(self.schedule.steps, shape[:1], generator=generator, device=device)
        return t, torch.randn(shape, generator=generator, device=device)

    def noise_of(
        self, plan: Plan, shape: tuple[int, int, int], device: torch.device | str = "cpu"
    ) -> tuple[Int[Tensor, " sample"], Pictures]:
        """What this client drew, or was sent, for its first step of the round."""
        n = int((plan.batches[0] >= 0).sum())
        return self.drawn((n, *shape), self.draws(plan, device))

    def losses(
        self,
        net: nn.Module,
        state: State,
        x: Pictures,
        y: Int[Tensor, " sample"],
        generator: torch.Generator | None,
    ) -> Float[Tensor, " sample"]:
        """Of each image, in [0, 1], at a step and with noise that are drawn. Labels do not count.

        Raises SettingsError without a generator.
        """
        if generator is None:
            raise SettingsError("a diffusion loss draws steps and noise: it needs a generator")
        t, eps = self.drawn(tuple(x.shape), generator)
        return self.at(net, state, x, t, eps)

    def at(
        self, net: nn.Module, state: State, x: Pictures, t: Int[Tensor, " sample"], eps: Pictures
    ) -> Float[Tensor, " sample"]:
        """Of each image at a given step, with given noise."""
        x0, schedule = to_model_space(x), self.schedule.to(x.device)
        told = t if self.time_map is None else self.time_map.to(t.device)[t]
        output = functional_call(
            net, (state.parameters, state.buffers), (add_noise(schedule, x0, t, eps), told)
        )
        error = (output - target(schedule, self.objective, x0, t, eps)).square().flatten(1)
        found = error.mean(dim=1)
        if self.weight == "none":
            return found
        return found * weights(schedule, self.objective, t).to(found)

    def evaluate(self, net: nn.Module, state: State, images: Images) -> Evaluation:
        """The mean loss at steps and with noise that are the same in every call.

        There is no accuracy: it is NaN, and recall is empty. Raises DataError without images.
        """
        if not len(images):
            raise DataError("there are no images to evaluate on")
        generator = torch_stream(0, "noise of an evaluation", device=images.x.device)
        with torch.no_grad():
            found = [
                self.losses(net, state, x, y, generator)
                for x, y in zip(images.x.split(EVALUATED), images.y.split(EVALUATED), strict=True)
            ]
        loss = torch.cat(found).double().mean().item()
        return Evaluation(loss, float("nan"), np.empty(0), len(images))
