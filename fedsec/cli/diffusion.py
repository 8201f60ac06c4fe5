"""`fedsec diffusion`: train a diffusion model of an image set, and draw images from one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from fedsec.cli.exits import INTERRUPTED, first_interrupt, say
from fedsec.cli.flags import JsonOption, option, with_options

if TYPE_CHECKING:
    from fedsec.cli.diffusing import Drawn
    from fedsec.core.record import Result

DATA, MODEL, TRAINING, RUNNING = "Data", "Model", "Training", "Running"
SAMPLING, SCORING = "Sampling", "Scoring"

diffusion = typer.Typer(
    help="Train diffusion models of images, and draw images from them.", no_args_is_help=True
)


@dataclass(frozen=True)
class DiffusionFlags:
    """What to train, on what; as given, in the order of the help. None is left to defaults."""

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

    steps_of_diffusion: Annotated[int, option(MODEL, "Steps from image to noise.")] = 256
    schedule: Annotated[
        str, option(MODEL, "How noise grows over them: sigmoid, cosine, linear.")
    ] = "sigmoid"
    objective: Annotated[
        str,
        option(MODEL, "What the network tells: eps (the noise), x0 (the image), v (between)."),
    ] = "v"
    net: Annotated[
        str,
        option(
            MODEL,
            "unet (small, of this package), or diffusers (UNet2DModel, for real sizes; extra"
            " 'diffusion').",
        ),
    ] = "unet"
    width: Annotated[
        int | None,
        option(MODEL, "Channels at full size.", "16; diffusers 64"),
    ] = None
    mults: Annotated[
        str | None,
        option(
            MODEL,
            "Channels of each level, in widths; each level halves the size.",
            "1,2,4; diffusers 1,2,4,4",
        ),
    ] = None
    attention: Annotated[
        bool, option(MODEL, "Attention at the lowest level.", name="--attention")
    ] = False

    steps: Annotated[int, option(TRAINING, "Steps of training.")] = 3000
    batch: Annotated[int, option(TRAINING, "Images in a step.")] = 64
    lr: Annotated[float, option(TRAINING, "Learning rate of Adam, at the start.")] = 1e-3
    decay: Annotated[str, option(TRAINING, "How the rate falls: cosine (to 0), or constant.")] = (
        "cosine"
    )
    ema: Annotated[
        float, option(TRAINING, "Kept of the moving average of the parameters at each step.")
    ] = 0.999
    precision: Annotated[
        str, option(TRAINING, "float32, or bfloat16 for products, where the device has it.")
    ] = "float32"

    device: Annotated[str, option(RUNNING, "auto, cpu or cuda.")] = "auto"
    seed: Annotated[int, option(RUNNING, "Of all that is drawn.")] = 0


@diffusion.command("train")
@with_options(DiffusionFlags)
def train(
    flags: DiffusionFlags,
    out: Annotated[
        str,
        typer.Option(help="File for the model, .safetensors.", rich_help_panel=RUNNING),
    ] = "diffusion.safetensors",
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on from the checkpoint beside --out.", rich_help_panel=RUNNING
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Train a diffusion model on the images of a data set.

    `fedsec diffusion train --data digits --steps-of-diffusion 256 --out t.safetensors` trains
    one on the CPU. The file holds the network and all that belongs to it: `fedsec diffusion
    sample`, `fedsec distill` and `fedsec invert` take it as it is.

    Ctrl-C stops after the current step and keeps a checkpoint beside the file (exit code 130);
    --resume with the same options goes on from it as if nothing had happened, to the bit.
    """
    from fedsec.cli.bars import moving_bar
    from fedsec.cli.diffusing import Training, result_of, train_it
    from fedsec.cli.threads import few_threads

    training = Training.of(flags, out, resume=resume)
    with (
        few_threads(training.start.net),
        first_interrupt("after this step") as asked,
        moving_bar(json, "steps") as bar,
    ):
        model, history = train_it(training, asked, bar)
    if len(history.loss) < flags.steps:
        say(
            f"interrupted after {len(history.loss):,} steps: {training.checkpoint} has the"
            " checkpoint: the same command with --resume goes on from it",
            "yellow",
        )
        raise typer.Exit(INTERRUPTED)
    result = result_of(training, model, history)
    if json:
        typer.echo(result.to_json())
    else:
        show_training(result)
        typer.echo(f"written to {training.out}")


