"""The anaesthetists' votes of Dawid and Skene (1979), inverted in every way, beside the paper.

One story with flat priors: EM finds its most likely parameters (no prior at all, as the paper), VB
and SVI approximate its posterior, Gibbs and NUTS draw from it. The flat prior does not know the
classes apart: a permutation of the grades is exactly as probable. Every draw's grades are therefore
named by the votes (the assignment of its classes to grades that overlaps most with the vote
shares), in the same way for Gibbs and NUTS, whichever naming the chain was in; grades 3 and 4,
which few patients have, do change places within chains. `undo_switching` of the library leaves a
naming alone unless another is clearly better; here the best one is always taken, so that the two
samplers estimate the same numbers.

`PUBLISHED` holds what the paper prints in its tables 2 (class shares), 3 (error rates of observer
1) and 4 (the first six patients), to two digits, as quoted in the tests of a public implementation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from scipy.special import softmax

from crowdlearn import datasets
from crowdlearn.aggregation import Aggregation
from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.engines import Nuts, Svi, SviPyro
from crowdlearn.inference.diagnostics import ess_bulk, rhat
from crowdlearn.inference.gibbs_sites import gibbs_sites
from crowdlearn.votes import Votes

FLAT = {"prior_count": 1.0, "off_diagonal": 1.0, "diagonal": 1.0}
PUBLISHED: dict[str, Any] = {
    "prior": [0.40, 0.42, 0.11, 0.07],
    "observer_1": [
        [0.89, 0.11, 0.00, 0.00],
        [0.07, 0.88, 0.05, 0.00],
        [0.00, 0.34, 0.66, 0.00],
        [0.00, 0.00, 0.56, 0.44],
    ],
    "patients": [[1, 0, 0, 0], [0, 0, 0, 1], *4 * [[0, 1, 0, 0]]],
}


@dataclass(frozen=True, eq=False)
class Answer:
    """What one inference says; `error` are Monte-Carlo standard errors, 0 where nothing is drawn.

    Items are patients 1 to 45, grades 1 to 4, worker 0 is observer 1.
    """

    posterior: Float[np.ndarray, "item class"]
    prior: Float[np.ndarray, " class"]
    confusion: Float[np.ndarray, "worker class class"]
    error: dict[str, np.ndarray]
    worst_rhat: float | None = None
    least_ess: float | None = None

    def numbers(self) -> dict[str, np.ndarray]:
        return {"posterior": self.posterior, "prior": self.prior, "confusion": self.confusion}


def patients() -> Votes:
    """The votes, patients and observers in the order of the paper."""
    votes = datasets.load("anesthesia")
    item = np.array([int(name) - 1 for name in votes.items.to_pylist()])
    worker = np.array([int(name) - 1 for name in votes.workers.to_pylist()])
    return Votes.from_codes(item[votes.item], worker[votes.worker], votes.label)


def of_fits(fits: list[Aggregation]) -> Answer:
    """The mean over fits that differ in their seed; their spread tells the error of the mean."""
    each = {n: np.stack([getattr(f, n) for f in fits]) for n in ("posterior", "prior", "confusion")}
    root = np.sqrt(len(fits))
    error = {
        n: x.std(axis=0, ddof=1) / root if len(fits) > 1 else np.zeros(x.shape[1:])
        for n, x in each.items()
    }
    return Answer(**{n: x.mean(axis=0) for n, x in each.items()}, error=error)


def of_draws(sites: dict[str, np.ndarray], votes: Votes) -> Answer:
    """Means over draws of (chain, draw, ...), each named by the votes."""
    n_chains, n_draws = sites["prior"].shape[:2]
    flat = {n: sites[n].reshape(-1, *sites[n].shape[2:]) for n in ("prior", "confusion")}
    named = [one_draw(p, c, votes) for p, c in zip(flat["prior"], flat["confusion"], strict=True)]
    each = {
        name: np.array([draw[place] for draw in named])
        for place, name in enumerate(("posterior", "prior", "confusion"))
    }
    chains = {n: x.reshape(n_chains, n_draws, *x.shape[1:]) for n, x in each.items()}
    ess = {n: np.maximum(ess_bulk(x), 1) for n, x in chains.items()}
    return Answer(
        **{n: x.mean(axis=0) for n, x in each.items()},
        error={n: x.std(axis=0) / np.sqrt(ess[n]) for n, x in each.items()},
        worst_rhat=float(max(rhat(chains[n]).max() for n in ("prior", "confusion"))),
        least_ess=float(min(ess[n].min() for n in ("prior", "confusion"))),
    )


def one_draw(
    prior: Float[np.ndarray, " class"],
    confusion: Float[np.ndarray, "worker class class"],
    votes: Votes,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Posterior of the truths, prior and confusion under one draw, classes named by the votes."""
    evidence = np.tile(np.log(np.maximum(prior, 1e-30)), (votes.n_items, 1))
    told = np.log(np.maximum(confusion[votes.worker, :, votes.label], 1e-30))
    np.add.at(evidence, votes.item, told)
    truth = softmax(evidence, axis=1)
    found, called = linear_sum_assignment(-(truth.T @ votes.shares()))
    order = found[np.argsort(called)]
    return truth[:, order], prior[order], confusion[:, order]


