"""Spectral methods meet EM: Dawid-Skene, started where third moments say the workers stand.

Story       That of `dawid_skene.py`.
Inference   Workers are dealt into three groups at random. Given an item's class the groups' mean
            votes are independent, so their pair and triple moments over items are sums over classes
            of products, and a whitened tensor power iteration takes these sums apart: each group's
            mean confusion and the class prior. A worker's confusion follows from the worker's votes
            and another group's mean votes by one linear equation. Then EM. Of `n_restarts` deals
            the one whose start gives the votes the highest likelihood is taken.
Paper       Zhang, Chen, Zhou and Jordan (2014), Spectral methods meet EM: a provably optimal
            algorithm for crowdsourcing, NIPS, algorithms 1 and 2; the tensor power method is that
            of Anandkumar, Ge, Hsu, Kakade and Telgarsky (2014), JMLR 15.
Departures  A group's mean vote on an item is over those of the group who voted, moments are over
            the items that all groups in question voted on, and groups get about equally many votes.
            Columns go to classes by the assignment that fits best, where the paper takes the
            largest entry of each. EM learns the class prior and adds `pseudocount` to the counts.
            Where no deal has usable moments EM starts from the vote shares, and a warning says so.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from crowdlearn.aggregation import Aggregation, OnSweep
from crowdlearn.aggregators.dawid_skene import m_step_prior
from crowdlearn.aggregators.outcome import by_truth, clamped, conclude, dirichlet_accuracy
from crowdlearn.aggregators.settings import check_settings
from crowdlearn.gold import gold_codes
from crowdlearn.inference.sweeping import sweep_until_still
from crowdlearn.predictors import ProductPredictor
from crowdlearn.sweeps import Sums, sweeper
from crowdlearn.votes import Votes

LEAST_CELL = 1e-6  # of a confusion from moments, as in the paper's experiments
LEAST_EIGENVALUE = 1e-6  # of the second moments, against their largest
N_STARTS = 20  # of the power iteration, for each component
N_STEPS = 50  # of the power iteration from each start, and again from the best
ITEMS_AT_ONCE = 1 << 14


@dataclass(frozen=True, kw_only=True)
class Spectral:
    """Settings of Dawid-Skene started by spectral moments."""

    name: ClassVar[str] = "spectral"
    random: ClassVar[bool] = True

    pseudocount: float = 0.01
    n_restarts: int = 5
    max_sweeps: int = 1000
    tolerance: float = 1e-6
    seed: int = 0
    device: str = "auto"
    n_threads: int = 0

    def __post_init__(self) -> None:
        check_settings(self)

    def fit(
        self, votes: Votes, *, gold: Any = None, on_sweep: OnSweep | None = None
    ) -> Aggregation:
        """Maximum a posteriori prior and confusions, and the item posteriors they imply."""
        started = time.perf_counter()
        known = gold_codes(votes, gold)
        home = sweeper(votes, known, device=self.device, n_threads=self.n_threads)
        extra = np.full((votes.n_classes, votes.n_classes), float(self.pseudocount))
        posterior, first, findings = self._start(votes, known, home)

        def step(state: tuple[Sums, Any, Any]) -> tuple[tuple[Sums, Any, Any], float, float]:
            prior = m_step_prior(state[0])
            table, log_extra = home.normalised(state[0].counts, extra)
            sums = home.product(prior, table, posterior)
            return (sums, prior, table), sums.bound + log_extra, sums.change

        first_state: tuple[Sums, Any, Any] = (first, None, None)
        (sums, prior, table), history = sweep_until_still(
            step,
            first_state,
            max_sweeps=self.max_sweeps,
            tolerance=self.tolerance,
            bound_name="log likelihood",
            on_sweep=on_sweep,
        )
        shape = (votes.n_workers, votes.n_classes, votes.n_classes)
        return conclude(
            self,
            votes,
            gold=known,
            posterior=home.read(posterior),
            prior=prior,
            confusion=by_truth(table, votes),
            worker_accuracy=dirichlet_accuracy(
                sums.counts.reshape(shape) + extra + 1 / votes.n_classes, prior
            ),
            history=history,
            predictor=ProductPredictor(prior, table.reshape(shape), np.arange(votes.n_classes)),
            started=started,
            findings=findings,
        )

    def _start(self, votes: Votes, known: np.ndarray, home: Any) -> tuple[Any, Sums, tuple]:
        """The posterior that EM starts from, its counts, and what went wrong on the way."""
        found: list[Moments] = []
        reason = ""
        for restart in range(self.n_restarts):
            rng = np.random.default_rng([self.seed, restart])
            moments = moments_of(votes, deal(votes, rng), rng)
            if isinstance(moments, str):
                reason = moments
            else:
                found.append(moments)
        if not found:
            posterior = home.posterior(clamped(votes.shares(), known))
            return posterior, home.counts(posterior), (FELL_BACK.format(reason),)
        tables = [worker_table(home, moments) for moments in found]
        posterior = home.posterior()
        bounds = [
            home.product(moments.prior, table, posterior).bound
            for moments, table in zip(found, tables, strict=True)
        ]
        best = int(np.argmax(bounds))
        return posterior, home.product(found[best].prior, tables[best], posterior), ()


FELL_BACK = (
    "the spectral start failed ({}), so EM started from the vote shares: this is dawid-skene"
)


@dataclass(frozen=True, eq=False)
class Moments:
    """What the moments of one deal say."""

    prior: Float[np.ndarray, " class"]
    group: Int[np.ndarray, " worker"]
    shares: list[np.ndarray]  # (item, class) of each group; zeros where it is absent
    confusion: Float[np.ndarray, "3 label class"]  # mean of each group


def deal(votes: Votes, rng: np.random.Generator) -> Int[np.ndarray, " worker"]:
    """A group 0, 1 or 2 for every worker: in random order, each to the group with fewest votes."""
    group = np.zeros(votes.n_workers, dtype=np.int64)
    held = [0, 0, 0]
    for worker in rng.permutation(votes.n_workers):
        group[worker] = held.index(min(held))
        held[group[worker]] += int(votes.votes_per_worker[worker])
    return group


def moments_of(
    votes: Votes, group: Int[np.ndarray, " worker"], rng: np.random.Generator
) -> Moments | str:
    """Group confusions and prior from the moments of this deal; or why there are none."""
    shares = [group_shares(votes, group, g) for g in range(3)]
    present = [s.sum(axis=1) > 0 for s in shares]
    together = present[0] & present[1] & present[2]
    if together.sum() < votes.n_classes:
        return "hardly an item has votes of three groups of workers"
    pairs = {
        (a, b): shares[a].T @ shares[b] / (present[a] & present[b]).sum()
        for a in range(3)
        for b in range(3)
    }
    triples = third_moment(*(s[together] for s in shares))
    priors, confusions = [], []
    for c in range(3):
        a, b = (c + 1) % 3, (c + 2) % 3
        if np.linalg.cond(pairs[a, b]) > 1 / LEAST_EIGENVALUE:
            return "some class is too rare in the pair moments"
        to_c = pairs[c, b] @ np.linalg.inv(pairs[a, b]), pairs[c, a] @ np.linalg.inv(pairs[b, a])
        second = to_c[0] @ pairs[a, c]
        third = np.einsum("xyz,ax,by->abz", triples.transpose(a, b, c), *to_c)
        parts = components((second + second.T) / 2, third, rng)
        if parts is None:
            return "the second moments are not positive"
        order = linear_sum_assignment(-parts[1])[1]
        priors.append(parts[0][order])
        confusions.append(_columns(parts[1][:, order]))
    prior = np.maximum(np.mean(priors, axis=0), LEAST_CELL)
    return Moments(prior / prior.sum(), group, shares, np.stack(confusions))


def group_shares(
    votes: Votes, group: Int[np.ndarray, " worker"], which: int
) -> Float[np.ndarray, "item class"]:
    """Share of the group's votes on each item for each class; zeros where the group has none."""
    mine = (group == which)[votes.worker]
    cells = votes.item[mine].astype(np.int64) * votes.n_classes + votes.label[mine]
    counts = np.bincount(cells, minlength=votes.n_items * votes.n_classes).reshape(
        votes.n_items, votes.n_classes
    )
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def third_moment(
    first: Float[np.ndarray, "item class"],
    second: Float[np.ndarray, "item class"],
    third: Float[np.ndarray, "item class"],
) -> Float[np.ndarray, "class class class"]:
    """Mean over items of the outer product of three rows."""
    n_classes = first.shape[1]
    total = np.zeros((n_classes**2, n_classes))
    for start in range(0, len(first), ITEMS_AT_ONCE):
        rows = slice(start, start + ITEMS_AT_ONCE)
        pairs = first[rows, :, None] * second[rows, None, :]
        total += pairs.reshape(-1, n_classes**2).T @ third[rows]
    return (total / len(first)).reshape(n_classes, n_classes, n_classes)


