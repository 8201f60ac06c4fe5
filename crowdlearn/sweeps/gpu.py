"""The passes over the votes on a GPU by JAX; on the CPU too, where tests prove them.

`JaxSweeper` does what `CpuSweeper` does, with the votes and the posterior on the device. Sums and
tables come back as NumPy arrays that cannot be written to, so each may keep a twin on the device:
handed to the next pass, it is not sent again. Double precision is on during these calls only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int32

from crowdlearn.errors import SettingsError
from crowdlearn.grouping import group
from crowdlearn.sweeps import Sums, cpu
from crowdlearn.sweeps.items import ItemsAtHand
from crowdlearn.votes import Votes

try:
    import jax

    from crowdlearn.sweeps import jax_kernels as kernels
    from crowdlearn.sweeps import jax_sums, jax_tables
except ImportError as error:
    raise ImportError(
        "device 'gpu' needs JAX: pip install 'crowdlearn[bayes]' 'jax[cuda13]', or use device 'cpu'"
    ) from error


@dataclass(eq=False)
class DevicePosterior:
    """A posterior on the device; each pass puts a new array here."""

    array: Float[jax.Array, "item state"]


@dataclass(frozen=True, eq=False)
class JaxSweeper(ItemsAtHand):
    """Votes, gold answers and states at home on a JAX device. Make one with `JaxSweeper.on`.

    Methods and arguments are those of `CpuSweeper`, and so is the overwriting of `seen`, `own` and
    `tally`; posteriors are `DevicePosterior`s, which `read` turns into NumPy arrays.
    """

    votes: Votes
    gold: Int32[np.ndarray, " item"]  # class of clamped items, -1 elsewhere
    state_class: Int32[np.ndarray, " state"]
    device: Any
    large: bool
    twins: dict[str, tuple[np.ndarray, Any]] = field(default_factory=dict)  # by what they are

    @classmethod
    def on(
        cls, votes: Votes, gold: np.ndarray, state_class: np.ndarray, platform: str = "gpu"
    ) -> Any:
        """The sweeper of these votes on the first device of `platform`, "gpu" or "cpu".

        Raises SettingsError where JAX has no such device.
        """
        return cls(
            votes=votes,
            gold=np.ascontiguousarray(gold, dtype=np.int32),
            state_class=np.ascontiguousarray(state_class, dtype=np.int32),
            device=_first_device(platform),
            large=votes.n_workers * votes.n_classes * len(state_class) >= cpu.LARGE_CELLS,
        )

    @property
    def n_states(self) -> int:
        return len(self.state_class)

    @property
    def dtype(self) -> Any:
        """Of tables and posteriors."""
        return np.float32 if self.large else np.float64

    @cached_property
    def layout(self) -> kernels.Layout:
        """The votes on the device, sent at the first pass."""
        votes = self.votes
        cell = votes.worker.astype(np.int64) * votes.n_classes + votes.label
        offsets, order = group(cell, votes.n_workers * votes.n_classes)
        with jax.enable_x64(True):
            send = partial(jax.device_put, device=self.device)
            return kernels.Layout(
                item=send(votes.item),
                label=send(votes.label),
                cell=send(cell.astype(np.int32)),
                by_item=send(jax_sums.tree(votes.item_offsets)),
                by_cell=send(jax_sums.tree(offsets, order)),
                gold=send(self.gold),
                state_class=send(self.state_class),
            )

    @cached_property
    def votes_there(self) -> Float[jax.Array, " item"]:
        """How many votes each item has, on the device."""
        return self._sent(self.votes.votes_per_item.astype(np.float64))

    def posterior(self, start: np.ndarray | None = None) -> DevicePosterior:
        """A posterior of this home: a copy of `start`, or zeros."""
        shape = (self.votes.n_items, self.n_states)
        array = np.zeros(shape, self.dtype) if start is None else np.array(start, self.dtype)
        return DevicePosterior(self._sent(array))

    def read(self, posterior: DevicePosterior) -> Float[np.ndarray, "item state"]:
        """The posterior as a NumPy array."""
        return np.array(posterior.array)

    def evidence(self, score: Float[np.ndarray, " entry"]) -> Float[np.ndarray, "item state"]:
        """`CpuSweeper.evidence`."""
        return np.array(self._run(kernels.evidence, score))

    def counts(self, weight: DevicePosterior | Float[np.ndarray, "item state"]) -> Sums:
        """`CpuSweeper.counts`."""
        return self._sums(self._run(kernels.counts, weight))

    def product(
        self,
        prior: Float[np.ndarray, " state"],
        table: Float[np.ndarray, " entry"],
        posterior: DevicePosterior,
    ) -> Sums:
        """`CpuSweeper.product`."""
        sums, posterior.array, change = self._run(kernels.product, prior, table, posterior)
        return self._sums(sums, change)

    def draw(
        self,
        prior: Float[np.ndarray, " state"],
        table: Float[np.ndarray, " entry"],
        uniform: Float[np.ndarray, " item"],
        tally: Float[np.ndarray, "item state"],
        keep: bool,
    ) -> Sums:
        """`CpuSweeper.draw`."""
        sums, rows = self._run(kernels.draw, prior, table, uniform)
        if keep:
            tally += np.asarray(rows)
        return self._sums(sums)

    def mixture(
        self,
        prior: Float[np.ndarray, " state"],
        table: Float[np.ndarray, " entry"],
        guess: Float[np.ndarray, " label"],
        sees: Float[np.ndarray, " item"],
        misses: Float[np.ndarray, " item"],
        posterior: DevicePosterior,
        seen: Float[np.ndarray, " item"],
    ) -> Sums:
        """`CpuSweeper.mixture`."""
        sums, posterior.array, change, n_seen = self._run(
            kernels.mixture, prior, table, guess, sees, misses, posterior
        )
        seen[:] = n_seen
        return self._sums(sums, change)

    def factorised(
        self,
        log_prior: Float[np.ndarray, " state"],
        log_table: Float[np.ndarray, " entry"],
        log_guess: Float[np.ndarray, " label"],
        log_sees: Float[np.ndarray, " item"],
        log_misses: Float[np.ndarray, " item"],
        own: Float[np.ndarray, " vote"],
        posterior: DevicePosterior,
        seen: Float[np.ndarray, " item"],
    ) -> Sums:
        """`CpuSweeper.factorised`."""
        sums, posterior.array, change, n_seen, shares = self._run(
            kernels.factorised,
            log_prior, log_table, log_guess, log_sees, log_misses, own, posterior,
        )  # fmt: skip
        seen[:], own[:] = n_seen, shares
        return self._sums(sums, change)

    def mixture_draw(
        self,
        prior: Float[np.ndarray, " state"],
        table: Float[np.ndarray, " entry"],
        guess: Float[np.ndarray, " label"],
        easiness: Float[np.ndarray, " item"],
        uniform: Float[np.ndarray, " item"],
        vote_uniform: Float[np.ndarray, " vote"],
        tally: Float[np.ndarray, "item state"],
        keep: bool,
        seen: Float[np.ndarray, " item"],
    ) -> Sums:
        """`CpuSweeper.mixture_draw`."""
        sums, rows, n_seen = self._run(
            kernels.mixture_draw, prior, table, guess, easiness, uniform, vote_uniform
        )
        seen[:] = n_seen
        if keep:
            tally += np.asarray(rows)
        return self._sums(sums)

    def normalised(self, counts: Any, extra: Any) -> tuple[Float[np.ndarray, " entry"], float]:
        """`tables.normalised` in this home."""
        with jax.enable_x64(True):
            table, log_extra = jax_tables.normalised(
                self._sent(counts), self._sent(extra), dtype=np.dtype(self.dtype)
            )
        return self._kept("table", table), float(log_extra)

    def expected(
        self, counts: Any, extra: Any, logs: bool = False
    ) -> tuple[Float[np.ndarray, " entry"], float]:
        """`tables.expected` in this home."""
        with jax.enable_x64(True):
            table, divergence = jax_tables.expected(
                self._sent(counts), self._sent(extra), dtype=np.dtype(self.dtype), logs=logs
            )
        return self._kept("table", table), float(divergence)

    def beta_expectations(
        self, seen: Any, beta: tuple[float, float], logs: bool = False
    ) -> tuple[Float[np.ndarray, " item"], Float[np.ndarray, " item"], float]:
        """`tables.beta_expectations` in this home."""
        with jax.enable_x64(True):
            sees, misses, divergence = jax_tables.beta_expectations(
                self._sent(seen), self.votes_there, *beta, logs=logs
            )
        return self._kept("sees", sees), self._kept("misses", misses), float(divergence)

    def _run(self, kernel: Callable[..., Any], *arguments: Any) -> Any:
        """`kernel` of the votes and these arguments, on the device and in double precision."""
        with jax.enable_x64(True):
            return kernel(self.layout, *(self._sent(argument) for argument in arguments))

    def _sent(self, argument: Any) -> jax.Array:
        """The argument on the device; what came from there as it is."""
        if isinstance(argument, DevicePosterior):
            return argument.array
        for host, twin in self.twins.values():
            if host is argument:
                return twin
        with jax.enable_x64(True):
            return jax.device_put(argument, self.device, may_alias=False)

    def _kept(self, name: str, array: jax.Array) -> np.ndarray:
        """A read-only NumPy array of this one, its twin remembered until the next of this name."""
        host = np.asarray(array)
        assert not host.flags.writeable
        self.twins[name] = (host, array)
        return host

    def _sums(self, sums: kernels.Totals, change: Any = np.nan) -> Sums:
        n_labels = self.votes.n_classes
        return Sums(
            counts=self._kept("counts", sums.counts),
            totals=np.array(sums.totals),
            bound=float(sums.bound),
            change=float(change),
            guessed=np.zeros(n_labels) if sums.guessed is None else np.array(sums.guessed),
        )


def _first_device(platform: str) -> Any:
    try:
        return jax.devices(platform)[0]
    except RuntimeError as error:
        raise SettingsError(
            f"device {platform!r}: JAX sees none here; for NVIDIA cards pip install 'jax[cuda13]', "
            "or use device 'cpu', which gives the same answer"
        ) from error