def gibbs(votes: Votes, n_draws: int, n_kept: int) -> Answer:
    """Four chains of `bcc-gibbs`, thinned."""
    method = aggregator("bcc-gibbs", **FLAT, n_chains=4, n_warmup=1000, n_draws=n_draws)
    return of_draws(gibbs_sites(method, votes, n_kept=n_kept)[0], votes)


def nuts(votes: Votes, n_draws: int) -> Answer:
    """Four chains of NUTS on the NumPyro story."""
    engine = Nuts(n_chains=4, n_warmup=500, n_draws=n_draws)
    fit = aggregator("bayes", story="dawid-skene", inference=engine).fit(votes)
    assert fit.draws is not None
    return of_draws(fit.draws.sites, votes)


def svi(votes: Votes, engine: Svi | SviPyro, n_seeds: int) -> Answer:
    """A Normal on the unconstrained parameters, fitted from several seeds."""
    method = [
        aggregator("bayes", story="dawid-skene", inference=engine, seed=s) for s in range(n_seeds)
    ]
    return of_fits([each.fit(votes) for each in method])


def answers(quick: bool) -> dict[str, Answer]:
    """Every inference by name; `quick` draws less."""
    votes = patients()
    n_seeds, n_steps = (2, 1000) if quick else (5, 4000)
    ways: dict[str, Callable[[], Answer]] = {
        "EM": lambda: of_fits([aggregator("dawid-skene", pseudocount=0.0).fit(votes)]),
        "VB": lambda: of_fits([aggregator("bcc", **FLAT).fit(votes)]),
        "Gibbs": lambda: gibbs(votes, *((8000, 1000) if quick else (100_000, 4000))),
        "NUTS": lambda: nuts(votes, 400 if quick else 2000),
        "SVI, NumPyro": lambda: svi(votes, Svi(n_steps=n_steps), n_seeds),
        "SVI, Pyro": lambda: svi(votes, SviPyro(n_steps=n_steps), n_seeds),
    }
    found = {}
    for name, way in ways.items():
        found[name] = way()
        print(f"anesthesia: {name} done", flush=True)
    return found


def difference(a: Answer, b: Answer) -> dict[str, Any]:
    """Largest and mean absolute difference of every kind of number, and in standard errors.

    `z` are over numbers that are not the same to four digits; `within_2` is their share with
    |z| <= 2, `rms_z` the root of their mean square: about 0.95 and 1 where only chance differs.
    """
    result: dict[str, Any] = {}
    pairs = [
        (n, a.numbers()[n] - b.numbers()[n], np.hypot(a.error[n], b.error[n])) for n in a.error
    ]
    for name, off, _ in pairs:
        result[f"{name}_largest"] = float(np.abs(off).max())
        result[f"{name}_mean"] = float(np.abs(off).mean())
    off = np.concatenate([off.ravel() for _, off, _ in pairs])
    error = np.concatenate([e.ravel() for _, _, e in pairs])
    if (error > 1e-4).any():
        z = off[error > 1e-4] / error[error > 1e-4]
        result |= {
            "largest_z": float(np.abs(z).max()),
            "rms_z": float(np.sqrt((z**2).mean())),
            "within_2": float((np.abs(z) <= 2).mean()),
            "n_z": len(z),
        }
    return result


