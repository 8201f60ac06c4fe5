"""`fedsec diffusion`, from options to models, images and files."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from fedsec import __version__
from fedsec.cli.checks import at_least, first, one_of
from fedsec.cli.diffusion import DiffusionFlags
from fedsec.cli.output import check_new_model, said_as_output_errors, write_settings
from fedsec.cli.training import device_of
from fedsec.core.record import Result
from fedsec.core.rng import torch_stream
from fedsec.data.images import ImageData, load_images
from fedsec.diffusion.consistency_model import ConsistencyModel, load_student
from fedsec.diffusion.model import (
    DENOISERS,
    DiffusionModel,
    Shape,
    described,
    new_model,
    save_model,
)
from fedsec.diffusion.objectives import OBJECTIVES
from fedsec.diffusion.pictures import write_png
from fedsec.diffusion.schedule import SCHEDULES, noise_schedule
from fedsec.diffusion.train import (
    DECAYS,
    PRECISIONS,
    TrainHistory,
    TrainSettings,
    TrainWatch,
    train,
)
from fedsec.errors import SettingsError
from fedsec.inversion.true_images import to_arrays

Bar = Callable[[float, float, str], None]
"""(done, of how many, what)."""

ENDING = ".safetensors"
SHOWN = 100  # images of the picture, at most


@dataclass(frozen=True, eq=False)
class Training:
    """What is trained on what, and where it goes."""

    flags: DiffusionFlags
    start: DiffusionModel
    images: Tensor
    settings: TrainSettings
    out: Path

    @property
    def checkpoint(self) -> Path:
        """Beside the model, while there is none."""
        return self.out.with_name(f"{self.out.stem}.checkpoint{ENDING}")

    @classmethod
    def of(cls, flags: DiffusionFlags, out: str, *, resume: bool) -> Training:
        """From the options; raises SettingsError, DataError or OutputError before any work."""
        path = Path(out).expanduser().resolve()
        _check_names(flags)
        settings = TrainSettings(
            steps=flags.steps, batch=flags.batch, lr=flags.lr, decay=flags.decay,
            ema=flags.ema, precision=flags.precision, seed=flags.seed,
        )  # fmt: skip
        schedule = noise_schedule(flags.schedule, flags.steps_of_diffusion)
        device = device_of(flags.device)
        data = load_images(flags.data, flags.data_dir)
        x = _some(data, flags)
        shape = cast(Shape, tuple(x.shape[1:]))
        start = new_model(
            _architecture(flags, shape[0]), shape, schedule=schedule, objective=flags.objective,
            seed=flags.seed,
        )  # fmt: skip
        made = cls(flags, start.to(device), x, settings, path)
        check_new_model(made.out, made.checkpoint, resume=resume)
        return made


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What `fedsec diffusion sample` was asked for."""

    model: str
    n: int
    steps: int | None
    eta: float
    batch: int
    against: str | None
    data_dir: str | None
    device: str
    seed: int


@dataclass(frozen=True, eq=False)
class Drawn:
    """Images in [0, 1], and the line that describes them."""

    x: Tensor
    result: Result


def train_it(training: Training, asked: Event, bar: Bar) -> tuple[DiffusionModel, TrainHistory]:
    """Train until done, or until asked to stop; a model that is done is written."""
    watch = TrainWatch(
        progress=lambda done, of, loss: bar(done, of, f"loss {loss:.4f}"),
        stop=asked.is_set, every=20,
    )  # fmt: skip
    with said_as_output_errors(training.out):
        model, history = train(
            training.start, training.images, training.settings, checkpoint=training.checkpoint,
            watch=watch,
        )  # fmt: skip
        if len(history.loss) == training.settings.steps:
            record = {"fedsec": __version__, "data": training.flags.data,
                      "training": asdict(training.settings)}  # fmt: skip
            save_model(training.out, model, record)
            training.checkpoint.unlink(missing_ok=True)
    return model, history


