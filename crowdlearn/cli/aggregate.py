"""`crowdlearn aggregate` and `crowdlearn demo`: votes in, labels and a report out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crowdlearn.cli.coded import fit_files
from crowdlearn.cli.exits import INTERRUPTED, print_json, say
from crowdlearn.cli.fitting import fit_or_stop, read, read_known, watched
from crowdlearn.cli.options import (
    DEFAULT_METHOD,
    ActorsOption,
    AnyDeviceOption,
    CheckpointOption,
    ClassesOption,
    CodedOption,
    ColumnsOption,
    DiscountOption,
    DropOption,
    GoldOption,
    HistoryOption,
    InferenceOption,
    JsonOption,
    MemoryOption,
    MethodOption,
    QuietOption,
    ResumeOption,
    SeedOption,
    SetOption,
    StoryOption,
    SweepsOption,
    ToleranceOption,
    TruthOption,
    VotesArgument,
    make_method,
    title_of,
)
from crowdlearn.errors import SettingsError

if TYPE_CHECKING:
    from crowdlearn.aggregation import Aggregation

DEMO_METHODS = ("majority", "dawid-skene", "bcc-gibbs", "idbla")

OutOption = Annotated[
    str | None,
    typer.Option(
        help="Folder for labels.csv, workers.csv, posterior.parquet, summary.json and report.html; "
        "of votes larger than memory posterior/, workers.parquet, summary.json and the parameters."
    ),
]


def aggregate(
    votes: VotesArgument,
    method: MethodOption = None,
    story: StoryOption = None,
    inference: InferenceOption = None,
    truth: TruthOption = None,
    gold: GoldOption = None,
    out: OutOption = None,
    columns: ColumnsOption = None,
    classes: ClassesOption = None,
    settings: SetOption = None,
    seed: SeedOption = None,
    max_sweeps: SweepsOption = None,
    tolerance: ToleranceOption = None,
    device: AnyDeviceOption = None,
    drop_missing: DropOption = False,
    resume: ResumeOption = None,
    history: HistoryOption = None,
    discount: DiscountOption = None,
    memory: MemoryOption = None,
    coded: CodedOption = None,
    actors: ActorsOption = None,
    checkpoint: CheckpointOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Estimate each item's label, and each worker's accuracy, from votes.

    Prints what stands out, or with --out writes a folder: labels.csv, workers.csv,
    posterior.parquet, summary.json, report.html. Ctrl-C stops after the current sweep and keeps the
    result so far (exit code 130); a second Ctrl-C leaves at once.

    With --memory, --coded, --actors, --checkpoint or --device ray the votes may be larger than
    memory: they are coded on disk first, and OUT is as of `crowdlearn shards fit`.
    """
    from crowdlearn.shards.amounts import bytes_of
    from crowdlearn.shards.homes import home_of

    flags = {"seed": seed, "max_sweeps": max_sweeps, "tolerance": tolerance, "device": device}
    flags |= {"story": story, "inference": inference}
    room, asked = bytes_of(memory), not (coded is None and checkpoint is None)
    name = method or ("bayes" if story or inference else DEFAULT_METHOD)
    home = home_of(name, device, room, actors, asked)
    if home is not None:
        others = {"--truth": truth, "--resume": resume, "--history": history}
        _refuse(others | {"--discount": discount})
        chosen = make_method(method, flags | {"device": home}, settings)
        fit_files(
            votes, chosen, out, device=home, coded=coded, memory=room, actors=actors,
            checkpoint=checkpoint, columns=columns, classes=classes, drop_missing=drop_missing,
            gold=gold, json=json, quiet=quiet,
        )  # fmt: skip
        return
    chosen = make_method(method, flags, settings)
    read_in = read(votes, columns, classes, drop_missing)
    known, given = read_known(truth, read_in), read_known(gold, read_in)
    fit, interrupted = fit_or_stop(
        chosen, read_in, gold=given, resume=resume, history=history, discount=discount,
        progress=watched(json, quiet),
    )  # fmt: skip
    present(fit, known, out=out, title=title_of(votes), json=json, quiet=quiet)
    if interrupted:
        kept = f"written to {out}" if out else "shown"
        n_sweeps = fit.history.n_sweeps
        say(f"interrupted: the result after {n_sweeps:,} sweeps was {kept}", "yellow")
        raise typer.Exit(INTERRUPTED)


