"""Aggregation: what every fit returns. Frozen; made of arrays and names; saves and loads itself."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from crowdlearn.arviz_import import import_arviz
from crowdlearn.errors import VotesError, VotesWarning
from crowdlearn.predictors import Predictor, to_arrays
from crowdlearn.soft_votes import SoftVotes, with_opinions
from crowdlearn.votes import Votes

FORMAT = 1


@dataclass(frozen=True)
class Sweep:
    """Where a fit stands after one sweep, as passed to `on_sweep`."""

    number: int  # counts from 1
    of: int  # sweeps at most
    change: float  # largest change of a posterior probability; nan for samplers
    bound: float  # log likelihood, evidence lower bound or log density; nan where there is none


OnSweep = Callable[[Sweep], bool | None]
"""Called after each sweep; returning True stops the fit, which then returns the state so far."""


@dataclass(frozen=True, eq=False)
class History:
    """One number per sweep, and how the fit ended.

    `bound` is what `bound_name` says, in nats; `change` is the largest change of a posterior
    probability. A sampler's history is that of its first chain.
    """

    bound: Float[np.ndarray, " sweep"]
    change: Float[np.ndarray, " sweep"]
    bound_name: str
    converged: bool
    stopped: bool = False  # by the caller, before convergence
    held_out: Float[np.ndarray, " sweep"] | None = None  # log score of votes left out, nats a vote

    @property
    def n_sweeps(self) -> int:
        return len(self.change)


@dataclass(frozen=True, eq=False)
class Interval:
    """Estimates with a central credible interval holding `level` of the probability."""

    mean: Float[np.ndarray, " entry"]
    low: Float[np.ndarray, " entry"]
    high: Float[np.ndarray, " entry"]
    level: float = 0.9


@dataclass(frozen=True, eq=False)
class Draws:
    """What a sampler keeps of every draw: small summaries that carry the diagnostics.

    `tracked` holds the codes of the workers whose diagonals are kept: all, or the busiest where
    keeping all would take more than 64 MB. Where a story was inverted (`bayes`), `sites` holds its
    own parameters by name, and `stats` what the sampler tells: `diverging` and `n_steps` of NUTS.
    """

    log_density: Float[np.ndarray, "chain draw"]
    prior: Float[np.ndarray, "chain draw class"]
    diagonal: Float[np.ndarray, "chain draw tracked class"]
    tracked: Int[np.ndarray, " tracked"]
    sites: dict[str, np.ndarray] = field(default_factory=dict)  # name -> (chain, draw, ...)
    stats: dict[str, np.ndarray] = field(default_factory=dict)  # name -> (chain, draw)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Flat names for saving; `from_arrays` reads them."""
        plain = {n: getattr(self, n) for n in ("log_density", "prior", "diagonal", "tracked")}
        bags = {f"site_{name}": value for name, value in self.sites.items()}
        bags |= {f"stat_{name}": value for name, value in self.stats.items()}
        return {f"draws_{name}": np.asarray(value) for name, value in (plain | bags).items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Draws | None:
        """The draws among these arrays; None where there are none."""
        bag = {k.removeprefix("draws_"): v for k, v in arrays.items() if k.startswith("draws_")}
        if not bag:
            return None
        return cls(
            **{n: bag[n] for n in ("log_density", "prior", "diagonal", "tracked")},
            sites={k.removeprefix("site_"): v for k, v in bag.items() if k.startswith("site_")},
            stats={k.removeprefix("stat_"): v for k, v in bag.items() if k.startswith("stat_")},
        )

    def to_arviz(self) -> Any:
        """The draws as `arviz.InferenceData` (needs the extra `bayes`)."""
        return import_arviz().from_dict(
            posterior={"diagonal": self.diagonal, **(self.sites or {"prior": self.prior})},
            sample_stats={"lp": self.log_density, **self.stats},
            coords={"tracked": self.tracked},
            dims={"prior": ["class"], "diagonal": ["tracked", "class"]},
        )


@dataclass(frozen=True)
class VoteWeight:
    """One vote of an explained item."""

    worker: str
    label: str
    weight: float  # nats the vote adds to the log odds of the answer against the runner-up
    worker_accuracy: float


@dataclass(frozen=True)
class Explanation:
    """Why an item got its label, and the least that would have changed it.

    `flip_by_removing` is a smallest set found greedily of votes without which the answer changes;
    `flip_by_changing` the same where the votes go to the runner-up instead. Empty where even all
    the votes for the answer do not change it (a gold item, a very uneven prior).
    """

    item: str
    label: str
    runner_up: str
    posterior: dict[str, float]
    votes: tuple[VoteWeight, ...]
    flip_by_removing: tuple[VoteWeight, ...]
    flip_by_changing: tuple[VoteWeight, ...]
    gold: bool

    def __str__(self) -> str:
        shown = ", ".join(f"{c} {p:.3f}" for c, p in self.posterior.items() if p >= 0.0005)
        lines = [f"item {self.item}: {self.label}   ({shown})"]
        if self.gold:
            lines.append("  given as a gold answer: votes do not move it")
        lines += [
            f"  {v.weight:+7.2f}  {v.worker} said {v.label} (accuracy {v.worker_accuracy:.2f})"
            for v in self.votes
        ]
        for flip, change in (
            (self.flip_by_removing, "were left out"),
            (self.flip_by_changing, f"were for {self.runner_up}"),
        ):
            if flip:
                whose = ", ".join(v.worker for v in flip)
                votes = "the vote" if len(flip) == 1 else f"the {len(flip)} votes"
                lines.append(f"  the answer would change if {votes} of {whose} {change}")
        return "\n".join(lines)


class Fitted:
    """Base of `Aggregation`, and of `ShardedAggregation`, which a fit of coded votes returns."""


@dataclass(frozen=True, eq=False)
class Aggregation(Fitted):
    """Posterior of every item's class, and what was learned about the workers.

    `posterior` rows sum to one. `labels` are class codes: the most probable class, ties broken at
    random by the seed. `confusion[w, k, c]` is the estimated probability that worker `w` says `c`
    when the truth is `k`. `worker_accuracy` is the probability that a worker's vote on an item
    drawn from `prior` is right, with a 90 % interval. `difficulty` is in [0, 1], or None where the
    story has none. `gold` holds the class code of clamped items, -1 elsewhere.
    """

    method: str
    settings: dict[str, Any]
    votes: Votes
    posterior: Float[np.ndarray, "item class"]
    labels: Int[np.ndarray, " item"]
    prior: Float[np.ndarray, " class"]
    confusion: Float[np.ndarray, "worker class class"]
    worker_accuracy: Interval
    history: History
    predictor: Predictor
    gold: Int[np.ndarray, " item"]
    seconds: float
    difficulty: Float[np.ndarray, " item"] | None = None
    draws: Draws | None = None
    sampler: dict[str, np.ndarray] = field(default_factory=dict)  # what resuming needs
    warnings: tuple[str, ...] = ()

    @property
    def confidence(self) -> Float[np.ndarray, " item"]:
        """Posterior probability of each item's label."""
        return np.take_along_axis(self.posterior, self.labels[:, None].astype(np.int64), 1)[:, 0]

    def label_names(self) -> pa.Array:
        """The label of every item, by name."""
        return pa.array(self.votes.classes).take(pa.array(self.labels))

    def to_table(self) -> pa.Table:
        """One row an item: task, label, confidence, n_votes, gold, and p_<class> for each class."""
        columns: dict[str, Any] = {
            "task": self.votes.items,
            "label": self.label_names(),
            "confidence": self.confidence,
            "n_votes": self.votes.votes_per_item,
            "gold": self.gold >= 0,
        }
        if self.difficulty is not None:
            columns["difficulty"] = self.difficulty
        for k, name in enumerate(self.votes.classes):
            columns[f"p_{name}"] = np.ascontiguousarray(self.posterior[:, k])
        return pa.table(columns)

    def workers_table(self) -> pa.Table:
        """One row a worker: n_votes, accuracy with its interval, agreement with the labels."""
        votes = self.votes
        agree = np.bincount(
            votes.worker, votes.label == self.labels[votes.item], minlength=votes.n_workers
        )
        return pa.table(
            {
                "worker": votes.workers,
                "n_votes": votes.votes_per_worker,
                "accuracy": self.worker_accuracy.mean,
                "accuracy_low": self.worker_accuracy.low,
                "accuracy_high": self.worker_accuracy.high,
                "agreement": agree / np.maximum(votes.votes_per_worker, 1),
            }
        )

    def predict_proba(self, votes: Votes) -> Float[np.ndarray, "item class"]:
        """Class posterior of new items judged by workers this fit has seen.

        Votes of unknown workers are left out with a warning that counts them; an item with none
        left gets what the method says of an item without votes. Raises VotesError for an unknown
        class.
        """
        return self.predictor.predict(self._recode(votes))

    def explain(self, item: Any) -> Explanation:
        """Whose votes weighed how much on one item (by name), and what would flip the answer.

        A vote's weight is how much the log odds of the answer against the runner-up fall when that
        vote alone is left out, all else of the fit held fixed. Raises VotesError for an unknown
        item.
        """
        from crowdlearn.explain import explain

        return explain(self, self.votes.item_code(item))

    def save(self, folder: str | Path) -> None:
        """Write the whole result to a new folder (Parquet, NPZ and JSON); whole or not at all.

        Raises OutputError if the folder holds something else, or cannot be written.
        """
        from crowdlearn.io import new_folder

        with new_folder(folder) as path:
            self.write_into(path)

    def write_into(self, path: Path) -> None:
        """The files of `save`, into an existing folder."""
        pq.write_table(self.to_table(), path / "posterior.parquet")
        pq.write_table(self.votes.to_table(), path / "votes.parquet")
        pq.write_table(self.workers_table(), path / "workers.parquet")
        np.savez(path / "arrays.npz", **self._arrays())  # type: ignore[arg-type]
        np.savez(path / "predictor.npz", **to_arrays(self.predictor))
        (path / "summary.json").write_text(json.dumps(self.summary(), indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> Aggregation:
        """The result that `save` wrote. Raises VotesError where a file is missing or foreign."""
        from crowdlearn.io import load_aggregation

        return load_aggregation(Path(folder))

    def summary(self) -> dict[str, Any]:
        """What a person asks first, as plain JSON values."""
        votes = self.votes
        return {
            "format": FORMAT,
            "method": self.method,
            "settings": self.settings,
            "n_votes": votes.n_votes,
            "n_items": votes.n_items,
            "n_workers": votes.n_workers,
            "classes": list(votes.classes),
            "n_gold": int((self.gold >= 0).sum()),
            "prior": self.prior.tolist(),
            "label_counts": np.bincount(self.labels, minlength=votes.n_classes).tolist(),
            "expected_error": float(1 - self.confidence.mean()),
            "converged": self.history.converged,
            "stopped": self.history.stopped,
            "n_sweeps": self.history.n_sweeps,
            "bound_name": self.history.bound_name,
            "seconds": self.seconds,
            "warnings": list(self.warnings),
        }

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {
            "posterior": self.posterior,
            "labels": self.labels,
            "prior": self.prior,
            "confusion": self.confusion,
            "gold": self.gold,
            "bound": self.history.bound,
            "change": self.history.change,
            **_prefixed("accuracy", self.worker_accuracy),
            **{f"sampler_{k}": v for k, v in self.sampler.items()},
        }
        if self.difficulty is not None:
            arrays["difficulty"] = self.difficulty
        if self.history.held_out is not None:
            arrays["held_out"] = self.history.held_out
        if self.draws is not None:
            arrays |= self.draws.to_arrays()
        return arrays

    def _recode(self, votes: Votes) -> Votes:
        """`votes` in this fit's worker and class codes, unknown workers left out."""
        class_code = pc.index_in(pa.array(votes.classes), pa.array(self.votes.classes))
        if class_code.null_count:
            unknown = [c for c in votes.classes if c not in self.votes.classes]
            raise VotesError(
                f"class {unknown[0]!r} was not among the classes of the fit: "
                f"{', '.join(self.votes.classes)}"
            )
        names = votes.workers.cast(self.votes.workers.type)
        worker_code = pc.fill_null(pc.index_in(names, self.votes.workers), -1).to_numpy()
        worker = worker_code[votes.worker]
        known = worker >= 0
        if not known.all():
            warnings.warn(
                f"{(~known).sum():,} of {votes.n_votes:,} votes left out: they come from "
                f"{(worker_code < 0).sum():,} workers that the fit has not seen",
                VotesWarning,
                stacklevel=3,
            )
        item = votes.item[known]
        offsets = np.zeros(votes.n_items + 1, dtype=np.int64)
        np.cumsum(np.bincount(item, minlength=votes.n_items), out=offsets[1:])
        plain = Votes(
            items=votes.items,
            workers=self.votes.workers,
            classes=self.votes.classes,
            item_offsets=offsets,
            worker=worker[known].astype(np.int32),
            label=class_code.to_numpy()[votes.label[known]].astype(np.int32),
        )
        if not isinstance(votes, SoftVotes):
            return plain
        opinion = np.zeros((plain.n_votes, plain.n_classes))
        opinion[:, class_code.to_numpy()] = votes.opinion[known]
        return with_opinions(plain, opinion)


if TYPE_CHECKING:
    Outcome = Aggregation  # of votes in memory, which most are
else:
    Outcome = Fitted


def _prefixed(prefix: str, bag: Interval) -> dict[str, np.ndarray]:
    return {f"{prefix}_{f.name}": np.asarray(getattr(bag, f.name)) for f in fields(bag)}
