"""DaST: data-free substitute training, a game with controlled labels.

Story       the generator has a branch for each class, whose images the copy should put into that
            class: so all classes are asked about. Against that the images should be such that the
            copy is wrong about them; the copy learns the answers.
Copy        CE(S, label) + beta * |p_S - p_T|^2, mean over images and classes
Generator   exp(-the same) + alpha * CE(S, branch); once the last term is 0.1 or less alpha is what
            it is
Paper       Zhou, Wu, Liu, Liu, Zhu (2020), arXiv 2003.12703, section 3, and its code. DaST-L, which
            sees labels, has beta = 0; DaST-P sees probabilities.
Departures  RECONSTRUCTED network: a branch here is one dense layer on the code, before a generator
            that all branches share and that other attacks have too; the paper's branches are five
            transposed convolutions, and fit 28 x 28 alone. S is in evaluation mode while the
            generator learns. Branches take turns in a batch, so a batch of any size has all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, leaky_relu, mse_loss

from fedsec.core.rng import torch_stream
from fedsec.errors import SettingsError
from fedsec.stealing.attack import StealSettings
from fedsec.stealing.generators import Activation, Generator, make_generator, unit_tanh
from fedsec.stealing.online import Lessons, begin_online, codes
from fedsec.stealing.oracle import Oracle, ask, labels_of
from fedsec.stealing.parts import Parts, Step
from fedsec.stealing.substitute import AnswerLoss

CONTROLLED = 0.1  # where the label control may weaken


class Branches(nn.Module):
    """A dense layer for each class, and one generator after all of them.

    Parameters are drawn from `rng` by the laws of PyTorch's dense layer.
    """

    def __init__(self, shared: Generator, n_classes: int, rng: torch.Generator) -> None:
        super().__init__()
        self.shared = shared
        latent, bound = shared.latent, 1 / math.sqrt(shared.latent)
        self.weight = nn.Parameter(torch.empty(n_classes, latent, latent))
        self.bias = nn.Parameter(torch.empty(n_classes, latent))
        for parameter in (self.weight, self.bias):
            nn.init.uniform_(parameter, -bound, bound, generator=rng)

    def forward(
        self, z: Float[Tensor, "sample latent"], branch: Int[Tensor, " sample"]
    ) -> Float[Tensor, "sample channel height width"]:
        """Each code's image by its branch, in [0, 1]."""
        every = torch.einsum("sl,clk->sck", z, self.weight) + self.bias
        mine = every[torch.arange(len(z), device=z.device), branch]
        x: Tensor = self.shared(leaky_relu(mine, 0.2)).clamp(0, 1)
        return x


@dataclass(frozen=True, kw_only=True)
class Dast(StealSettings):
    """The published settings; see the module.

    alpha    weight of the label control
    beta     weight of the squared distance of probabilities; of no use where labels are answered
    repeats  steps of the copy on each batch; published: 1
    lr       of both players' Adam, with betas 0.5 and 0.999
    """

    name: ClassVar[str] = "dast"

    batch: int = 500
    alpha: float | int = 0.2
    beta: float | int = 0.1
    repeats: int = 1
    lr: float = 1e-4
    activation: Activation = unit_tanh

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("alpha", 0), ("beta", 0), ("repeats", 1)):
            if getattr(self, name) < least:
                raise SettingsError(f"{name} = {getattr(self, name)}: give at least {least}")

    @property
    def queries_per_iteration(self) -> int:
        """Of every iteration but the last."""
        return self.batch

    def begin(self, oracle: Oracle, substitute: nn.Module, seed: int) -> Parts:
        """A copy and a generator that know nothing."""
        parts = begin_online(substitute, _adam(substitute, self.lr), seed, ("codes",))
        shared = make_generator(oracle.shape, self.latent, seed, self.activation)
        branches = Branches(shared, oracle.n_classes, torch_stream(seed, "steal branches"))
        parts.nets["generator"] = branches.to(parts.device)
        parts.optimisers["generator"] = _adam(branches, self.lr)
        parts.numbers["alpha"] = self.alpha
        return parts

    def step(self, oracle: Oracle, parts: Parts) -> Step:
        """Ask about one batch; the copy's step on it, then the generator's."""
        generator = parts.nets["generator"].train()
        z = codes(parts, self.batch, self.latent)
        branch = torch.arange(self.batch, device=parts.device) % oracle.n_classes
        made = generator(z, branch)
        x, answers = ask(oracle, made)
        loss = imitation(self.beta if oracle.mode == "probabilities" else 0.0)
        lessons = Lessons(
            parts, oracle.n_classes, loss, held_out=self.held_out, repeats=self.repeats
        )
        lessons.learn(x, answers)
        parts.substitute.eval()
        logits = parts.substitute(made[: len(x)])
        imitated, control = loss(logits, answers), cross_entropy(logits, branch[: len(x)])
        value = (-imitated).exp() + parts.numbers["alpha"] * control
        parts.optimisers["generator"].zero_grad()
        value.backward(inputs=list(generator.parameters()))
        parts.optimisers["generator"].step()
        if float(control.detach()) <= CONTROLLED:
            parts.numbers["alpha"] = float(control.detach())
        return lessons.step(imitated=imitated.detach(), control=control.detach())


def imitation(beta: float | int) -> AnswerLoss:
    """Cross-entropy with the label, and `beta` times the squared distance of probabilities."""

    def loss(logits: Tensor, answers: Tensor) -> Tensor:
        apart = cross_entropy(logits, labels_of(answers))
        if beta:
            apart = apart + beta * mse_loss(logits.softmax(dim=1), answers)
        return apart

    return loss


def _adam(net: nn.Module, lr: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(net.parameters(), lr=lr, betas=(0.5, 0.999))