def components(
    second: Float[np.ndarray, "class class"],
    third: Float[np.ndarray, "class class class"],
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, " part"], Float[np.ndarray, "class part"]] | None:
    """Weights w and columns m with second = sum w m m^T and third = sum w m m m, by whitening.

    Whitened, the third moment is a sum of cubes of orthonormal vectors, each a fixed point of the
    tensor's power iteration. None where the second moment is not positive definite.
    """
    values, vectors = np.linalg.eigh(second)
    if values[0] <= LEAST_EIGENVALUE * values[-1]:
        return None
    whiten = vectors / np.sqrt(values)
    colour = vectors * np.sqrt(values)
    tensor = np.einsum("xyz,xa,yb,zc->abc", third, whiten, whiten, whiten, optimize=True)
    tensor = sum(tensor.transpose(p) for p in PERMUTATIONS) / len(PERMUTATIONS)
    weights, columns = [], []
    for _ in range(len(values)):
        size, vector = strongest(tensor, rng)
        if size <= 0:
            return None
        tensor = tensor - size * np.einsum("a,b,c->abc", vector, vector, vector)
        weights.append(1 / size**2)
        columns.append(size * colour @ vector)
    return np.array(weights), np.stack(columns, axis=1)


PERMUTATIONS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


def strongest(
    tensor: Float[np.ndarray, "class class class"], rng: np.random.Generator
) -> tuple[float, Float[np.ndarray, " class"]]:
    """The unit vector that the symmetric tensor stretches most, by power iteration, and how much.

    The best of many random starts goes on to the end.
    """
    vectors = rng.standard_normal((N_STARTS, len(tensor)))
    for _ in range(N_STEPS):
        vectors = _power_step(tensor, vectors)
    best = vectors[_stretch(tensor, vectors).argmax()][None]
    for _ in range(N_STEPS):
        best = _power_step(tensor, best)
    return float(_stretch(tensor, best)[0]), best[0]


