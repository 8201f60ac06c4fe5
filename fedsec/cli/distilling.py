"""`fedsec distill`, from options to a student and its file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from fedsec import __version__
from fedsec.cli.diffusing import Bar
from fedsec.cli.distill import DistillFlags
from fedsec.cli.distill_options import (
    check_options,
    indices_of,
    n_stages,
    single_fold_of,
    some_of,
    steps_of_a_stage,
)
from fedsec.cli.output import check_new_model, said_as_output_errors
from fedsec.cli.training import device_of
from fedsec.core.record import Result
from fedsec.core.rng import torch_stream
from fedsec.data.images import load_images
from fedsec.diffusion.consistency import consistency_distill, consistency_train
from fedsec.diffusion.consistency_model import ConsistencyModel, load_student, save_student
from fedsec.diffusion.model import DiffusionModel, described
from fedsec.diffusion.progressive import progressive_distill
from fedsec.diffusion.scratch import train_from_scratch
from fedsec.diffusion.semantics import images_of_noise, semantic_distance
from fedsec.diffusion.single_fold import SingleFold, distill
from fedsec.diffusion.students import on_steps
from fedsec.diffusion.train import TrainSettings, TrainWatch
from fedsec.errors import DataError, SettingsError

ENDING = ".safetensors"


@dataclass(frozen=True, eq=False)
class Distillation:
    """Who is taught, by whom, with what, and where it goes."""

    flags: DistillFlags
    teacher: DiffusionModel
    teacher_path: Path
    images: Tensor
    indices: Tensor
    settings: TrainSettings
    single_fold: SingleFold
    out: Path

    @property
    def checkpoint(self) -> Path:
        """A folder beside the student, while there is none: a file for each stage."""
        return self.out.with_name(f"{self.out.stem}.checkpoint")

    @classmethod
    def of(cls, flags: DistillFlags, teacher_path: str, out: str, *, resume: bool) -> Distillation:
        """From the options; raises SettingsError, DataError or OutputError before any work."""
        check_options(flags)
        path = Path(out).expanduser().resolve()
        teacher = load_student(teacher_path)
        if isinstance(teacher, ConsistencyModel):
            raise SettingsError(
                f"--teacher {teacher_path}: is a consistency model, which has no steps to be"
                " taught: give a diffusion model"
            )
        indices = indices_of(flags, teacher.schedule.steps)
        settings = TrainSettings(
            steps=steps_of_a_stage(flags, teacher.schedule.steps), batch=flags.batch, lr=flags.lr,
            decay=cast(Any, flags.decay), ema=None, precision=cast(Any, flags.precision),
            seed=flags.seed,
        )  # fmt: skip
        images = load_images(flags.data, flags.data_dir).train.x
        if tuple(images.shape[1:]) != teacher.shape:
            raise DataError(
                f"--data {flags.data}: its images are not {' x '.join(map(str, teacher.shape))}, as"
                " the teacher's: name the set that it was trained on"
            )
        made = cls(
            flags, teacher.to(device_of(flags.device)), Path(teacher_path), some_of(images, flags),
            indices, settings, single_fold_of(flags), path,
        )  # fmt: skip
        check_new_model(made.out, made.checkpoint, resume=resume)
        return made


@dataclass(frozen=True, eq=False)
class Student:
    """A student, None where it was stopped, and its training: steps made, their losses, seconds."""

    model: DiffusionModel | None
    done: int
    loss: np.ndarray
    seconds: float


def distill_it(made: Distillation, asked: Event, bar: Bar) -> Student:
    """Train until done, or until asked to stop; a student that is done is written."""
    watch = TrainWatch(
        progress=lambda done, of, loss: bar(done, of, f"loss {loss:.4f}"),
        stop=asked.is_set, every=20,
    )  # fmt: skip
    with said_as_output_errors(made.out), _folder(made.checkpoint):
        trained = _TRAINED[made.flags.method](made, watch)
        histories = [history for _, history in trained]
        losses = np.concatenate([history.loss for history in histories])
        wanted = made.settings.steps * n_stages(made.flags, made.teacher.schedule.steps)
        seconds = sum(history.seconds for history in histories)
        if len(losses) < wanted:
            return Student(None, len(losses), losses, seconds)
        model = trained[-1][0]
        record = {"fedsec": __version__, "distilled": _settings(made)}
        save_student(made.out, model, record)
        shutil.rmtree(made.checkpoint)
    return Student(model, len(losses), losses, seconds)


@contextmanager
def _folder(path: Path) -> Iterator[None]:
    """The folder is there within, and afterwards where something was put into it."""
    path.mkdir(exist_ok=True)
    try:
        yield
    finally:
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def compare(made: Distillation, student: DiffusionModel) -> dict[str, Any]:
    """How far images of shared noise are from those that the teacher makes in all its steps."""
    n, seed, steps = made.flags.compare, made.flags.seed, len(made.indices)
    names = ("mse_to_teacher", "mse_of_teacher_in_few_steps")
    if not n:
        return dict.fromkeys(names)
    z = torch.randn(n, *made.teacher.shape, generator=torch_stream(seed, "compare"))
    whole = images_of_noise(made.teacher, z)
    device = made.teacher.device
    few = {
        names[0]: images_of_noise(
            student, z, steps=steps, generator=torch_stream(seed, "between", device=device)
        ),
        names[1]: images_of_noise(on_steps(made.teacher, made.indices), z),
    }
    return {name: float(semantic_distance(x, whole).mean()) for name, x in few.items()}


def result_of(made: Distillation, student: Student, compared: dict[str, Any]) -> Result:
    """The line of a distillation."""
    late = student.loss[-max(len(student.loss) // 20, 1) :]
    return Result(
        what="distill",
        seed=made.flags.seed,
        settings={**_settings(made), "model": described(made.teacher.architecture)},
        measures={
            "loss": float(late.mean()), "steps": student.done,
            "student_steps": len(made.indices), "teacher_steps": made.teacher.schedule.steps,
            "indices": made.indices.tolist(), "compared": made.flags.compare, **compared,
        },
        seconds=student.seconds,
    )  # fmt: skip


def _settings(made: Distillation) -> dict[str, Any]:
    return {"teacher": made.teacher_path.name, **asdict(made.flags)}


Trained = list[tuple[Any, Any]]


def _sfddm(made: Distillation, watch: TrainWatch) -> Trained:
    return [
        distill(
            made.teacher, made.indices, made.images, made.settings, made.single_fold,
            checkpoint=made.checkpoint / f"training{ENDING}", watch=watch,
        )
    ]  # fmt: skip


def _progressive(made: Distillation, watch: TrainWatch) -> Trained:
    found = progressive_distill(
        made.teacher, made.flags.steps, made.images, made.settings, folder=made.checkpoint,
        watch=watch,
    )  # fmt: skip
    return [*found]


def _by(train: Callable[..., tuple[Any, Any]]) -> Callable[[Distillation, TrainWatch], Trained]:
    def trained(made: Distillation, watch: TrainWatch) -> Trained:
        path = made.checkpoint / f"training{ENDING}"
        return [train(made.teacher, made.images, made.settings, checkpoint=path, watch=watch)]

    return trained


def _scratch(made: Distillation, watch: TrainWatch) -> Trained:
    path = made.checkpoint / f"training{ENDING}"
    return [
        train_from_scratch(
            made.teacher, made.indices, made.images, made.settings, checkpoint=path, watch=watch
        )
    ]


_TRAINED: dict[str, Callable[[Distillation, TrainWatch], Trained]] = {
    "sfddm": _sfddm,
    "progressive": _progressive,
    "consistency": _by(consistency_distill),
    "consistency-training": _by(consistency_train),
    "scratch": _scratch,
}
