"""SFDDM: a student of any number of steps, in one training.

Story       the student's hidden variables are the teacher's at the steps phi_0 < phi_1 < ...: x'_k
            is x_{phi_k}, the same tensor. So its marginals, transitions and posteriors are the
            teacher's between these steps (`sub_schedule`), and what is left to learn is what the
            teacher answers there.
Loss        distance of the outputs, plus distance of the features before the last layer, both by
            absolute values and of weight 1, as released. Squares are an option, and so is the
            weight of the KL divergence between the reverse kernels of teacher and student.
Minimiser   student(., k) = teacher(., phi_k): the teacher, told other numbers. `TimeRemap` is that
            student, with loss 0. Its samples are the teacher's DDIM on the same steps, and no
            student can be expected to do better than that row. Against training from scratch the
            teacher's answer stands where noise stood: the same minimiser, a quieter gradient.
Start       random weights and the time index k, as released; or the teacher's weights; or phi_k as
            time index, with which the teacher's weights are at the minimum before any training.
Paper       Hong, Huang, Birke, Epema, Roos and Chen, "SFDDM: Single-fold Distillation for Diffusion
            models" (2024), arXiv 2405.14961. Losses and settings from the authors' released code;
            the derivation of the weights is reconstructed here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fedsec.diffusion.distilled import Loss, fit
from fedsec.diffusion.model import DiffusionModel
from fedsec.diffusion.objectives import Pictures, Times, add_noise
from fedsec.diffusion.progress import checksum
from fedsec.diffusion.schedule import NoiseSchedule, sub_schedule
from fedsec.diffusion.students import STARTS, start_of, student_of, told_to
from fedsec.diffusion.train import TrainHistory, TrainSettings, TrainWatch
from fedsec.errors import SettingsError

Distance = Callable[[Tensor, Tensor], Float[Tensor, " sample"]]


@runtime_checkable
class WithHidden(Protocol):
    """A denoiser that also shows what enters its last layer."""

    def hidden(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(output, features), both (sample, channel, height, width)."""
        ...