@diffusion.command("sample")
def sample(
    model: Annotated[
        str,
        typer.Option(help="File of `fedsec diffusion train` or `distill`.", rich_help_panel=MODEL),
    ],
    out: Annotated[
        str,
        typer.Option(
            help="Folder for samples.npz, samples.png and settings.json.", rich_help_panel=RUNNING
        ),
    ] = "samples",
    n: Annotated[int, typer.Option(help="Images.", rich_help_panel=SAMPLING)] = 64,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Steps of the sampler, up to those of the model.",
            show_default="all of the model",
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    eta: Annotated[
        float,
        typer.Option(
            help="Share of the noise that is drawn anew: 0 (DDIM, none) up to 1 (DDPM).",
            rich_help_panel=SAMPLING,
        ),
    ] = 0.0,
    batch: Annotated[int, typer.Option(help="Images at a time.", rich_help_panel=SAMPLING)] = 256,
    against: Annotated[
        str | None,
        typer.Option(
            help="Score against the test images of this data set, by features of a classifier that"
            " is trained on it.",
            show_default=False,
            rich_help_panel=SCORING,
        ),
    ] = None,
    data_dir: Annotated[
        str | None,
        typer.Option(
            help="Folder with the .npz files, in place of FEDSEC_DATA.", rich_help_panel=SCORING
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu or cuda.", rich_help_panel=RUNNING)
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Of all that is drawn.", rich_help_panel=RUNNING)] = 0,
    json: JsonOption = False,
) -> None:
    """Draw images from a diffusion model.

    `fedsec diffusion sample --model t.safetensors --n 64 --steps 16 --out DIR` writes a PNG of all
    of them, the images as an .npz file, and settings.json. The same seed begins with the same noise
    at any number of steps.

    --against digits prints fcd (Frechet distance of a classifier's features, which is not FID) with
    its floor (one half of the test images against the other) and its ceiling (noise), precision and
    recall.
    """
    from fedsec.cli.bars import moving_bar
    from fedsec.cli.diffusing import Sampling, draw, write_samples
    from fedsec.cli.output import checked_new, new_folder
    from fedsec.cli.rerun import rerun_command

    folder = checked_new(out)
    sampling = Sampling(
        model=model, n=n, steps=steps, eta=eta, batch=batch, against=against, data_dir=data_dir,
        device=device, seed=seed,
    )  # fmt: skip
    with moving_bar(json, "images") as bar:
        drawn = draw(sampling, bar)
    with new_folder(folder) as made:
        write_samples(made, drawn, rerun_command())
    if json:
        typer.echo(drawn.result.to_json())
    else:
        show_samples(drawn)
        typer.echo(f"written to {folder}")


def show_training(result: Result) -> None:
    """One row: what was trained, and what it came to."""
    from fedsec.cli.tables import number, show

    settings, found = result.settings, result.measures
    show(
        f"{settings['model']} on {settings['data']}: {settings['steps_of_diffusion']} steps of"
        f" {settings['schedule']} noise, objective {settings['objective']}",
        ("", "parameters", "steps", "loss (last 5 %)", "seconds"),
        [
            (
                "trained",
                f"{found['parameters']:,}",
                f"{found['steps']:,}",
                number(found["loss"], 4),
                number(result.seconds, 1),
            )
        ],
    )


def show_samples(drawn: Drawn) -> None:
    """One row: how many, how fast, and the scores where they were asked for."""
    from fedsec.cli.tables import number, show

    found = drawn.result.measures
    head = ["", "images", "steps", "seconds"]
    row = ["drawn", f"{found['n']:,}", str(found["steps"]), number(drawn.result.seconds, 2)]
    if found["fcd"] is not None:
        head += ["fcd", "floor", "ceiling", "precision", "recall"]
        row += [number(found[name], 2) for name in ("fcd", "floor", "ceiling")]
        row += [number(found[name], 2) for name in ("precision", "recall")]
    show(drawn.result.settings["model"], head, [tuple(row)])
    if found["fcd"] is not None:
        typer.echo(f"fcd by {found['features']}, against {found['against']} test images")