def _power_step(tensor: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    after = np.einsum("abc,sb,sc->sa", tensor, vectors, vectors, optimize=True)
    return after / np.maximum(np.linalg.norm(after, axis=1, keepdims=True), 1e-300)


def _stretch(tensor: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.einsum("abc,sa,sb,sc->s", tensor, vectors, vectors, vectors, optimize=True)


def worker_table(home: Any, moments: Moments) -> Float[np.ndarray, " cell"]:
    """Every worker's confusion, flat (worker, label, class), from another group's mean votes.

    The mean outer product of the worker's vote and the other group's share is the worker's
    confusion times diag(prior) times the transposed confusion of the other group.
    A worker without a vote where the other group has one gets uniform columns.
    """
    n_classes = len(moments.prior)
    tables = np.empty((len(moments.group), n_classes, n_classes))
    for g in range(3):
        other = (g + 1) % 3
        mine = moments.group == g
        weight = home.posterior(moments.shares[other])
        counts = np.asarray(home.counts(weight).counts).reshape(tables.shape)[mine]
        solve = np.linalg.inv(moments.prior[:, None] * moments.confusion[other].T)
        tables[mine] = _columns(counts @ solve)
    return tables.ravel().astype(home.dtype)


def _columns(table: np.ndarray) -> np.ndarray:
    """Columns of probabilities: entries at least 1e-6, then divided by their sum."""
    least = np.maximum(table, LEAST_CELL)
    return least / least.sum(axis=-2, keepdims=True)
