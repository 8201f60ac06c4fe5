"""The files of a training: results, history, models, settings, plots."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from matplotlib.figure import Figure
from safetensors.torch import save_file

from fedsec import plots
from fedsec.cli.experiment import Experiment, Run
from fedsec.cli.outcome import accuracies, maverick_recalls
from fedsec.cli.output import write_settings
from fedsec.core.record import Result, write_results
from fedsec.federated.history import to_table
from fedsec.federated.simulate import Progress

DOTS = 130  # an inch
MAX_MAPS = 9  # selectors up to which selection is drawn


def write_training(
    folder: Path, experiment: Experiment, done: Mapping[Run, Progress], results: list[Result]
) -> None:
    """results.jsonl, history.parquet, settings.json, models, plots."""
    write_settings(folder, experiment.record())
    write_results(results, folder / "results.jsonl")
    pa.parquet.write_table(history(experiment, done), folder / "history.parquet")
    for run, progress in done.items():
        name = "model" if len(done) == 1 else f"model-{run.file}"
        tensors = {**progress.state.parameters, **progress.state.buffers}
        save_file(
            {key: value.cpu().contiguous() for key, value in tensors.items()},
            folder / f"{name}.safetensors",
            metadata={
                "fedsec": json.dumps({"net": experiment.net, "data": experiment.images.name})
            },
        )
    for name, figure in figures(experiment, done).items():
        figure.savefig(folder / f"{name}.png", dpi=DOTS)


def history(experiment: Experiment, done: Mapping[Run, Progress]) -> pa.Table:
    """The rounds of all runs, under the selector and the seed."""
    tables = []
    for run, progress in done.items():
        table = to_table(progress.rounds, experiment.images.classes)
        seeds = pa.array([run.seed] * len(table), pa.int64())
        names = pa.array([run.selector] * len(table), pa.string())
        tables.append(table.add_column(0, "seed", seeds).add_column(0, "select", names))
    return pa.concat_tables(tables)


def figures(experiment: Experiment, done: Mapping[Run, Progress]) -> dict[str, Figure]:
    """The plots by the names of their files."""
    by_selector = {
        name: [done[run] for run in experiment.runs if run.selector == name]
        for name in experiment.selectors
    }
    mavericks = experiment.mavericks
    made = {
        "accuracy": plots.accuracy_curves(
            {name: np.stack([accuracies(one) for one in of]) for name, of in by_selector.items()}
        )
    }
    if mavericks.classes:
        made["maverick-recall"] = plots.maverick_recall_curves(
            {
                name: np.stack([maverick_recalls(experiment, one) for one in of])
                for name, of in by_selector.items()
            },
            [experiment.images.classes[code] for code in mavericks.classes],
        )
    made["selection"] = plots.selection_map(
        {name: took_part(experiment.n_clients, of) for name, of in by_selector.items()},
        mavericks.ids,
    )
    return made


def took_part(n_clients: int, runs: list[Progress]) -> np.ndarray:
    """(client, round): the share of these runs in which a client took part in a round."""
    share = np.zeros((n_clients, len(runs[0].rounds)))
    for progress in runs:
        for place, one in enumerate(progress.rounds):
            share[one.chosen, place] += 1 / len(runs)
    return share
