"""`fedsec distill`: from a diffusion model of many steps, one of few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from fedsec.cli.exits import INTERRUPTED, first_interrupt, say
from fedsec.cli.flags import JsonOption, option, with_options

if TYPE_CHECKING:
    from fedsec.core.record import Result

DATA, METHOD, SFDDM = "Data", "Teacher and student", "Of sfddm"
TRAINING, RUNNING = "Training", "Running"


@dataclass(frozen=True)
class DistillFlags:
    """Who learns what from whom; as given, in the order of the help. None is left to defaults."""

    steps: Annotated[int, option(METHOD, "Steps of the student.")] = 16
    method: Annotated[
        str,
        option(
            METHOD,
            "sfddm (single-fold), progressive (by halvings), consistency (distillation),"
            " consistency-training, or scratch (no teacher).",
        ),
    ] = "sfddm"
    sequence: Annotated[
        str | None,
        option(
            METHOD,
            "Which of the teacher's steps, of sfddm and scratch: leading (0, c, 2c, ...), trailing"
            " (up to the last), linspace (both ends).",
            "leading",
        ),
    ] = None
    indices: Annotated[
        str | None,
        option(
            METHOD, "The steps themselves, in place of --sequence and --steps, as 0,64,128.", False
        ),
    ] = None

    start: Annotated[
        str | None,
        option(SFDDM, "The student's first weights: random, or teacher.", "random"),
    ] = None
    time_index: Annotated[
        str | None,
        option(SFDDM, "What its network is told: k (its own step), or phi (the teacher's).", "k"),
    ] = None
    distance: Annotated[
        str | None, option(SFDDM, "Of outputs and of features: l1, or mse.", "l1")
    ] = None
    hidden_weight: Annotated[
        float | None, option(SFDDM, "Weight of the features' distance.", "1")
    ] = None
    posterior: Annotated[
        bool,
        option(SFDDM, "Weigh each step by its KL divergence; goes with mse.", name="--posterior"),
    ] = False

    data: Annotated[
        str,
        option(DATA, "digits, mnist, fashion-mnist, cifar10, or the path of an .npz file."),
    ] = "digits"
    data_dir: Annotated[
        str | None, option(DATA, "Folder with the .npz files, in place of FEDSEC_DATA.")
    ] = None
    limit: Annotated[
        int | None, option(DATA, "Train on so many images, drawn at random.", "all")
    ] = None

    train_steps: Annotated[
        int, option(TRAINING, "Steps of training; of progressive, of all halvings together.")
    ] = 2000
    batch: Annotated[int, option(TRAINING, "Images in a step.")] = 64
    lr: Annotated[float, option(TRAINING, "Learning rate of Adam, at the start.")] = 2e-4
    decay: Annotated[str, option(TRAINING, "How the rate falls: constant, or cosine (to 0).")] = (
        "constant"
    )
    precision: Annotated[
        str, option(TRAINING, "float32, or bfloat16 for products, where the device has it.")
    ] = "float32"

    compare: Annotated[
        int, option(RUNNING, "Compare with the teacher on so many noises; 0 does not.")
    ] = 64
    device: Annotated[str, option(RUNNING, "auto, cpu or cuda.")] = "auto"
    seed: Annotated[int, option(RUNNING, "Of all that is drawn.")] = 0


@with_options(DistillFlags)
def distill(
    flags: DistillFlags,
    teacher: Annotated[
        str,
        typer.Option(
            help="Model of `fedsec diffusion train`, or of this command.", rich_help_panel=METHOD
        ),
    ],
    out: Annotated[
        str,
        typer.Option(help="File for the student, .safetensors.", rich_help_panel=RUNNING),
    ] = "student.safetensors",
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on from the checkpoint beside --out.", rich_help_panel=RUNNING
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Train a student that samples in fewer steps than its teacher.

    `fedsec distill --teacher t.safetensors --steps 16 --method sfddm --data digits --out
    s.safetensors` takes any number of steps in one training, by the authors' settings. The table
    shows how far the student's images are from the teacher's of the same noise, beside what the
    teacher itself makes in as few steps: of sfddm that is the best there is. `fedsec diffusion
    sample` draws from the file.

    Ctrl-C stops after the current step and keeps a checkpoint beside the file (exit code 130);
    --resume with the same options goes on from it as if nothing had happened.
    """
    from fedsec.cli.bars import moving_bar
    from fedsec.cli.distilling import Distillation, compare, distill_it, result_of
    from fedsec.cli.threads import few_threads

    distillation = Distillation.of(flags, teacher, out, resume=resume)
    with (
        few_threads(distillation.teacher.net),
        first_interrupt("after this step") as asked,
        moving_bar(json, "steps") as bar,
    ):
        student = distill_it(distillation, asked, bar)
        if student.model is None:
            say(
                f"interrupted after {student.done:,} steps: {distillation.checkpoint} has the"
                " checkpoint: the same command with --resume goes on from it",
                "yellow",
            )
            raise typer.Exit(INTERRUPTED)
        result = result_of(distillation, student, compare(distillation, student.model))
    if json:
        typer.echo(result.to_json())
    else:
        show_distillation(result)
        typer.echo(f"written to {distillation.out}")


def show_distillation(result: Result) -> None:
    """The student beside its teacher in as few steps."""
    from fedsec.cli.tables import number, show

    settings, found = result.settings, result.measures
    head = ["", "steps", "trained for", "loss (last 5 %)", "seconds"]
    row = [settings["method"], str(found["student_steps"]), f"{found['steps']:,}",
           number(found["loss"], 4), number(result.seconds, 1)]  # fmt: skip
    rows = [tuple(row)]
    if found["mse_to_teacher"] is not None:
        head.append("MSE to the teacher's images")
        rows = [
            (*row, number(found["mse_to_teacher"], 4)),
            ("teacher, as many steps", str(found["student_steps"]), "–", "–", "–",
             number(found["mse_of_teacher_in_few_steps"], 4)),
        ]  # fmt: skip
    show(
        f"{settings['model']} on {settings['data']}, from {found['teacher_steps']} steps",
        tuple(head), rows,
    )  # fmt: skip
    if found["mse_to_teacher"] is not None:
        typer.echo(
            f"MSE over {found['compared']} noises, to what the teacher makes of them in all its"
            " steps"
        )
