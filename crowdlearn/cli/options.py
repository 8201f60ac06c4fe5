"""Options that commands share, and how their text becomes settings."""

from __future__ import annotations

import csv
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from crowdlearn.errors import SettingsError

DEFAULT_METHOD = "bcc"

VotesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="VOTES...",
        help="Files of votes (CSV, JSON Lines, Parquet; .gz too), globs, URLs such as "
        "s3://bucket/*.parquet, or - for standard input.",
        show_default=False,
    ),
]
ResultArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="VOTES...",
        help="Files of votes, or a folder that 'aggregate --out' wrote.",
        show_default=False,
    ),
]
MethodOption = Annotated[
    str | None,
    typer.Option("--method", "-m", help=f"Name of the method; {DEFAULT_METHOD} if not given."),
]
TruthOption = Annotated[
    str | None,
    typer.Option(help="File with the columns task,label of known truths, to score the result."),
]
GoldOption = Annotated[
    str | None,
    typer.Option(help="File with the columns task,label of answers that the fit must keep."),
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(help="Where the columns are, as item=doc,worker=rater,label=vote."),
]
ClassesOption = Annotated[
    str | None, typer.Option(help="All classes in their order, as cat,dog. Else those seen.")
]
ResumeOption = Annotated[
    str | None,
    typer.Option(help="Folder of an earlier result of the same sampler, to add draws to."),
]
HistoryOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder of an earlier result, whose votes are a prior for its workers; repeatable.",
    ),
]
DiscountOption = Annotated[
    float | None,
    typer.Option(help="How many votes a vote of --history counts, 0 to 1.", show_default="1"),
]
StoryOption = Annotated[
    str | None,
    typer.Option(
        help="The generative story of the method bayes: a name, or module:function of your own.",
        show_default=False,
    ),
]
InferenceOption = Annotated[
    str | None,
    typer.Option(
        help="How bayes inverts the story: nuts, svi, svi-pyro, gibbs or cavi.", show_default=False
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting of the method; may be repeated."),
]
EXPERT = "(expert)"  # the worker whose votes are the answers of an expert who may err
ExpertAccuracyOption = Annotated[
    float | None,
    typer.Option(
        min=0, max=1,
        help="Share of right answers of an expert who may err: they count as votes of a worker who "
        "is known to be so good. Without it they are taken as certain.",
    ),
]  # fmt: skip
SeedOption = Annotated[
    int | None, typer.Option(help="Seed of all that is drawn.", show_default="0")
]
SweepsOption = Annotated[int | None, typer.Option(help="Sweeps at most.", show_default="by method")]
ToleranceOption = Annotated[
    float | None,
    typer.Option(
        help="Stop when no posterior probability moves by more.", show_default="by method"
    ),
]
DeviceOption = Annotated[
    str | None, typer.Option(help="Where to compute: auto, cpu or gpu.", show_default="auto")
]
LARGE = "Votes larger than memory"  # the panel of their options
AnyDeviceOption = Annotated[
    str | None,
    typer.Option(
        help="Where to compute: cpu, gpu, ray (a cluster, or this machine), ray://HOST:PORT, or "
        "auto: ray in a process that belongs to a cluster, else what this machine has.",
        show_default="what this machine has",
    ),
]
MemoryOption = Annotated[
    str | None,
    typer.Option(
        help="What the work on this machine may take, as 4GB: votes then take turns.",
        show_default="all votes at once", rich_help_panel=LARGE,
    ),
]  # fmt: skip
ActorsOption = Annotated[
    int | None,
    typer.Option(
        help="Processes on a cluster.", show_default="one for each core", rich_help_panel=LARGE
    ),
]
CheckpointOption = Annotated[
    str | None,
    typer.Option(
        help="Folder to note how far the fit is; the same command goes on from it.",
        rich_help_panel=LARGE,
    ),
]
CodedOption = Annotated[
    str | None,
    typer.Option(
        help="Folder for the coded votes: kept, and used again by the same votes.",
        show_default="a temporary one, or CHECKPOINT/coded", rich_help_panel=LARGE,
    ),
]  # fmt: skip
DropOption = Annotated[
    bool,
    typer.Option("--drop-missing", help="Leave out rows with a missing value, with a warning."),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON for machines instead of tables.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print no tables, no progress.")]


def columns_of(text: str | None) -> dict[str, str] | None:
    """`item=doc,worker=rater` as a dictionary. Raises SettingsError for anything else."""
    if text is None:
        return None
    return dict(_pair(part, "--columns", "item=doc,worker=rater,label=vote") for part in _row(text))


def classes_of(text: str | None) -> list[str] | None:
    """`cat,dog` as a list; a name with a comma stands in double quotes."""
    return None if text is None else _row(text)


def source_of(paths: list[str]) -> Any:
    """One path as it is, several as a list."""
    return paths[0] if len(paths) == 1 else paths


def title_of(paths: list[str]) -> str:
    """The title of a report on these votes: file names without their folders."""
    names = ["standard input" if path == "-" else Path(path).name for path in paths]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"From votes to truth: {', '.join(names[:3])}{more}"


def make_method(name: str | None, flags: Mapping[str, Any], pairs: Iterable[str] | None) -> Any:
    """The method of this name with the settings that were given (a flag of None was not).

    `pairs` hold `setting=value`; values are read as the type of the method's field. Raises
    SettingsError for an unknown method, a setting the method lacks, or a value it cannot have.
    """
    from crowdlearn.aggregators import AGGREGATORS, aggregator

    if flags.get("story") or flags.get("inference"):
        name = name or "bayes"
    name = name or DEFAULT_METHOD
    if name not in AGGREGATORS:
        return aggregator(name)  # says which there are
    kinds = {field.name: str(field.type) for field in fields(AGGREGATORS[name])}
    chosen = {key: value for key, value in flags.items() if value is not None}
    if chosen.get("device") == "auto" and "device" not in kinds:
        del chosen["device"]
    texts = dict(_pair(pair, "--set", "pseudocount=0.1") for pair in pairs or ())
    texts = {key.replace("-", "_"): value for key, value in texts.items()}
    if name == "bayes":
        chosen, texts = for_bayes(chosen, texts, kinds)
    for key in [*chosen, *texts]:
        if key not in kinds:
            raise SettingsError(
                f"{name} has no setting {key!r}; its settings are {', '.join(kinds)}"
            )
    chosen |= {key: typed(key, value, kinds[key]) for key, value in texts.items()}
    return aggregator(name, **chosen)


def make_stream(
    name: str, seed: int | None, pairs: Iterable[str] | None, expert_accuracy: float | None = None
) -> Any:
    """The streaming method of this name with the settings that were given.

    With an accuracy the worker `EXPERT` is known to be right that often.
    """
    from crowdlearn.experts import strong_prior
    from crowdlearn.online import STREAMS, stream

    if name not in STREAMS:
        return stream(name)  # says which there are
    kinds = {field.name: str(field.type) for field in fields(STREAMS[name])}
    texts = dict(_pair(pair, "--set", "forget=0.99") for pair in pairs or ())
    texts = {key.replace("-", "_"): value for key, value in texts.items()}
    chosen = {key: typed(key, value, kinds.get(key, "str")) for key, value in texts.items()}
    if expert_accuracy is not None:
        chosen["experts"] = {EXPERT: strong_prior(expert_accuracy)}
    return stream(name, **chosen | ({} if seed is None else {"seed": seed}))


def for_bayes(
    chosen: dict[str, Any], texts: dict[str, str], kinds: dict[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings of `Bayes`, and the texts that are left: others are the engine's or the story's.

    `n_draws=200` is a setting of the engine where that has one, else a hyperparameter.
    """
    from crowdlearn.aggregators.engines import engine_of

    engine = engine_of(chosen.get("inference", "nuts"))
    of_engine = {field.name: str(field.type) for field in fields(engine)}
    texts |= {k: str(chosen.pop(k)) for k in ("max_sweeps", "tolerance") if k in chosen}
    inference = {k: typed(k, v, of_engine[k]) for k, v in texts.items() if k in of_engine}
    left = {k: v for k, v in texts.items() if k in kinds and k not in of_engine}
    parameters = {
        k: _number(k, v) for k, v in texts.items() if k not in of_engine and k not in kinds
    }
    engine_settings = {"name": engine.name, **inference}
    return chosen | {"inference": engine_settings, "parameters": parameters or None}, left


def _number(name: str, text: str) -> int | float:
    """A hyperparameter: a whole number where it is written as one."""
    try:
        return int(text)
    except ValueError:
        return float(typed(name, text, "float"))


def typed(name: str, text: str, kind: str) -> Any:
    """Text as a value of the annotated type. Raises SettingsError where it is none."""
    if kind == "Start":
        return _start(name, text)
    if kind in ("float", "int"):
        try:
            return float(text) if kind == "float" else int(text)
        except ValueError:
            wanted = "a number" if kind == "float" else "a whole number"
            raise SettingsError(f"--set {name}={text}: {text!r} is not {wanted}") from None
    if kind == "bool":
        if text.lower() not in ("true", "false"):
            raise SettingsError(f"--set {name}={text}: {text!r} is neither true nor false")
        return text.lower() == "true"
    if kind == "str":
        return text
    if kind == "tuple[float, float]":
        low, high = _pair(text.replace(",", "=", 1), f"--set {name}", "0.5,0.9")
        return typed(name, low, "float"), typed(name, high, "float")
    raise SettingsError(f"{name} cannot be set from the command line: use the library")


def world_settings(world: Any, pairs: Iterable[str] | None) -> dict[str, Any]:
    """`setting=value` texts as keyword arguments of a simulated world's function."""
    kinds = {
        key: str(parameter.annotation).split(" | ")[0]
        for key, parameter in inspect.signature(world).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and key not in ("assign", "seed")
    }
    texts = dict(_pair(pair, "--set", "accuracy=0.5,0.9") for pair in pairs or ())
    for key in texts:
        if key not in kinds:
            raise SettingsError(
                f"this world has no setting {key!r}; its settings are {', '.join(kinds) or 'none'}"
            )
    return {key: typed(key, value, kinds[key]) for key, value in texts.items()}


def _start(name: str, text: str) -> Any:
    from crowdlearn.inference.starts import STARTS

    if text not in STARTS:
        raise SettingsError(f"--set {name}={text}: choose from {', '.join(STARTS)}")
    return STARTS[text]


def _pair(text: str, flag: str, example: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not (key.strip() and sign and value.strip()):
        raise SettingsError(f"{flag} {text}: write it as {example}")
    return key.strip(), value.strip()


def _row(text: str) -> list[str]:
    return [part.strip() for part in next(csv.reader([text], skipinitialspace=True))]