class TimeRemap(nn.Module):
    """A network that is told indices[k] in place of k: the student with loss 0."""

    indices: Tensor

    def __init__(self, net: nn.Module, indices: Int[Tensor, " step"]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("indices", indices.to(next(net.parameters()).device))

    def forward(self, x: Tensor, k: Tensor) -> Tensor:
        """The network's answer at step indices[k]."""
        answer: Tensor = self.net(x, self.indices[k])
        return answer

    def hidden(self, x: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Its answer and its features there."""
        return _with_hidden(self.net).hidden(x, self.indices[k])


def l1(found: Tensor, wanted: Tensor) -> Float[Tensor, " sample"]:
    """Mean absolute difference."""
    return (found - wanted).abs().flatten(1).mean(dim=1)


def mse(found: Tensor, wanted: Tensor) -> Float[Tensor, " sample"]:
    """Mean squared difference."""
    return (found - wanted).square().flatten(1).mean(dim=1)


DISTANCES: dict[str, Distance] = {"l1": l1, "mse": mse}
TIME_INDICES = ("k", "phi")


def posterior_weight(schedule: NoiseSchedule, objective: str) -> Float[Tensor, " step"]:
    """What a squared error of the objective costs in KL between reverse kernels; float64.

    For kernels N(mu, s_k^2) with means of the posterior's form, KL is beta_k^2 / (2 s_k^2 alpha_k
    (1 - alpha_bar_k)) times the squared error of eps. s_k^2 is beta_k here, the larger of DDPM's
    two: the smaller one is 0 at step 0. An error of v is one of eps over the square root of
    alpha_bar, one of x0 is one of eps over that of SNR.
    """
    of_eps = schedule.beta / (2 * schedule.alpha * (1 - schedule.alpha_bar))
    shares = {
        "eps": torch.ones_like(of_eps),
        "v": schedule.alpha_bar,
        "x0": schedule.snr,
    }
    if objective not in shares:
        raise SettingsError(f"objective {objective!r} is not one of {', '.join(shares)}")
    return of_eps * shares[objective]


@dataclass(frozen=True, eq=False)
class Parts:
    """The two distances of a batch, unweighted by `output_weight` and `hidden_weight`."""

    output: Float[Tensor, ""]
    hidden: Float[Tensor, ""]


def single_fold_parts(
    student: nn.Module,
    teacher: nn.Module,
    schedule: NoiseSchedule,
    indices: Int[Tensor, " step"],
    x0: Pictures,
    k: Times,
    eps: Pictures,
    *,
    told: Int[Tensor, " step"] | None = None,
    distance: Distance = l1,
    weight: Float[Tensor, " step"] | None = None,
    hidden: bool = True,
) -> Parts:
    """Distances of outputs and of features at the student's steps k.

    student, teacher  networks (x, t); with `hidden`, both show features of the same form
    schedule          the student's: alpha_bar of the teacher's at `indices`
    told              what the student is told in place of k; k itself where None
    weight            of the output's distance at each step; 1 where None

    No gradient goes to the teacher. Raises SettingsError where features cannot be compared.
    """
    x = add_noise(schedule, x0, k, eps)
    index = k if told is None else told[k]
    phi = indices[k]
    if hidden:
        out, features = _with_hidden(student).hidden(x, index)
        with torch.no_grad():
            wanted, shown = _with_hidden(teacher).hidden(x, phi)
        if features.shape != shown.shape:
            raise SettingsError(
                f"features of the student are {tuple(features.shape[1:])}, of the teacher"
                f" {tuple(shown.shape[1:])}: give both one width, or a hidden_weight of 0"
            )
        apart = distance(features, shown).mean()
    else:
        out = student(x, index)
        with torch.no_grad():
            wanted = teacher(x, phi)
        apart = out.new_zeros(())
    by_sample = distance(out, wanted)
    if weight is not None:
        by_sample = by_sample * weight.to(by_sample)[k]
    return Parts(by_sample.mean(), apart)


@dataclass(frozen=True, kw_only=True)
class SingleFold:
    """What SFDDM minimises, and from where. The defaults are the authors'.

    distance          "l1", or "mse"
    output_weight, hidden_weight
                      of the two distances; a hidden weight of 0 never asks for features
    posterior         weigh each step's output by its KL divergence; goes with "mse"
    start             "random" weights, or the "teacher"'s
    time_index        what the student's time embedding is told: "k", or "phi", the teacher's number
    """

    distance: str = "l1"
    output_weight: float | int = 1.0
    hidden_weight: float | int = 1.0
    posterior: bool = False
    start: str = "random"
    time_index: str = "k"

    def __post_init__(self) -> None:
        for name, known in (
            ("distance", tuple(DISTANCES)), ("start", STARTS), ("time_index", TIME_INDICES)
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise SettingsError(
                    f"{name} {getattr(self, name)!r} is not one of {', '.join(known)}"
                )
        for name in ("output_weight", "hidden_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise SettingsError(f"{name} = {getattr(self, name)}: give 0 or more")
        if not self.output_weight:
            raise SettingsError("output_weight is 0: nothing would train the last layer")
        if self.posterior and self.distance != "mse":
            raise SettingsError(
                f"posterior goes with distance 'mse', which is what the KL divergence weighs, not"
                f" {self.distance!r}"
            )


def distill(
    teacher: DiffusionModel,
    indices: Int[Tensor, " step"],
    images: Pictures,
    settings: TrainSettings,
    method: SingleFold | None = None,
    *,
    checkpoint: Path | None = None,
    watch: TrainWatch | None = None,
) -> tuple[DiffusionModel, TrainHistory]:
    """A student on the teacher's steps `indices`, and how it was trained.

    images      pixels in [0, 1], of the teacher's form
    settings    the authors' are TrainSettings(steps=..., **RELEASED)
    checkpoint  file to go on from, and to keep the training in

    The teacher is as it is given: with averaged parameters where it was trained with an average.
    Raises SettingsError where the indices are no sub-sequence, a setting does not fit the networks,
    or a checkpoint is of another run.
    """
    method = SingleFold() if method is None else method
    schedule = sub_schedule(teacher.schedule, indices)
    net = start_of(teacher, method.start, settings.seed)
    about = {
        "method": "sfddm", "indices": indices.tolist(), "single fold": asdict(method),
        "schedule": checksum(teacher.schedule.alpha_bar),
    }  # fmt: skip
    history = fit(
        net, single_fold_loss(net, teacher, indices, method), images, schedule.steps, settings,
        about=about, checkpoint=checkpoint, watch=watch,
    )  # fmt: skip
    time_map = told_to(teacher, indices) if method.time_index == "phi" else None
    return student_of(teacher, net, schedule, time_map), history


def single_fold_loss(
    net: nn.Module, teacher: DiffusionModel, indices: Int[Tensor, " step"], method: SingleFold
) -> Loss:
    """The weighted sum of the parts, as a function of images, the student's steps and noise."""
    schedule = sub_schedule(teacher.schedule, indices).to(teacher.device)
    phi = told_to(teacher, indices).to(teacher.device)
    weight = posterior_weight(schedule, teacher.objective) if method.posterior else None
    told = phi if method.time_index == "phi" else None

    def loss(x0: Tensor, k: Tensor, eps: Tensor) -> Tensor:
        parts = single_fold_parts(
            net, teacher.net, schedule, phi, x0, k, eps, told=told,
            distance=DISTANCES[method.distance], weight=weight, hidden=method.hidden_weight > 0,
        )  # fmt: skip
        return method.output_weight * parts.output + method.hidden_weight * parts.hidden

    return loss


def _with_hidden(net: nn.Module) -> WithHidden:
    if not isinstance(net, WithHidden):
        raise SettingsError(
            f"{type(net).__name__} does not show its features: give it a method hidden(x, t), or"
            " a hidden_weight of 0"
        )
    return net
