"""What came out of trainings, as one Result a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedsec.cli.exits import as_json
from fedsec.cli.experiment import Experiment, Run
from fedsec.core.record import Result
from fedsec.federated.history import PHASES
from fedsec.federated.privacy import GaussianNoise, epsilon, rdp
from fedsec.federated.simulate import Progress
from fedsec.metrics.classification import rounds_to

REFERENCE = "random"  # R@99 is measured against the best accuracy of this selector


def results_of(experiment: Experiment, done: Mapping[Run, Progress]) -> list[Result]:
    """One for each run.

    accuracy, best_accuracy   after the last round, and the highest
    rounds_to_99              to 99 % of the best accuracy of random selection with the same seed,
                              one more than there are where not reached; None where not compared
    maverick_recall           mean over the classes that Mavericks hold, after the last round
    mavericks_per_round       how many took part
    refused                   updates that were left out
    epsilon                   of what the server sees of a client; None where not asked for
    seconds                   by phase
    """
    return [
        Result(
            what="train",
            seed=run.seed,
            settings={
                "select": run.selector, "rounds": experiment.n_rounds, **experiment.settings(run)
            },
            measures=as_json(measures_of(experiment, run, progress, done)),
            seconds=sum(sum(one.phases.values()) for one in progress.rounds),
        )
        for run, progress in done.items()
    ]  # fmt: skip


def measures_of(
    experiment: Experiment, run: Run, progress: Progress, done: Mapping[Run, Progress]
) -> dict[str, Any]:
    """The measures of one run, beside the others."""
    rounds = progress.rounds
    accuracy = accuracies(progress)
    took_part = [np.isin(one.chosen, experiment.mavericks.ids).sum() for one in rounds]
    return {
        "accuracy": float(accuracy[-1]),
        "best_accuracy": float(np.nanmax(accuracy)),
        "rounds_to_99": _rounds_to_99(accuracy, done.get(Run(REFERENCE, run.seed))),
        "maverick_recall": float(maverick_recalls(experiment, progress)[-1])
        if experiment.mavericks.classes else None,
        "mavericks_per_round": float(np.mean(took_part)) if experiment.mavericks.ids else None,
        "refused": sum(len(one.refused) for one in rounds),
        "epsilon": _epsilon(experiment, progress),
        "seconds": {
            phase: sum(one.phases.get(phase, 0.0) for one in rounds) for phase in PHASES
        },
    }  # fmt: skip


def accuracies(progress: Progress) -> np.ndarray:
    """After each round; NaN where not evaluated."""
    return np.array([one.accuracy for one in progress.rounds])


def maverick_recalls(experiment: Experiment, progress: Progress) -> np.ndarray:
    """Mean recall of the classes that Mavericks hold, after each round; NaN where not evaluated."""
    classes = list(experiment.mavericks.classes)
    return np.array(
        [
            np.nan if one.recall is None else float(np.mean(one.recall[classes]))
            for one in progress.rounds
        ]
    )


def _rounds_to_99(accuracy: np.ndarray, reference: Progress | None) -> int | None:
    if reference is None:
        return None
    best = float(np.nanmax(accuracies(reference)))
    return rounds_to(accuracy, best) if best > 0 else None


def _epsilon(experiment: Experiment, progress: Progress) -> float | None:
    """What the server learns of the client that took part most often, each time for certain."""
    noise = [one for one in experiment.federation.defences if isinstance(one, GaussianNoise)]
    if experiment.delta is None or not noise:
        return None
    _, times = np.unique(
        np.concatenate([one.chosen for one in progress.rounds]), return_counts=True
    )
    return epsilon(noise[0].multiplier, 1.0, int(times.max()), experiment.delta, rdp)
