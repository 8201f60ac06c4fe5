"""From the options of a command to what the library takes; whatever cannot be is refused here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from fedsec import __version__
from fedsec.cli.checks import at_least, goes_with, one_of
from fedsec.cli.clients import (
    Divide,
    Mavericks,
    check_partition,
    divide_by,
    fingerprint,
    images_of,
    mavericks_of,
)
from fedsec.cli.exits import as_json
from fedsec.cli.flags import Flags
from fedsec.cli.presets import preset_of
from fedsec.cli.selecting import selectors_of
from fedsec.cli.training import WEIGHTINGS, check_training, defences_of, device_of, local_of
from fedsec.core.rng import stream
from fedsec.data.images import ImageData, Images
from fedsec.errors import DataError, SettingsError
from fedsec.federated.contribution import CONTRIBUTIONS, Method, contribution_method
from fedsec.federated.history import described
from fedsec.federated.rounds import Selector
from fedsec.federated.selectors import SELECTORS
from fedsec.federated.simulate import Federation
from fedsec.federated.task import Task
from fedsec.nets import NETS, make_net

MOST_EXACT = 10  # clients a round up to which exact values are affordable


@dataclass(frozen=True)
class Run:
    """One training: by which selector, from which seed."""

    selector: str
    seed: int

    def __str__(self) -> str:
        return f"{self.selector}, seed {self.seed}"

    @property
    def file(self) -> str:
        """How the names of its files begin."""
        return f"{self.selector}-seed{self.seed}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Experiment:
    """All trainings of a command.

    held_out       what contributions are valued on; None for the test images
    data           what tells these images from others, fit for JSON
    selectors      by name
    contribution   measured in every run; None where only selectors that need it have it
    federation     all but selector, contribution and seed
    delta          of the epsilon to report, where clients add noise
    """

    images: ImageData
    held_out: Images | None
    data: Mapping[str, Any]
    divide: Divide
    mavericks: Mavericks
    net: str
    selectors: Mapping[str, Selector]
    contribution: Method | None
    federation: Federation
    n_rounds: int
    seeds: tuple[int, ...]
    device: str
    delta: float | None

    def __str__(self) -> str:
        n_train, n_test = len(self.images.train), len(self.images.test)
        who = f"{n_train:,} training and {n_test:,} test images, {self.n_clients} clients"
        if not self.mavericks.ids:
            return f"{self.images.name}: {who}"
        held = ", ".join(self.images.classes[code] for code in self.mavericks.classes)
        n = len(self.mavericks.ids)
        return f"{self.images.name}: {who}, {n} Maverick{'s' if n > 1 else ''} with class {held}"

    @property
    def n_clients(self) -> int:
        """N."""
        return int(self.divide.keywords["n_clients"])

    @property
    def runs(self) -> list[Run]:
        """Seed by seed, and within it in the order of the selectors."""
        return [Run(name, seed) for seed in self.seeds for name in self.selectors]

    def task(self, seed: int, clients: int | None = None) -> Task:
        """Network and clients of this seed, the images on the device.

        `clients` is another seed for who holds which images.
        """
        labels = self.images.train.y.numpy()
        rng = stream(seed if clients is None else clients, "partition")
        parts = self.divide(labels, rng=rng).parts
        net, n_classes = make_net(self.net, self.images, seed), len(self.images.classes)
        made = Task(net, self.images.train, parts, self.images.test, n_classes, self.held_out)
        return made.to(self.device)

    def federation_of(self, run: Run) -> Federation:
        """How this run trains."""
        chosen, method = self.selectors[run.selector], self.contribution
        if method is None and SELECTORS[run.selector].needs_contribution:
            exact = self.federation.per_round <= MOST_EXACT
            method = contribution_method("exact" if exact else "gtg")
        return replace(self.federation, selector=chosen, contribution=method, seed=run.seed)

    def settings(self, run: Run) -> dict[str, Any]:
        """The record of a run: all that it depends on, but for the number of its rounds."""
        record = described(self.federation_of(run))
        for name in ("is", "engine", "skip_bad_updates"):  # they change no run that went well
            del record[name]
        partition = described(self.divide)
        found = {**self.data, "partition": partition, "net": self.net, **record,
                 "device": self.device}  # fmt: skip
        return dict(as_json(found))

    def record(self) -> dict[str, Any]:
        """What settings.json holds: versions, and the settings of each selector's first run."""
        return {
            "fedsec": __version__,
            "torch": str(torch.__version__),
            "rounds": self.n_rounds,
            "seeds": list(self.seeds),
            "selectors": {name: self.settings(Run(name, self.seeds[0])) for name in self.selectors},
        }


def experiment_of(
    flags: Flags, names: Sequence[str], *, contribution: str | None, n_seeds: int = 1
) -> Experiment:
    """The trainings that were asked for, by selectors of these names.

    Raises SettingsError or DataError where a name is unknown, a number is out of its range, an
    option would change nothing beside the others, or an image set cannot be read.
    """
    _check(flags, names, contribution, n_seeds)
    preset = preset_of(flags.data)
    federation = Federation(
        per_round=flags.per_round,
        local=local_of(flags, preset),
        weighting=WEIGHTINGS[flags.weighting],
        defences=defences_of(flags),
        evaluate_every=flags.evaluate_every,
        skip_bad_updates=flags.skip_bad_updates,
    )
    device = device_of(flags.device)
    images, held_out = images_of(flags)
    if not len(images.train):
        raise DataError(f"--hold-out is {flags.hold_out}: no image is left for the clients")
    parts = {"train": images.train, "test": images.test, "held_out": held_out}
    mavericks = mavericks_of(flags, images)
    n_rounds = preset.rounds if flags.rounds is None else flags.rounds
    return Experiment(
        images=images,
        held_out=held_out,
        data={
            "data": images.name,
            "images": {
                name: None if part is None else fingerprint(part) for name, part in parts.items()
            },
        },
        divide=divide_by(flags, mavericks),
        mavericks=mavericks,
        net=flags.net or preset.net,
        selectors=selectors_of(names, flags, preset, n_rounds, mavericks.ids),
        contribution=None if contribution is None else contribution_method(contribution),
        federation=federation,
        n_rounds=n_rounds,
        seeds=tuple(range(flags.seed, flags.seed + n_seeds)),
        device=device,
        delta=flags.delta,
    )


def _check(flags: Flags, names: Sequence[str], contribution: str | None, n_seeds: int) -> None:
    """What can be refused before anything is read."""
    check_partition(flags)
    check_training(flags)
    one_of("--net", flags.net or "mlp", NETS)
    at_least("--rounds", flags.rounds, 1)
    at_least("--evaluate-every", flags.evaluate_every, 1)
    at_least("--seeds", n_seeds, 1)
    at_least("--seed", flags.seed, 0)
    for name in names:
        one_of("--select", name, SELECTORS)
    if contribution is not None:
        one_of("contribution method", contribution, CONTRIBUTIONS)
    measured = [f"--select {name}" for name in names if SELECTORS[name].needs_contribution]
    measured += [] if contribution is None else ["the contribution of clients"]
    goes_with("--hold-out", flags.hold_out, bool(measured), "what measures contributions")
    if measured and flags.algorithm != "fedavg":
        raise SettingsError(
            f"{measured[0]} is measured on what local training changed: take --algorithm fedavg"
        )
