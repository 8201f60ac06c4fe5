"""Every story once more, by brute force: NumPy and SciPy, all worlds written out.

A story is given here by its sites (what they are, and over which axes), the density of its prior,
the probability of every state of an item, and the joint probability of each vote's label and of
what caused it. `enumerate_worlds` sums over all truths and all causes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy import stats
from scipy.special import expit, logsumexp, softmax

from crowdlearn.votes import Votes

Sites = dict[str, np.ndarray]
N_SUBTYPES = N_COMMUNITIES = 2


@dataclass(frozen=True)
class Oracle:
    """One story. Axes: i items, w workers, k classes, g subtypes, m communities."""

    sites: dict[str, tuple[str, str]]  # name -> (kind, axes)
    log_prior: Callable[[Sites], float]  # of the continuous parameters
    states: Callable[[Sites, int], np.ndarray]  # (parameters, n_classes) -> (class, subtype)
    told: Callable[[Sites, Votes], np.ndarray]  # (vote, class, subtype, cause)
    parameters: dict[str, object] = field(default_factory=dict)  # of the story, not by default


def draw(oracle: Oracle, votes: Votes, rng: np.random.Generator) -> Sites:
    """Some parameters, inside their ranges."""
    size = sizes(votes)
    kinds = {
        "simplex": lambda *shape: rng.dirichlet(np.ones(shape[-1]), size=shape[:-1]),
        "unit": lambda *shape: rng.beta(2, 2, size=shape),
        "real": lambda *shape: rng.normal(size=shape),
        "positive": lambda *shape: rng.lognormal(size=shape),
    }
    return {
        name: np.asarray(kinds[kind](*(size[axis] for axis in axes)))
        for name, (kind, axes) in oracle.sites.items()
    }


def sizes(votes: Votes) -> dict[str, int]:
    counts = {"i": votes.n_items, "w": votes.n_workers, "k": votes.n_classes}
    return counts | {"g": N_SUBTYPES, "m": N_COMMUNITIES}


def permuted(oracle: Oracle, sites: Sites, order: dict[str, np.ndarray]) -> Sites:
    """The same parameters after entry `j` of an axis has become entry `order[axis][j]`."""
    moved = {}
    for name, (_, axes) in oracle.sites.items():
        value = sites[name]
        for position, axis in enumerate(axes):
            if axis in order:
                value = np.take(value, np.argsort(order[axis]), axis=position)
        moved[name] = value
    return moved


def enumerate_worlds(
    oracle: Oracle, sites: Sites, votes: Votes, gold: np.ndarray
) -> tuple[float, np.ndarray]:
    """Log density of parameters and votes, and the posterior (item, class), by summing worlds."""
    state = oracle.states(sites, votes.n_classes)
    told = oracle.told(sites, votes)
    told = np.broadcast_to(told, (votes.n_votes, *state.shape, told.shape[3]))
    told = told.reshape(votes.n_votes, state.size, -1)
    causes = np.array(list(itertools.product(range(told.shape[2]), repeat=votes.n_votes)))
    class_of = np.repeat(np.arange(votes.n_classes), state.shape[1])
    logs, worlds = [], []
    for world in itertools.product(range(state.size), repeat=votes.n_items):
        truth = class_of[list(world)]
        if np.any((gold >= 0) & (gold != truth)):
            continue
        at = np.array(world)[votes.item]
        each = np.log(told[np.arange(votes.n_votes), at])  # (vote, cause)
        by_cause = np.take_along_axis(each.T, causes, axis=0).sum(axis=1)
        logs.append(np.log(state.ravel()[list(world)]).sum() + logsumexp(by_cause))
        worlds.append(truth)
    total = logsumexp(logs)
    posterior = np.zeros((votes.n_items, votes.n_classes))
    for truth, log in zip(worlds, logs, strict=True):
        posterior[np.arange(votes.n_items), truth] += np.exp(log - total)
    return oracle.log_prior(sites) + float(total), posterior


def dirichlet(rows: np.ndarray, alpha: np.ndarray | float) -> float:
    """Log density of all the rows."""
    alphas = np.broadcast_to(alpha, rows.shape).reshape(-1, rows.shape[-1])
    flat = rows.reshape(-1, rows.shape[-1])
    return float(sum(stats.dirichlet.logpdf(r, a) for r, a in zip(flat, alphas, strict=True)))


def diagonal_counts(n_classes: int, off: float, diagonal: float) -> np.ndarray:
    counts = np.full((n_classes, n_classes), off)
    np.fill_diagonal(counts, diagonal)
    return counts


def by_prior(p: Sites, n_classes: int) -> np.ndarray:
    return p["prior"][:, None]


def uniform(p: Sites, n_classes: int) -> np.ndarray:
    return np.full((n_classes, 1), 1 / n_classes)


def by_rows(rows: Callable[[Sites, int, int], np.ndarray]) -> Callable[[Sites, Votes], np.ndarray]:
    """Told by a matrix (class, label) that depends on the vote's item and worker, no causes."""

    def told(p: Sites, votes: Votes) -> np.ndarray:
        pairs = zip(votes.item, votes.worker, votes.label, strict=True)
        return np.stack([rows(p, i, w)[:, c] for i, w, c in pairs])[:, :, None, None]

    return told


