"""`crowdlearn pipeline`: votes and features, chunk by chunk, with an expert for a few items."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crowdlearn.cli.exits import INTERRUPTED, first_interrupt, print_json, say
from crowdlearn.cli.options import (
    EXPERT,
    ClassesOption,
    ColumnsOption,
    DropOption,
    ExpertAccuracyOption,
    JsonOption,
    SeedOption,
    SetOption,
    TruthOption,
    classes_of,
    columns_of,
    make_stream,
    source_of,
)


def pipeline(
    votes: Annotated[list[str], typer.Option("--votes", help="Files of votes.")],
    features: Annotated[
        str,
        typer.Option(
            help="An .npz file: 'features' (a row an item) and 'items' (their names; without it "
            "row i is item i). 'test_features' and 'test_labels' are scored too where present."
        ),
    ],
    truth: TruthOption = None,
    expert: Annotated[
        str | None,
        typer.Option(help="File with the columns task,label: the expert. Else --truth is asked."),
    ] = None,
    classifier: Annotated[str, typer.Option(help="svm, logistic or network.")] = "svm",
    budget: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the items the expert is asked about.")
    ] = 0.10,
    strategy: Annotated[
        str,
        typer.Option(
            help="Whom to ask about: cent, entropy, margin, least-confident, information, "
            "error-reduction, random."
        ),
    ] = "cent",
    chunk: Annotated[int, typer.Option(min=1, help="Items a chunk.")] = 100,
    method: Annotated[
        str, typer.Option("--method", "-m", help="bcc, idbla, majority, bila or consensus.")
    ] = "bcc",
    expert_accuracy: ExpertAccuracyOption = None,
    resettle: Annotated[
        bool,
        typer.Option(help="Settle all items anew whenever the votes have doubled, and at the end."),
    ] = True,
    alike_within: Annotated[
        float | None,
        typer.Option(
            help="Distance of features up to which the items of a chunk are near copies, of which "
            "one is asked about first."
        ),
    ] = None,
    soft: Annotated[bool, typer.Option(help="Train on posteriors instead of labels.")] = False,
    out: Annotated[
        str | None,
        typer.Option(help="File for the labels: task, label, confidence, source."),
    ] = None,
    columns: ColumnsOption = None,
    classes: ClassesOption = None,
    settings: SetOption = None,
    seed: SeedOption = None,
    drop_missing: DropOption = False,
    json: JsonOption = False,
) -> None:
    """Clean the crowd's labels with an expert's help and train a classifier on them.

    Items come in the order of the votes, --chunk at a time; a line for each chunk tells the label
    error so far where truth is given, and the test accuracy where the features have test items.
    With --resettle the last line has all items settled together. Without --truth and --expert
    nobody is asked, and the most urgent items are told at the end.
    """
    from crowdlearn.io import read_labels, read_votes
    from crowdlearn.learning import Expert, NoisyCrowdPipeline
    from crowdlearn.learning import classifier as classifier_of
    from crowdlearn.learning.files import read_features
    from crowdlearn.learning.running import chunks, label_rows, write_labels

    read = read_votes(
        source_of(votes), columns=columns_of(columns), classes=classes_of(classes),
        drop_missing=drop_missing,
    )  # fmt: skip
    table = read_features(features)
    truths = {} if truth is None else read_labels(truth, read.classes)
    known = truths if expert is None else read_labels(expert, read.classes)
    run = NoisyCrowdPipeline(
        aggregator=make_stream(method, seed, settings, expert_accuracy),
        classifier=classifier_of(classifier), budget=budget, strategy=strategy, soft=soft,
        expert_worker=None if expert_accuracy is None else EXPERT, resettle=resettle,
        alike_within=alike_within, seed=seed or 0,
    )  # fmt: skip
    asked = Expert(known) if known else None
    state = run.init(read.classes)
    with first_interrupt() as interrupted:
        for part, rows in chunks(read, table, chunk):
            state, _ = run.step(state, part, rows, asked)
            _tell(_line(state, read.classes, truths, table), json)
            if interrupted.is_set():
                break
        else:
            if resettle and state.n_settled < state.stream.n_votes:
                state = run.finish(state)
                _tell(_line(state, read.classes, truths, table), json)
    if out is not None:
        write_labels(Path(out), label_rows(run, state))
    if asked is None and state.names:
        _next(run, state, json)
    if interrupted.is_set():
        say(f"interrupted after {len(state.names):,} items", "yellow")
        raise typer.Exit(INTERRUPTED)


def _line(
    state: Any, classes: tuple[str, ...], truths: dict[str, str], table: Any
) -> dict[str, Any]:
    """Items, answers, label error so far, test accuracy."""
    from crowdlearn.learning.running import accuracy_on_test, label_error_of

    return {
        "items": len(state.names),
        "asked": len(state.asked),
        "label_error": label_error_of(state, classes, truths),
        "test_accuracy": accuracy_on_test(state, classes, table),
    }


def _tell(row: dict[str, Any], json: bool) -> None:
    if json:
        print_json(row)
        return
    error = "" if row["label_error"] is None else f"  label error {row['label_error']:.1%}"
    test = "" if row["test_accuracy"] is None else f"  test accuracy {row['test_accuracy']:.1%}"
    typer.echo(f"items {row['items']:,}  asked {row['asked']:,}{error}{test}")


def _next(run: Any, state: Any, json: bool) -> None:
    """Nobody was there to ask: what should an expert see?"""
    from crowdlearn.learning.running import to_ask

    names = to_ask(run, state)
    if json:
        print_json({"ask": names})
    elif names:
        shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        typer.echo(f"ask an expert about {len(names):,} items: {shown}")