def measure(quick: bool) -> dict[str, Any]:
    """Every inference's numbers, how far all pairs are apart, and how far from the paper."""
    found = answers(quick)
    names = list(found)
    pairs = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
    return {
        "published": PUBLISHED,
        "answers": {name: _plain(answer) for name, answer in found.items()},
        "from_the_paper": {name: _from_paper(answer) for name, answer in found.items()},
        "differences": {f"{a} - {b}": difference(found[a], found[b]) for a, b in pairs},
    }


def _plain(answer: Answer) -> dict[str, Any]:
    numbers = {name: np.round(x, 4).tolist() for name, x in answer.numbers().items()}
    return numbers | {"worst_rhat": answer.worst_rhat, "least_ess": answer.least_ess}


def _from_paper(answer: Answer) -> dict[str, float]:
    """Largest absolute differences from what is printed."""
    ours = (answer.prior, answer.confusion[0], answer.posterior[:6])
    return {
        name: float(np.abs(x - np.array(PUBLISHED[name])).max())
        for name, x in zip(PUBLISHED, ours, strict=True)
    }


def markdown(result: dict[str, Any]) -> str:
    """Tables: class shares and observer 1; uncertain patients; differences."""
    lines = [
        "| inference | share of grades 1 to 4 | observer 1 right on grades 1 to 4 "
        "| largest difference from the paper: shares, observer 1, patients 1 to 6 |",
        "|---|---|---|---|",
        f"| *published, 1979* | {_row(PUBLISHED['prior'])} | "
        f"{_row(np.diag(PUBLISHED['observer_1']))} | |",
    ]
    for name, answer in result["answers"].items():
        off = ", ".join(f"{x:.3f}" for x in result["from_the_paper"][name].values())
        right = _row(np.diag(answer["confusion"][0]))
        lines.append(f"| {name} | {_row(answer['prior'])} | {right} | {off} |")
    return "\n".join([*lines, "", *_patients(result), "", *_differences(result)])


def _row(values: Any) -> str:
    return " ".join(f"{x:.2f}" for x in values)


def _patients(result: dict[str, Any]) -> list[str]:
    """Posteriors of every patient whom some inference is not sure of."""
    each = {name: np.array(answer["posterior"]) for name, answer in result["answers"].items()}
    unsure = np.flatnonzero(np.min([p.max(axis=1) for p in each.values()], axis=0) < 0.95)
    n = len(next(iter(each.values())))
    lines = [
        f"Posterior of grades 1 to 4 of the {len(unsure)} patients (of {n}) for whom some "
        "inference gives its grade less than 0.95:\n",
        f"| patient | {' | '.join(each)} |",
        "|---" * (len(each) + 1) + "|",
    ]
    for patient in unsure:
        cells = " | ".join(_row(p[patient]) for p in each.values())
        lines.append(f"| {patient + 1} | {cells} |")
    return lines


def _differences(result: dict[str, Any]) -> list[str]:
    lines = [
        "Differences, largest (mean); the last columns in standard errors of Monte Carlo, over all "
        "numbers with an error above 0.0001:\n",
        "| pair | patients | shares | error rates | largest z | root mean square z | within 2 |",
        "|---|---|---|---|---|---|---|",
    ]
    for pair, off in result["differences"].items():
        kinds = ("posterior", "prior", "confusion")
        cells = [f"{off[f'{k}_largest']:.3f} ({off[f'{k}_mean']:.3f})" for k in kinds]
        chance = ["", "", ""]
        if all(name in ("Gibbs", "NUTS") for name in pair.split(" - ")):
            chance = [f"{off['largest_z']:.1f}", f"{off['rms_z']:.2f}", f"{off['within_2']:.0%}"]
        lines.append(f"| {pair} | {' | '.join(cells + chance)} |")
    return lines
