"""`fedsec invert`: rebuild a client's images from what it sent, by one attack."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Annotated

import typer

from fedsec.cli.exits import INTERRUPTED, first_interrupt, say
from fedsec.cli.flags import JsonOption, with_options
from fedsec.cli.target import RUNNING, TargetFlags

if TYPE_CHECKING:
    from fedsec.cli.inverting import Inversion

ATTACK, KNOWS = "Attack", "What the attacker does not know"
ATTACKS_SAID = "dlg, idlg, inverting-gradients, gradinversion, analytic, agic, simulation, sme"
DIFFUSION_SAID = "gidm, gidm-latent, pixels, dlg, inverting-gradients, gidm+"
DEFENCES_SAID = (
    "clip, gaussian-noise, absolute-noise, relative-noise, top-k, quantise, signs, soteria, dp-sgd"
)


@with_options(TargetFlags)
def invert(
    flags: TargetFlags,
    attack: Annotated[
        str | None,
        typer.Option(
            "--attack",
            "--method",
            help=f"{ATTACKS_SAID}; on --victim diffusion: {DIFFUSION_SAID}.",
            show_default="inverting-gradients; gidm+ on diffusion",
            rich_help_panel=ATTACK,
        ),
    ] = None,
    iterations: Annotated[
        int | None,
        typer.Option(
            help="Steps at most.", show_default="the attack's own", rich_help_panel=ATTACK
        ),
    ] = None,
    restarts: Annotated[
        int | None,
        typer.Option(
            help="Starts side by side, of which the best counts.",
            show_default="the attack's own",
            rich_help_panel=ATTACK,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Another setting of the attack, NAME=VALUE, as tv=0.01; repeatable.",
            rich_help_panel=ATTACK,
        ),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="End after so long.", rich_help_panel=ATTACK)
    ] = None,
    recover_labels: Annotated[
        bool,
        typer.Option(
            "--recover-labels",
            help="The attacker does not know the labels.",
            rich_help_panel=KNOWS,
        ),
    ] = False,
    unknown: Annotated[
        list[str] | None,
        typer.Option(
            help="The attacker does not know this: labels, lr, steps, batch, order, t or noise;"
            " repeatable.",
            show_default="all that is given is known",
            rich_help_panel=KNOWS,
        ),
    ] = None,
    drawn_by: Annotated[
        str | None,
        typer.Option(
            help="Who drew a diffusion client's time steps and noise: server (the attacker knows"
            " both), or client (they are private).",
            show_default="client for gidm+, else server",
            rich_help_panel=KNOWS,
        ),
    ] = None,
    defence: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What the client does before it sends: {DEFENCES_SAID}; with settings, as"
            " top-k:share=0.1. Repeat it for several, in their order.",
            rich_help_panel="Defence",
        ),
    ] = None,
    adaptive: Annotated[
        bool,
        typer.Option(
            "--adaptive", help="The attacker knows the defence.", rich_help_panel="Defence"
        ),
    ] = False,
    out: Annotated[
        str | None,
        typer.Option(
            help="Folder for results, reconstructions, pictures and settings.",
            rich_help_panel=RUNNING,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Rebuild a client's images from the gradient or update that it sent.

    `fedsec invert --data digits --net cnn --attack agic --images 4 --batch 1 --out DIR` makes a
    client from the data set, attacks what it would have sent, and scores. `fedsec invert --update
    update.safetensors --weights model.safetensors --net cnn --n 4` attacks what somebody sent; so
    does --recording FOLDER, of an UpdateTap. Scores of such a one need --truth.

    `fedsec invert --victim diffusion --method gidm+` does the same to a client that trains a
    diffusion model and drew its time steps and noise itself; with `--method gidm --prior
    teacher.safetensors` to one whose steps and noise the server sent.

    DIR gets results.jsonl, reconstructions.npz, pictures.png and settings.json. Scores are of
    matched images, beside those of guesses that use no update. Ctrl-C keeps the best so far (exit
    code 130). Attack what is yours, or what you were asked to audit.
    """
    from fedsec.cli.bars import attack_bar
    from fedsec.cli.checks import goes_with, one_of
    from fedsec.cli.inverting import (
        DRAWS,
        FOR_PRIVATE,
        USUAL_ATTACK,
        attack_from,
        invert_target,
        knowledge_of,
        result_of,
        write_inversion,
    )
    from fedsec.cli.output import checked_new, new_folder
    from fedsec.cli.rerun import rerun_command
    from fedsec.cli.targets import VICTIMS, target_of
    from fedsec.cli.threads import few_threads
    from fedsec.errors import SettingsError

    folder = None if out is None else checked_new(out)
    if seconds is not None and not seconds > 0:
        raise SettingsError(f"--seconds is {seconds}: give a number above 0")
    one_of("--victim", flags.victim, VICTIMS)
    goes_with("--drawn-by", drawn_by, flags.victim == "diffusion", "--victim diffusion")
    name = attack or USUAL_ATTACK[flags.victim]
    made = attack_from(
        name, settings or [], {"iterations": iterations, "restarts": restarts}, flags.victim
    )
    who = drawn_by or ("client" if name == FOR_PRIVATE else "server")
    one_of("--drawn-by", who, DRAWS)
    target = target_of(flags)
    knowledge = knowledge_of(
        target.subject.facts, unknown or [], recover_labels, private=who == "client"
    )
    with (
        few_threads(target.net),
        first_interrupt("with the best so far") as asked,
        attack_bar(json, asked, inf if seconds is None else seconds) as watch,
    ):
        done = invert_target(
            target, name, made, knowledge, flags, defences=defence or [], adaptive=adaptive,
            watch=watch,
        )  # fmt: skip
    result = result_of(done)
    if folder is not None:
        with new_folder(folder) as temporary:
            write_inversion(temporary, done, result, rerun_command())
    if json:
        typer.echo(result.to_json())
    else:
        show_inversion(done)
        if folder is not None:
            typer.echo(f"written to {folder}")
    if result.measures["stopped"] == "interrupted":
        say(f"interrupted after {result.measures['iterations']} iterations: this is the best so"
            " far", "yellow")  # fmt: skip
        raise typer.Exit(INTERRUPTED)


