"""`fedsec audit`: what an update reveals, to whom, and what stops it, as a report."""

from __future__ import annotations

from typing import Annotated

import typer

from fedsec.cli.exits import INTERRUPTED, first_interrupt, print_json, say
from fedsec.cli.flags import JsonOption, with_options
from fedsec.cli.target import RUNNING, TargetFlags

LOOKED_AT = "What is looked at"


@with_options(TargetFlags)
def audit(
    flags: TargetFlags,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Fewer iterations, defences and clients: a few minutes for digits.",
            rich_help_panel=LOOKED_AT,
        ),
    ] = False,
    threat: Annotated[
        list[str] | None,
        typer.Option(
            help="Threat model: update, labels, recipe or everything; of a diffusion model"
            " private-noise or known-noise; repeatable.",
            show_default="all",
            rich_help_panel=LOOKED_AT,
        ),
    ] = None,
    attack: Annotated[
        list[str] | None,
        typer.Option(
            help="dlg, idlg, inverting-gradients, gradinversion, analytic, agic, simulation, sme;"
            " on a diffusion model gidm, gidm-latent, pixels, dlg, inverting-gradients, gidm+;"
            " repeatable.",
            show_default="all",
            rich_help_panel=LOOKED_AT,
        ),
    ] = None,
    defence: Annotated[
        list[str] | None,
        typer.Option(
            help="Defence whose strength is varied: noise, top-k, bits, soteria, dp-sgd;"
            " repeatable.",
            show_default="all; quick: the first three",
            rich_help_panel=LOOKED_AT,
        ),
    ] = None,
    iterations: Annotated[
        int | None,
        typer.Option(
            help="Of every attack, at most.",
            show_default="2000, quick 400; curves fewer",
            rich_help_panel=LOOKED_AT,
        ),
    ] = None,
    restarts: Annotated[
        int | None,
        typer.Option(
            help="Starts of every attack.", show_default="2, quick 1", rich_help_panel=LOOKED_AT
        ),
    ] = None,
    clients: Annotated[
        int | None,
        typer.Option(
            help="Clients that curves are measured on; 0 for no curves.",
            show_default="4, quick 2",
            rich_help_panel=LOOKED_AT,
        ),
    ] = None,
    cost_rounds: Annotated[
        int | None,
        typer.Option(
            help="Rounds of training after which accuracy with a defence is taken; 0 for none.",
            show_default="20, quick 10",
            rich_help_panel=LOOKED_AT,
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            help="Time for all. Every part has an equal share of what is left: attacks end earlier"
            " and may show less, which the report says.",
            rich_help_panel=RUNNING,
        ),
    ] = None,
    out: Annotated[
        str, typer.Option(help="Folder for audit.html and audit.json.", rich_help_panel=RUNNING)
    ] = "audit",
    json: JsonOption = False,
) -> None:
    """Report what an update reveals, to whom, and which defence stops it at which cost.

    `fedsec audit --model mine:make_net --update update.safetensors --weights model.safetensors
    --data digits --truth images.npz` audits what a client sent; `--recording FOLDER --round 1
    --client 3` a Flower run that an UpdateTap recorded. Without either a client is made from the
    data set. Without --truth the pictures are shown, and nothing is scored. `--victim diffusion
    --prior teacher.safetensors` audits a client that trains a diffusion model.

    DIR gets audit.html, one file to open in a browser, and audit.json with the same figures: every
    attack that fits each threat model, pictures beside the true images, scores beside those of
    guesses, curves of leakage against defences, local steps and batch size, and a verdict in words.
    Ctrl-C writes the report with what is done (exit code 130). Audit what is yours, or what you
    were asked to audit.
    """
    from fedsec.cli.auditing import cost_of, following, scope_of, show_audit
    from fedsec.cli.output import checked_new, new_folder, write_settings
    from fedsec.cli.rerun import rerun_command
    from fedsec.cli.targets import target_of
    from fedsec.cli.threads import few_threads
    from fedsec.inversion.audit import About, to_record, write_audit
    from fedsec.inversion.audit import audit as audited

    folder = checked_new(out)
    scope = scope_of(
        quick, {"threats": threat, "attacks": attack, "ladders": defence},
        {"iterations": iterations, "restarts": restarts, "clients": clients,
         "cost_rounds": cost_rounds},
        seconds, flags.victim,
    )  # fmt: skip
    target = target_of(flags)
    with (
        few_threads(target.net),
        first_interrupt("with what is done so far") as asked,
        following(json, asked, seconds) as follow,
    ):
        found = audited(
            target.subject, target.images, recipe=target.recipe, scope=scope,
            cost=cost_of(target, flags.seed), seed=flags.seed, follow=follow,
        )  # fmt: skip
    about = About(model=target.model, client=target.client, rerun=rerun_command())
    with new_folder(folder) as made:
        write_settings(made, {"what": "audit", "rerun": about.rerun})
        write_audit(found, made, about)
    if json:
        print_json(to_record(found, about))
    else:
        show_audit(found)
        typer.echo(f"written to {folder}")
    if asked.is_set():
        say("interrupted: the report has what was done so far", "yellow")
        raise typer.Exit(INTERRUPTED)
    if found.left_out or found.cut_short:
        say(
            f"time was short: {len(found.left_out)} parts were left out, and"
            f" {len(found.cut_short)} attacks ended early, so more may leak than this shows",
            "yellow",
        )