def of_one_coin(ability: float, n_classes: int) -> np.ndarray:
    wrong = (1 - ability) / (n_classes - 1)
    return diagonal_counts(n_classes, wrong, ability)


def told_by_mace(p: Sites, votes: Votes) -> np.ndarray:
    told = np.zeros((votes.n_votes, votes.n_classes, 1, 2))
    for v, (w, c) in enumerate(zip(votes.worker, votes.label, strict=True)):
        told[v, c, 0, 0] = p["honesty"][w]
        told[v, :, 0, 1] = (1 - p["honesty"][w]) * p["guess"][w, c]
    with np.errstate(divide="ignore"):
        return told + 1e-300  # whose logarithm is finite


def told_by_idbla(p: Sites, votes: Votes) -> np.ndarray:
    guess = p.get("guess", np.full(votes.n_classes, 1 / votes.n_classes))
    told = np.zeros((votes.n_votes, votes.n_classes, 1, 2))
    triples = zip(votes.item, votes.worker, votes.label, strict=True)
    for v, (i, w, c) in enumerate(triples):
        told[v, :, 0, 0] = p["easiness"][i] * p["confusion"][w, :, c]
        told[v, :, 0, 1] = (1 - p["easiness"][i]) * guess[c]
    return told


def told_by_ebcc(p: Sites, votes: Votes) -> np.ndarray:
    return np.moveaxis(p["confusion"], 3, 1)[votes.worker, votes.label][..., None]


def log_scores(p: Sites) -> float:
    """Log prior of whichever of the logistic stories' sites there are."""
    total = dirichlet(p["prior"], 1.0)
    total += stats.norm.logpdf(p["typical"], np.eye(len(p["prior"])), 1.0).sum()
    for name in ("scatter", "item_scatter"):
        total += stats.halfnorm.logpdf(p[name]).sum() if name in p else 0.0
    for name in ("deviation", "item_effect"):
        total += stats.norm.logpdf(p[name]).sum() if name in p else 0.0
    return float(total)


def log_strengths(p: Sites) -> float:
    n_classes = len(p["prior"])
    return (
        dirichlet(p["prior"], 1.0)
        + dirichlet(p["mean"], diagonal_counts(n_classes, 1.0, 2.0))
        + float(stats.lognorm.logpdf(p["strength"], 1.0, scale=2.0 * n_classes).sum())
    )


def log_cbcc(p: Sites) -> float:
    """The workers' communities are summed out as worlds of their own."""
    n_communities, n_workers = len(p["share"]), len(p["confusion"])
    member = np.array(
        [
            [
                dirichlet(rows, p["strength"][m][:, None] * p["mean"][m])
                for m in range(n_communities)
            ]
            for rows in p["confusion"]
        ]
    )
    worlds = itertools.product(range(n_communities), repeat=n_workers)
    logs = [sum(np.log(p["share"][m]) + member[w, m] for w, m in enumerate(a)) for a in worlds]
    return log_strengths(p) + dirichlet(p["share"], 10.0) + float(logsumexp(logs))


def log_idbla(p: Sites) -> float:
    return (
        dirichlet(p["prior"], 1.0)
        + dirichlet(p["confusion"], 1.0)
        + float(stats.beta.logpdf(p["easiness"], 9.0, 1.0).sum())
        + (dirichlet(p["guess"], 1.0) if "guess" in p else 0.0)
    )


PRIOR = ("simplex", "k")
ROWS = ("simplex", "wkk")
TYPICAL = {"prior": PRIOR, "typical": ("real", "kk")}
WORKERS = {"scatter": ("positive", "kk"), "deviation": ("real", "wkk")}
ITEMS = {"item_scatter": ("positive", "kk"), "item_effect": ("real", "ik")}
DIFFICULTY = {"prior": PRIOR, "confusion": ROWS, "easiness": ("unit", "i")}
of_worker = by_rows(lambda p, i, w: p["confusion"][w])

