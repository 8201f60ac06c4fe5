"""`fedsec steal`, from options to copies: whose model, which attacks, and how far they are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any, cast

import torch
from jaxtyping import Int
from torch import Tensor, nn

from fedsec.cli import answering
from fedsec.cli.answering import STATELESS, defences_of
from fedsec.cli.checks import at_least, first, goes_with, one_of
from fedsec.cli.exits import say
from fedsec.cli.keeping import VICTIM, Kept, Run
from fedsec.cli.output import said_as_output_errors
from fedsec.cli.perturbing import Transfers, transfers_of
from fedsec.cli.settings import with_settings
from fedsec.cli.steal import StealFlags
from fedsec.cli.training import device_of
from fedsec.cli.victims import (
    Bar,
    Label,
    Local,
    Remote,
    limited,
    owner_answers,
    victim_of,
)
from fedsec.data.images import ImageData, load_images
from fedsec.errors import DataError, SettingsError
from fedsec.nets import NETS, make_net
from fedsec.stealing.attack import Method, StealSettings, Stolen, Watch, steal
from fedsec.stealing.generators import make_generator
from fedsec.stealing.lineup import CONTROL, LINEUP, WITH_IMAGES, Stake, method_for
from fedsec.stealing.oracle import MODES, ModelOracle, Oracle
from fedsec.stealing.records import StealRecord, copy_evaluator
from fedsec.stealing.remote import RemoteOracle
from fedsec.stealing.surrogate import Surrogate, resized
from fedsec.stealing.transfer import answering as labels_by

WITHOUT_GENERATOR = {CONTROL, "zsdb3kd", *WITH_IMAGES}
USUAL_METHOD, USUAL_SUBSTITUTE = "mega+", "cnn-bn"
SURROGATES = {"fashion-mnist": "mnist"}
USUAL_SURROGATE = "fashion-mnist"
POINTS = 40  # of a curve
BATCH = 1024  # test images at once
COPY_SEED = 1_000_003  # added to a run's seed: a copy does not begin at its victim's parameters


@dataclass(frozen=True, eq=False)
class Played:
    """A run, and what its oracle remembers: the defences as they were used."""

    stolen: Stolen
    defences: tuple[Any, ...]


@dataclass(eq=False, kw_only=True)
class Theft:
    """All that is asked of whom, and by which methods; a context that closes connections.

    left_out   methods that `all` names and that cannot be used here, and why
    """

    flags: StealFlags
    images: ImageData
    victim: Local | Remote
    stake: Stake
    methods: dict[str, StealSettings]
    transfers: Transfers
    seeds: tuple[int, ...]
    device: str
    net: str
    left_out: dict[str, str]
    _open: ExitStack = field(default_factory=ExitStack)
    _owner: Label | None = None
    _labels: Tensor | None = None

    @property
    def runs(self) -> list[Run]:
        """Seed by seed, so that an interrupted comparison has whole seeds."""
        return [Run(name, seed) for seed in self.seeds for name in self.methods]

    def __enter__(self) -> Theft:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def substitute(self, seed: int) -> nn.Module:
        """The copy before it has learnt anything."""
        return make_net(self.net, self.images, seed + COPY_SEED).to(self.device)

    def owner(self, kept: Kept) -> Label:
        """The victim's labels, without defences and uncounted."""
        if self._owner is None:
            if isinstance(self.victim, Local):
                self._owner = labels_by(self.victim.net)
            else:
                oracle = self._remote(self.victim, None, kept.journal("owner"))
                self._owner = owner_answers(oracle)
        return self._owner

    def victims(self, kept: Kept) -> Int[Tensor, " sample"]:
        """The victim's label of each test image."""
        if self._labels is None:
            label = self.owner(kept)
            self._labels = torch.cat([label(part) for part in self.images.test.x.split(BATCH)])
        return self._labels

    def play(self, kept: Kept, asked: Event, bar: Bar) -> dict[Run, Played]:
        """All runs, or those until Ctrl-C asked to stop; one that is unfinished is not in it."""
        test = self.images.test
        labels = self.victims(kept)
        done: dict[Run, Played] = {}
        for place, run in enumerate(self.runs):
            if asked.is_set():
                break
            defences = tuple(defences_of(self.flags.defence or []))
            method = cast(Method, self.methods[run.method])
            copy = self.substitute(run.seed)
            of = f"{run} ({place + 1} of {len(self.runs)})"
            watch = Watch(
                progress=lambda queries, budget, record, of=of: bar(  # type: ignore[misc]
                    queries, self.stake.budget, f"{of}{_said(record)}"
                ),
                stop=asked.is_set, every=max(1, self.stake.budget // POINTS),
            )  # fmt: skip
            with said_as_output_errors(kept.folder or Path()), ExitStack() as closing:
                oracle = self._oracle(run, defences, kept, closing)
                stolen = steal(
                    method, oracle, copy, seed=run.seed, watch=watch,
                    evaluate=copy_evaluator(copy, test, labels),
                    checkpoint=kept.checkpoint(run),
                )  # fmt: skip
            if stolen.stopped == "interrupted":
                asked.set()
                break
            done[run] = Played(stolen, defences)
        return done

    def defended_accuracy(self) -> float | None:
        """Of the victim's answers on test images, as defences that hold no memory leave them."""
        defences = [one for one in defences_of(self.flags.defence or []) if type(one) in STATELESS]
        if not isinstance(self.victim, Local) or not defences:
            return None
        test = self.images.test
        oracle = ModelOracle(
            self.victim.net, self.victim.state, self.stake.shape, self.stake.n_classes,
            answers=tuple(defences),
        )  # fmt: skip
        return float((oracle(test.x) == test.y).double().mean())

    def settings(self) -> dict[str, Any]:
        """What a run is that can be gone on with. Seeds and methods may be added to it."""
        flags = self.flags
        return {
            "victim": flags.victim or flags.url or f"trained, seed {flags.seed}",
            "net": str(self.victim), "data": self.images.name, "limit": flags.limit,
            "test_limit": flags.test_limit, "budget": self.stake.budget, "mode": self.stake.mode,
            "passes": self.stake.passes, "batch": self.stake.batch, "substitute": self.net,
            "defences": [answering.described(one) for one in defences_of(flags.defence or [])],
        }  # fmt: skip

    def _oracle(
        self, run: Run, defences: tuple[Any, ...], kept: Kept, closing: ExitStack
    ) -> Oracle:
        if isinstance(self.victim, Remote):
            oracle = self._remote(self.victim, self.stake.budget, kept.journal(run.file))
            closing.callback(oracle.close)
            return oracle
        return ModelOracle(
            self.victim.net, self.victim.state, self.stake.shape, self.stake.n_classes,
            mode=self.stake.mode, budget=self.stake.budget, answers=defences,
        )  # fmt: skip

    def _remote(self, victim: Remote, budget: int | None, journal: Path | None) -> RemoteOracle:
        oracle = RemoteOracle(
            victim.url, self.stake.shape, self.stake.n_classes, mode=self.stake.mode,
            budget=budget, headers=dict(victim.headers), journal=journal,
        )  # fmt: skip
        self._open.callback(oracle.close)
        return oracle


def theft_of(flags: StealFlags, n_seeds: int, out: str | None, bar: Bar) -> Theft:
    """What the options name. Raises SettingsError, DataError or UpdateError before any query."""
    one_of("--mode", flags.mode, MODES)
    for name in ("budget", "passes"):
        at_least(f"--{name}", getattr(flags, name), 1)
    at_least("--batch", flags.batch, 2)
    at_least("--seeds", n_seeds, 1)
    net = first(flags.substitute, USUAL_SUBSTITUTE)
    one_of("--substitute", net, NETS)
    names = _names(flags)
    defences_of(flags.defence or [])  # refuses what is wrong before anything is trained
    device = device_of(flags.device)
    images = limited(load_images(flags.data, flags.data_dir), flags)
    transfers = transfers_of(flags, images.classes)
    images = replace(images, train=images.train.to(device), test=images.test.to(device))
    _, channels, height, width = images.test.x.shape
    shape = (channels, height, width)
    surrogate, left_out = _surrogate(flags, names, shape)
    stake = Stake(
        budget=flags.budget, mode=flags.mode,  # type: ignore[arg-type]
        shape=shape, n_classes=len(images.classes),
        passes=flags.passes, batch=flags.batch, surrogate=surrogate,
    )  # fmt: skip
    names = [name for name in names if name not in left_out]
    made = {name: method_for(name, stake) for name in names}
    methods = with_settings(made, flags.settings or [])
    if not set(methods) <= WITHOUT_GENERATOR:
        make_generator(shape, stake.latent, 0)  # refuses images that none here fits
    kept = None if out is None else Path(out).expanduser() / VICTIM
    victim = victim_of(flags, images, device, kept=kept, bar=bar)
    return Theft(
        flags=flags, images=images, victim=victim, stake=stake, methods=methods,
        transfers=transfers, seeds=tuple(range(flags.seed, flags.seed + n_seeds)), device=device,
        net=net, left_out=left_out,
    )  # fmt: skip


def _names(flags: StealFlags) -> list[str]:
    given = flags.method or [USUAL_METHOD]
    for name in given:
        one_of("--method", name, [*LINEUP, "all"])
    named = [one for name in given for one in (LINEUP if name == "all" else [name])]
    return list(dict.fromkeys([*named, CONTROL]))


def _surrogate(
    flags: StealFlags, names: Sequence[str], shape: tuple[int, int, int]
) -> tuple[Surrogate | None, dict[str, str]]:
    """Images for those methods that need some; those of `all` that have none are left out."""
    wanting = [name for name in names if name in WITH_IMAGES]
    goes_with("--surrogate", flags.surrogate, bool(wanting), "--method knockoff")
    if not wanting:
        return None, {}
    name = first(flags.surrogate, SURROGATES.get(flags.data, USUAL_SURROGATE))
    if name == flags.data:
        raise SettingsError(
            f"--surrogate {name} is the victim's own data: name another, or leave out knockoff"
        )
    try:
        pictures = load_images(name, flags.data_dir).train
        return Surrogate(resized(pictures, shape), str(name)), {}
    except DataError as error:
        if flags.surrogate is not None or "all" not in (flags.method or []):
            raise
        say(f"without {' and '.join(wanting)}: {error}", "yellow")
        return None, dict.fromkeys(wanting, str(error))


def _said(record: StealRecord | None) -> str:
    if record is None or record.agreement is None:
        return ""
    return f", agreement {record.agreement:.1%}"
