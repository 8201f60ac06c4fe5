"""The checkpoints of a command that trains: one for each run, in a folder inside its result.

A checkpoint is written when a run ends or is stopped, and every few seconds in between. So after a
crash the newest one is at most that old, and quick runs are not slowed down.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from fedsec.cli.experiment import Experiment, Run
from fedsec.cli.output import OutputError, new_folder, said_as_output_errors, write_settings
from fedsec.core.functional import state_of
from fedsec.errors import SettingsError
from fedsec.federated.history import load_progress, save_progress
from fedsec.federated.simulate import Progress, begin
from fedsec.federated.task import Task

FOLDER, ENDING = "checkpoints", ".safetensors"
SECONDS = 10.0  # from one checkpoint to the next


@dataclass(kw_only=True)
class Checkpoints:
    """Where runs start, and where they are kept.

    folder   of the result; None keeps nothing
    resume   start from the checkpoints that are there
    """

    experiment: Experiment
    folder: Path | None
    resume: bool = False
    _kept: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if self.resume:
            self._check_there()

    def start(self, run: Run, task: Task) -> Progress:
        """Of its checkpoint where it is to go on from one, else from nothing.

        Raises SettingsError where the checkpoint is of other settings, or of more rounds.
        """
        fresh = begin(task, self.experiment.federation_of(run), state_of(task.net))
        path = self._path(run)
        if not (self.resume and path is not None and path.exists()):
            return fresh
        settings = self.experiment.settings(run)
        found = load_progress(path, settings, device=self.experiment.device)
        if len(found.rounds) > self.experiment.n_rounds:
            raise SettingsError(
                f"{path}: has {len(found.rounds)} rounds, more than the {self.experiment.n_rounds}"
                " asked for: give --rounds"
            )
        return found

    def keep(self, run: Run, progress: Progress, *, now: bool = False) -> None:
        """Write the checkpoint of a run, if it is time or `now`. Raises OutputError."""
        path = self._path(run)
        if path is None or not progress.rounds:
            return
        if not now and time.monotonic() - self._kept < SECONDS:
            return
        self._make_folder()
        with said_as_output_errors(path):
            save_progress(progress, path, self.experiment.settings(run))
        self._kept = time.monotonic()

    def write_into(self, folder: Path, runs: dict[Run, Progress]) -> None:
        """Write the checkpoints of all runs into another folder."""
        (folder / FOLDER).mkdir()
        for run, progress in runs.items():
            path = folder / FOLDER / f"{run.file}{ENDING}"
            save_progress(progress, path, self.experiment.settings(run))

    def advice(self) -> str:
        """How to go on from what is kept."""
        if self.folder is None:
            return "nothing was kept; with --out DIR a run can be gone on with"
        if not (self.folder / FOLDER).exists():
            return "nothing was written"
        return f"{self.folder} has the checkpoint: the same command with --resume goes on from it"

    def _path(self, run: Run) -> Path | None:
        return None if self.folder is None else self.folder / FOLDER / f"{run.file}{ENDING}"

    def _make_folder(self) -> None:
        assert self.folder is not None
        if (self.folder / FOLDER).exists():
            return
        with new_folder(self.folder) as made:
            (made / FOLDER).mkdir()
            write_settings(made, self.experiment.record())

    def _check_there(self) -> None:
        """There is something to go on from, and nothing that would be lost."""
        if self.folder is None:
            raise SettingsError("--resume has no effect here: it goes with --out")
        there = sorted((self.folder / FOLDER).glob(f"*{ENDING}"))
        if not there:
            raise OutputError(f"{self.folder}: has no checkpoint: leave out --resume to begin")
        wanted = {f"{run.file}{ENDING}" for run in self.experiment.runs}
        lost = [path.stem for path in there if path.name not in wanted]
        if lost:
            raise SettingsError(
                f"{self.folder}: also has {', '.join(lost)}, which was not asked for: name its"
                " selector and seeds too"
            )