def _refuse(flags: dict[str, Any]) -> None:
    """Raise SettingsError for what coded votes have no use for."""
    for flag, value in flags.items():
        if value is not None:
            raise SettingsError(
                f"{flag}: is for votes in memory, and --memory, --coded, --actors, --checkpoint and"
                " --device ray are for larger ones: leave out one or the other"
            )


def demo(
    out: Annotated[str, typer.Option(help="Folder for the result.")] = "crowdlearn-demo",
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Aggregate real votes that ship with the package, and write a report.

    Five anaesthetists rated 45 patients on a scale of four, one of them three times (Dawid and
    Skene 1979). Nobody knows the truth. Four methods give their labels.
    """
    from crowdlearn.datasets import load

    votes = load("anesthesia")
    fits = {}
    for name in DEMO_METHODS:
        fits[name], interrupted = fit_or_stop(
            make_method(name, {}, None), votes, progress=watched(json, quiet)
        )
        if interrupted:
            raise KeyboardInterrupt
    if not (json or quiet):
        show_side_by_side(fits)
    title = "Demonstration: 45 patients, 5 anaesthetists"
    present(fits["dawid-skene"], None, out=out, title=title, json=json, quiet=quiet)
    if not (json or quiet):
        report = Path(out) / "report.html"
        typer.echo(f"\nNext: open {report} in a browser, then try your own file:")
        typer.echo("  crowdlearn aggregate votes.csv --out result   (columns task,worker,label)")
        typer.echo(f"  crowdlearn explain {out} 12   (why patient 12 got that label)")


def present(
    fit: Aggregation, truth: Any, *, out: str | None, title: str, json: bool, quiet: bool
) -> None:
    """Write the result where `out` says so, and print it as tables or JSON."""
    from crowdlearn.cli.results import FILES, summary_of, write_result

    summary = summary_of(fit, truth)
    if out is not None:
        write_result(fit, out, summary, truth, title)
    if json:
        print_json(summary | {"out": out})
    elif not quiet:
        _print_fit(fit, summary, whole=out is None)
        if out is not None:
            typer.echo(f"\nWritten to {out}: {', '.join(FILES)}")


def show_side_by_side(fits: dict[str, Aggregation]) -> None:
    """A table of the items on which the methods differ, with each one's label."""
    from crowdlearn.cli.tables import show
    from crowdlearn.highlights import item_names

    labels = {name: fit.label_names().to_pylist() for name, fit in fits.items()}
    first = next(iter(fits.values()))
    differ = [i for i, row in enumerate(zip(*labels.values(), strict=True)) if len(set(row)) > 1]
    rows = [
        (name, *(f"{labels[m][i]} ({fits[m].confidence[i]:.2f})" for m in fits))
        for i, name in zip(differ, item_names(first.votes, _codes(differ)), strict=True)
    ]
    n_items = first.votes.n_items
    title = (
        f"The methods give {n_items - len(differ)} of {n_items} items the same label; the others"
    )
    show(title, ("item", *fits), rows)


def _codes(found: list[int]) -> Any:
    import numpy as np

    return np.array(found, dtype=np.int64)


def _print_fit(fit: Aggregation, summary: dict[str, Any], whole: bool) -> None:
    from crowdlearn.cli.tables import show_contested, show_fit
    from crowdlearn.highlights import in_words

    for sentence in in_words(fit):
        typer.echo(sentence)
    found = summary.get("evaluation")
    if found is not None:
        typer.echo(
            f"Against {found['n_truth']:,} known truths {found['error']:.2%} of the labels are "
            f"wrong (plain majority: {found['majority_error']:.2%}); "
            f"log loss {found['log_loss']:.3f}, calibration error {found['ece']:.3f}."
        )
    typer.echo()
    if whole:
        show_fit(fit)
    else:
        show_contested(fit, 5)