def show_inversion(done: Inversion) -> None:
    """The scores beside those of guesses; without the truth the loss and the nearest images."""
    from fedsec.cli.tables import show

    finding, found = done.finding, done.finding.found
    assert found is not None
    ended = {"done": "", "time": ", ended by time", "diverged": ", diverged"}.get(found.stopped, "")
    title = (
        f"{finding.attack} on {done.target.client}, {done.target.model}: loss {found.loss:.4g}"
        f" after {found.iterations:,} iterations, {found.seconds:.1f} s{ended}"
    )
    if finding.scores is None:
        show(title, *_without_truth(done))
        typer.echo("scores need the true images: --truth")
    else:
        show(f"{title}; medians over {done.target.subject.n} images", *_scored(done))
    if found.t is not None:
        true = done.target.subject.facts.t
        of_truth = "" if true is None else f"; they were {', '.join(map(str, true))}"
        typer.echo(f"time steps: {', '.join(map(str, found.t))}{of_truth}")
    if found.phases and "latent" not in found.phases and done.target.subject.prior is None:
        typer.echo("no trained model (--prior), so pixels alone were looked for")
    typer.echo(f"the attacker {finding.knowledge}")


Rows = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Head and rows of a table."""


def _scored(done: Inversion) -> Rows:
    from fedsec.cli.tables import number
    from fedsec.inversion.audit.verdict import GUESSES

    assert done.finding.scores is not None
    every = {done.finding.attack: done.finding.scores} | {
        f"{GUESSES[name]} (no update)": one for name, one in done.ground.guesses.items()
    }
    told = done.finding.knowledge.labels is not None
    rows: list[tuple[str, ...]] = []
    for name, scores in every.items():
        one = scores.summary()
        share, right = (
            number(None if one[key] is None else 100 * one[key], 0)
            for key in ("share_reidentified", "share_labels_correct")
        )
        if told and name == done.finding.attack:
            right = "told"
        rows.append(
            (name, number(one["psnr_median"], 1), number(one["ssim_median"], 2), share, right)
        )  # fmt: skip
    return ("", "PSNR dB", "SSIM", "re-identified %", "labels right %"), rows


def _without_truth(done: Inversion) -> Rows:
    names, finding = done.target.images.classes, done.finding
    assert finding.nearest is not None and finding.found is not None
    labels = finding.found.labels
    return ("reconstruction", "label", "nearest training image"), [
        (str(place), "–" if labels is None else names[int(labels[place])], str(at))
        for place, at in enumerate(finding.nearest)
    ]
