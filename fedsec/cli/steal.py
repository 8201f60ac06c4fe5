"""`fedsec steal`: how good a copy of a model its answers give away, on one budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from fedsec.cli.exits import INTERRUPTED, first_interrupt, say
from fedsec.cli.flags import JsonOption, option, with_options

if TYPE_CHECKING:
    from fedsec.cli.stealing import Theft
    from fedsec.core.record import Result

VICTIM, DATA, ATTACK = "Victim", "Images of the owner", "Attack"
ANSWERS, TRANSFER, RUNNING = "What the API answers", "Adversarial examples", "Running"

METHODS_SAID = (
    "mega, mega+, tandemgan, dast, dfme, maze, zsdb3kd, knockoff, knockoff-adaptive, noise, or all"
)
DEFENCES_SAID = "label-flips, rounded, top-one, rate-limit, detector"
TRANSFERS_SAID = "fgsm, bim, pgd, mi-fgsm"
NETS_SAID = "linear, mlp, cnn, cnn-bn, cnn-gn, cnn3, cnn6, lenet-sigmoid, resnet"


@dataclass(frozen=True)
class StealFlags:
    """Whose model, asked how, by whom; as given, in the order of the help. None: a default."""

    victim: Annotated[
        str | None,
        option(
            VICTIM,
            "The model: .safetensors or .npz, as fedsec train or --train-victim wrote it, or your"
            " own with --net or --model.",
            False,
        ),
    ] = None
    train_victim: Annotated[
        bool,
        option(
            VICTIM,
            "Train one on --data from --seed, and write it to --out as victim.safetensors.",
            name="--train-victim",
        ),
    ] = False
    url: Annotated[
        str | None,
        option(
            VICTIM,
            "Ask this address: POST of JSON, see the page on model stealing. Only what is yours, or"
            " what you were asked to audit.",
            False,
        ),
    ] = None
    header: Annotated[
        list[str] | None,
        option(VICTIM, "Of each request to --url: 'NAME: VALUE'; repeatable.", False),
    ] = None
    net: Annotated[
        str | None, option(VICTIM, f"Its network: {NETS_SAID}.", "as the file says; by data set")
    ] = None
    model: Annotated[
        str | None,
        option(
            VICTIM,
            "Its network, your own: MODULE:FUNCTION, a function without arguments in a module of"
            " this folder, which is run and gives a torch.nn.Module.",
            False,
        ),
    ] = None

    data: Annotated[
        str,
        option(
            DATA,
            "digits, mnist, fashion-mnist, cifar10, or the path of an .npz file: what the victim is"
            " for. Copies are tested on its test images; attackers never see it.",
        ),
    ] = "digits"
    data_dir: Annotated[
        str | None, option(DATA, "Folder with the .npz files, in place of FEDSEC_DATA.")
    ] = None
    limit: Annotated[
        int | None, option(DATA, "Train the victim on so many, drawn at random.", "all")
    ] = None
    test_limit: Annotated[
        int | None,
        option(DATA, "Test on so many, drawn at random: of a --url, each is asked about.", "all"),
    ] = None

    method: Annotated[
        list[str] | None,
        option(ATTACK, f"{METHODS_SAID}; repeatable. Noise is always beside.", "mega+"),
    ] = None
    budget: Annotated[int, option(ATTACK, "Queries of each method.")] = 20_000
    substitute: Annotated[
        str | None, option(ATTACK, f"The network of the copies: {NETS_SAID}.", "cnn-bn")
    ] = None
    passes: Annotated[
        int,
        option(ATTACK, "Times that a copy learns an answer: sets the steps of all methods alike."),
    ] = 5
    batch: Annotated[int, option(ATTACK, "Images in a step of a copy.")] = 256
    surrogate: Annotated[
        str | None,
        option(
            ATTACK,
            "Images that knockoff asks about: a data set, as for --data.",
            "fashion-mnist; mnist where that is the victim's",
        ),
    ] = None
    settings: Annotated[
        list[str] | None,
        option(
            ATTACK,
            "Another setting of a method, METHOD.NAME=VALUE, as mega.lr_g=1e-4; repeatable.",
            name="--set",
        ),
    ] = None

    mode: Annotated[str, option(ANSWERS, "labels, or probabilities.")] = "labels"
    defence: Annotated[
        list[str] | None,
        option(
            ANSWERS,
            f"What it does to answers: {DEFENCES_SAID}; with settings, as label-flips:share=0.2."
            " Repeat it for several, in their order. Not of a --url, which has its own.",
            False,
        ),
    ] = None

    transfer: Annotated[
        list[str] | None,
        option(
            TRANSFER,
            f"Make them on the copies, and try them on the victim: {TRANSFERS_SAID}; repeatable.",
            False,
        ),
    ] = None
    eps: Annotated[
        str | None,
        option(TRANSFER, "Largest changes of a pixel, of 1.", "0.05,0.1,0.15,0.2,0.25,0.3"),
    ] = None
    target: Annotated[
        str | None,
        option(TRANSFER, "They are to reach this class, its code or name.", "any other class"),
    ] = None

    device: Annotated[str, option(RUNNING, "auto, cpu or cuda.")] = "auto"
    seed: Annotated[int, option(RUNNING, "Of all that is drawn; the first of several.")] = 0


@with_options(StealFlags)
def steal(
    flags: StealFlags,
    seeds: Annotated[
        int,
        typer.Option(help="Steal so many times, from --seed on.", rich_help_panel=RUNNING),
    ] = 1,
    out: Annotated[
        str | None,
        typer.Option(
            help="Folder for results, curves, copies, pictures and checkpoints. Where it holds a"
            " run with these settings, that is gone on with.",
            rich_help_panel=RUNNING,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Copy a model by asking it, as whoever pays for its answers could.

    `fedsec steal --train-victim --data digits --method mega+ --method dfme --budget 20000 --out
    DIR` trains a victim, lets each method ask 20,000 questions about images that it makes itself,
    and says how often the copies agree with the victim on test images. `--victim
    model.safetensors` takes yours. Plain noise is always beside: what it gets, everybody gets.

    DIR gets results.jsonl (a line a run), curves.jsonl, settings.json, the copies, curves.png,
    and for each method the classes that were answered. --transfer fgsm also makes adversarial
    examples on the copies and hands them to the victim. Ctrl-C keeps a checkpoint (exit code 130),
    and the same command with the same --out goes on from it as if nothing had happened. Ask what
    is yours, or what you were asked to audit.
    """
    from fedsec.cli.bars import moving_bar
    from fedsec.cli.keeping import Kept
    from fedsec.cli.rerun import rerun_command
    from fedsec.cli.stealing import theft_of
    from fedsec.cli.stolen import results_of, write_theft
    from fedsec.cli.threads import few_threads

    with moving_bar(json, "steps") as bar:
        theft = theft_of(flags, seeds, out, bar)
    kept = Kept.of(out, theft, rerun_command())
    with (
        theft,
        few_threads(theft.substitute(flags.seed)),
        first_interrupt("after this iteration") as asked,
        moving_bar(json, "queries") as bar,
    ):
        runs = theft.play(kept, asked, bar)
        if len(runs) < len(theft.runs):
            say(f"interrupted: {kept.advice()}", "yellow")
            raise typer.Exit(INTERRUPTED)
        results = results_of(theft, kept, runs)
    if kept.folder is not None:
        write_theft(kept, theft, runs, results)
    if json:
        for result in results:
            typer.echo(result.to_json())
    else:
        show_theft(theft, results)
        if kept.folder is not None:
            typer.echo(f"written to {kept.folder}")


def show_theft(theft: Theft, results: list[Result]) -> None:
    """A row a method: medians over seeds, the worst in brackets; then what it means."""
    from fedsec.cli.stolen import defence_lines, table_of, verdict
    from fedsec.cli.tables import show

    show(*table_of(theft, results))
    for line in [*defence_lines(theft, results), *verdict(theft, results)]:
        typer.echo(line)