def result_of(training: Training, model: DiffusionModel, history: TrainHistory) -> Result:
    """The line of a training."""
    late = history.loss[-max(len(history.loss) // 20, 1) :]
    return Result(
        what="diffusion train",
        seed=training.flags.seed,
        settings={**asdict(training.flags), "model": described(model.architecture)},
        measures={
            "loss": float(late.mean()), "steps": len(history.loss),
            "parameters": sum(value.numel() for value in model.net.parameters()),
            "images": len(training.images),
        },
        seconds=history.seconds,
    )  # fmt: skip


def draw(sampling: Sampling, bar: Bar) -> Drawn:
    """Load, draw, and score where it was asked for. Raises SettingsError or DataError."""
    for name in ("n", "batch", "seed"):
        at_least(f"--{name}", getattr(sampling, name), int(name != "seed"))
    model = load_student(sampling.model).to(device_of(sampling.device))
    total = model.schedule.steps
    steps = first(sampling.steps, 1 if isinstance(model, ConsistencyModel) else total)
    if not 1 <= steps <= total:
        raise SettingsError(f"--steps is {steps}: the model has {total}: give 1 to {total}")
    if not 0 <= sampling.eta <= 1:
        raise SettingsError(f"--eta is {sampling.eta}: give 0 up to 1")
    data = None if sampling.against is None else load_images(sampling.against, sampling.data_dir)
    if data is not None and tuple(data.train.x.shape[1:]) != model.shape:
        raise SettingsError(
            f"--against {sampling.against}: its images are not {' x '.join(map(str, model.shape))},"
            " as the model's: name the set that it was trained on"
        )
    started = time.perf_counter()
    x = _drawn(model, sampling, steps, bar)
    seconds = time.perf_counter() - started
    scores = _scores(x, data, sampling.seed)
    return Drawn(
        x,
        Result(
            what="diffusion sample",
            seed=sampling.seed,
            settings={**asdict(sampling), "model": Path(sampling.model).name, "steps": steps,
                      "objective": model.objective, "steps_of_diffusion": total,
                      "architecture": described(model.architecture)},
            measures={"n": len(x), "steps": steps, **scores},
            seconds=seconds,
        ),
    )  # fmt: skip


def write_samples(folder: Path, drawn: Drawn, rerun: str) -> None:
    """samples.npz, samples.png, settings.json."""
    result = drawn.result
    write_settings(
        folder,
        {"fedsec": __version__, "torch": str(torch.__version__), "rerun": rerun,
         "seed": result.seed, "settings": dict(result.settings),
         "measures": dict(result.measures)},
    )  # fmt: skip
    np.savez_compressed(folder / "samples.npz", x=to_arrays(drawn.x))
    write_png(folder / "samples.png", drawn.x[:SHOWN])


def _check_names(flags: DiffusionFlags) -> None:
    one_of("--net", flags.net, DENOISERS)
    one_of("--schedule", flags.schedule, SCHEDULES)
    one_of("--objective", flags.objective, OBJECTIVES)
    one_of("--decay", flags.decay, DECAYS)
    one_of("--precision", flags.precision, PRECISIONS)
    for option, value, least in (
        ("--steps-of-diffusion", flags.steps_of_diffusion, 1),
        ("--limit", flags.limit, 1),
        ("--width", flags.width, 1),
        ("--seed", flags.seed, 0),
    ):
        at_least(option, value, least)


def _architecture(flags: DiffusionFlags, channels: int) -> dict[str, Any]:
    """What the options say of the network, with the defaults of its kind."""
    small = flags.net == "unet"
    text = first(flags.mults, "1,2,4" if small else "1,2,4,4")
    try:
        mults = [int(part) for part in text.split(",")]
    except ValueError:
        raise SettingsError(f"--mults {text!r}: write whole numbers, as 1,2,4") from None
    width = first(flags.width, 16 if small else 64)
    if small:
        return {"kind": "unet", "channels": channels, "width": width, "mults": mults,
                "groups": 8, "attention": flags.attention}  # fmt: skip
    looks = [False] * (len(mults) - 1) + [flags.attention]
    return {"kind": "diffusers", "channels": channels, "widths": [width * m for m in mults],
            "attention": looks, "layers": 2, "groups": 8, "fused": False}  # fmt: skip


def _some(data: ImageData, flags: DiffusionFlags) -> Tensor:
    """The training images, or as many of them as the limit says."""
    n = len(data.train)
    if flags.limit is None:
        return data.train.x
    if flags.limit > n:
        raise SettingsError(f"--limit is {flags.limit}: there are {n} training images")
    chosen = torch.randperm(n, generator=torch_stream(flags.seed, "limit"))[: flags.limit]
    return data.train.subset(chosen).x


def _drawn(model: DiffusionModel, sampling: Sampling, steps: int, bar: Bar) -> Tensor:
    """All images, on the CPU, in batches that the bar follows."""
    generator = torch_stream(sampling.seed, "samples")
    parts: list[Tensor] = []
    for done in range(0, sampling.n, sampling.batch):
        bar(done, sampling.n, "")
        some = min(sampling.batch, sampling.n - done)
        parts.append(
            model.sample(some, steps=steps, eta=sampling.eta, generator=generator, batch=some)
        )
    return torch.cat(parts).cpu()


def _scores(x: Tensor, data: ImageData | None, seed: int) -> dict[str, Any]:
    """fcd and its company, or None for each where nothing was asked for."""
    from fedsec.metrics.features import train_features
    from fedsec.metrics.generation import generation_scores

    names = ("fcd", "floor", "ceiling", "precision", "recall", "features", "against")
    if data is None:
        return dict.fromkeys(names)
    net = train_features(data, seed=0)
    found = generation_scores(net, x, data.test.x, torch_stream(seed, "scores"))
    return {**asdict(found), "features": net.name, "against": len(data.test)}
