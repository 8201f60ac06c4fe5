"""What `fedsec steal` keeps in the folder of its result while that comes about, to go on from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedsec import __version__
from fedsec.cli.exits import as_json
from fedsec.cli.output import OutputError, checked_new, new_folder, write_settings
from fedsec.cli.victims import Local, write_model
from fedsec.errors import SettingsError
from fedsec.federated.history import described

if TYPE_CHECKING:
    from fedsec.cli.stealing import Theft

FOLDER, ENDING, ANSWERS = "checkpoints", ".safetensors", ".answers.jsonl"
VICTIM = "victim.safetensors"


@dataclass(frozen=True)
class Run:
    """One method with one seed."""

    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.method}, seed {self.seed}"

    @property
    def file(self) -> str:
        """What files are called after it."""
        return f"{self.method.replace('+', '-plus')}-{self.seed}"


@dataclass(frozen=True, eq=False)
class Kept:
    """What is kept in the folder of the result while it comes about; None keeps nothing."""

    folder: Path | None

    @classmethod
    def of(cls, out: str | None, theft: Theft, rerun: str) -> Kept:
        """The folder, new or of a run with these settings.

        Raises OutputError where it holds something else, SettingsError for another run.
        """
        if out is None:
            return cls(None)
        folder, wanted = Path(out).expanduser().resolve(), as_json(theft.settings())
        if (folder / FOLDER).is_dir():
            try:
                there = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
                found = there["steal"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise OutputError(
                    f"{folder}: is not of fedsec steal: choose a new folder"
                ) from error
            for name, value in wanted.items():
                if found.get(name) != value:
                    raise SettingsError(
                        f"{folder}: was made with {name} {found.get(name)!r}, and {value!r} is"
                        " asked for: go on with the same settings, or choose a new folder"
                    )
            lost = _lost(folder, theft)
            if lost:
                raise SettingsError(
                    f"{folder}: also has {', '.join(lost)}, which was not asked for: name its"
                    " method and seeds too"
                )
            return cls(folder)
        folder = checked_new(out)
        with new_folder(folder) as made:
            (made / FOLDER).mkdir()
            write_record(made, theft, rerun)
            write_victim(made, theft)
        return cls(folder)

    def checkpoint(self, run: Run) -> Path | None:
        """Where a run is kept."""
        return None if self.folder is None else self.folder / FOLDER / f"{run.file}{ENDING}"

    def journal(self, name: str) -> Path | None:
        """Where the answers of a URL are kept."""
        return None if self.folder is None else self.folder / FOLDER / f"{name}{ANSWERS}"

    def advice(self) -> str:
        """How to go on."""
        if self.folder is None:
            return "nothing was kept; with --out DIR a run can be gone on with"
        return f"{self.folder} has the checkpoint: the same command goes on from it"


def write_record(folder: Path, theft: Theft, rerun: str) -> None:
    """settings.json, by which a run is known and can be repeated."""
    write_settings(
        folder,
        {"fedsec": __version__, "rerun": rerun, "steal": as_json(theft.settings()),
         "methods": as_json({name: described(one) for name, one in theft.methods.items()}),
         "seeds": list(theft.seeds)},
    )  # fmt: skip


def write_victim(folder: Path, theft: Theft) -> None:
    """The victim that was trained here, for --victim."""
    victim = theft.victim
    if isinstance(victim, Local) and victim.trained:
        write_model(folder / VICTIM, victim.state, victim.net_name, theft.images.name)


def _lost(folder: Path, theft: Theft) -> list[str]:
    """Runs that the folder holds and that were not asked for."""
    wanted = {run.file for run in theft.runs}
    there = sorted(path.name.removesuffix(ENDING) for path in (folder / FOLDER).glob(f"*{ENDING}"))
    return [name for name in there if name not in wanted]