ORACLES = {
    "multinomial": Oracle(
        {"prior": PRIOR, "confusion": ("simplex", "kk")},
        lambda p: dirichlet(p["prior"], 1.0) + dirichlet(p["confusion"], 1.0),
        by_prior,
        by_rows(lambda p, i, w: p["confusion"]),
    ),
    "dawid-skene": Oracle(
        {"prior": PRIOR, "confusion": ROWS},
        lambda p: dirichlet(p["prior"], 1.0) + dirichlet(p["confusion"], 1.0),
        by_prior,
        of_worker,
    ),
    "one-coin": Oracle(
        {"prior": PRIOR, "ability": ("unit", "w")},
        lambda p: (
            dirichlet(p["prior"], 1.5) + float(stats.beta.logpdf(p["ability"], 3.0, 2.0).sum())
        ),
        by_prior,
        by_rows(lambda p, i, w: of_one_coin(p["ability"][w], len(p["prior"]))),
        {"prior_count": 1.5, "right": 3.0, "wrong": 2.0},
    ),
    "mace": Oracle(
        {"honesty": ("unit", "w"), "guess": ("simplex", "wk")},
        lambda p: (
            float(stats.beta.logpdf(p["honesty"], 0.5, 0.5).sum()) + dirichlet(p["guess"], 10.0)
        ),
        uniform,
        told_by_mace,
    ),
    "glad": Oracle(
        {"ability": ("real", "w"), "log_easiness": ("real", "i")},
        lambda p: float(
            stats.norm.logpdf(p["ability"], 1.0, 1.0).sum()
            + stats.norm.logpdf(p["log_easiness"], 1.0, 1.0).sum()
        ),
        uniform,
        lambda p, votes: by_rows(
            lambda p, i, w: of_one_coin(
                expit(p["ability"][w] * np.exp(p["log_easiness"][i])), votes.n_classes
            )
        )(p, votes),
    ),
    "hierarchical-dawid-skene": Oracle(
        TYPICAL | WORKERS,
        log_scores,
        by_prior,
        by_rows(lambda p, i, w: softmax(p["typical"] + p["scatter"] * p["deviation"][w], axis=1)),
    ),
    "item-difficulty": Oracle(
        TYPICAL | ITEMS,
        log_scores,
        by_prior,
        by_rows(
            lambda p, i, w: softmax(p["typical"] + p["item_scatter"] * p["item_effect"][i], axis=1)
        ),
    ),
    "logistic-random-effects": Oracle(
        TYPICAL | WORKERS | ITEMS,
        log_scores,
        by_prior,
        by_rows(
            lambda p, i, w: softmax(
                p["typical"]
                + p["scatter"] * p["deviation"][w]
                - p["item_scatter"] * p["item_effect"][i],
                axis=1,
            )
        ),
    ),
    "bcc": Oracle(
        {"prior": PRIOR, "confusion": ROWS},
        lambda p: (
            dirichlet(p["prior"], 1.0)
            + dirichlet(p["confusion"], diagonal_counts(len(p["prior"]), 1.0, 2.0))
        ),
        by_prior,
        of_worker,
    ),
    "bcc-hyper": Oracle(
        {
            "prior": PRIOR,
            "mean": ("simplex", "kk"),
            "strength": ("positive", "k"),
            "confusion": ROWS,
        },
        lambda p: (
            log_strengths(p) + dirichlet(p["confusion"], p["strength"][:, None] * p["mean"])
        ),
        by_prior,
        of_worker,
    ),
    "cbcc": Oracle(
        {
            "prior": PRIOR,
            "share": ("simplex", "m"),
            "mean": ("simplex", "mkk"),
            "strength": ("positive", "mk"),
            "confusion": ROWS,
        },
        log_cbcc,
        by_prior,
        of_worker,
        {"n_communities": N_COMMUNITIES},
    ),
    "ebcc": Oracle(
        {"prior": PRIOR, "share": ("simplex", "kg"), "confusion": ("simplex", "wkgk")},
        lambda p: (
            dirichlet(p["prior"], 1.0)
            + dirichlet(p["share"], 1.5)
            + dirichlet(p["confusion"], diagonal_counts(len(p["prior"]), 1.0, 4.0)[:, None])
        ),
        lambda p, n_classes: p["prior"][:, None] * p["share"],
        told_by_ebcc,
        {"n_subtypes": N_SUBTYPES},
    ),
    "idbla": Oracle(
        DIFFICULTY | {"guess": ("simplex", "k")}, log_idbla, by_prior, told_by_idbla
    ),
    "fixed-idbla": Oracle(DIFFICULTY, log_idbla, by_prior, told_by_idbla),
}  # fmt: skip
