"""Full draws of a Gibbs method, thinned, under the site names of its story.

A fit by Gibbs adds its draws up as it goes, so that memory does not grow with their number.
Leave-one-out, predictive checks and calibration need whole draws: a few hundred of them do.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from crowdlearn.errors import SettingsError
from crowdlearn.gold import gold_codes
from crowdlearn.inference.gibbs import Chain, Drawn, sweep_streams
from crowdlearn.votes import Votes


@runtime_checkable
class GibbsMethod(Protocol):
    """A sampler of the table of methods, such as `bcc-gibbs`."""

    name: str
    n_chains: int
    n_warmup: int
    n_draws: int
    seed: int

    def chain(
        self, votes: Votes, known: Int[np.ndarray, " item"], index: int, n_threads: int = 1
    ) -> Chain: ...


def gibbs_sites(
    method: Any, votes: Votes, *, gold: Any = None, n_kept: int = 250
) -> tuple[dict[str, np.ndarray], Float[np.ndarray, "chain draw"]]:
    """Draws of all parameters, site -> (chain, draw, ...), and the log likelihood of each draw.

    The draws are those of `method.fit`, every (n_draws / n_kept)-th of them. Sites: `prior`,
    `confusion` (worker, class, label) and what else the story draws. Raises SettingsError for a
    method that is no Gibbs sampler, and where `n_kept` is not in 1 ... n_draws.
    """
    if not isinstance(method, GibbsMethod):
        raise SettingsError(f"{method.name} is no Gibbs sampler: bcc-gibbs, for example, is one")
    if not 1 <= n_kept <= method.n_draws:
        raise SettingsError(f"n_kept is {n_kept}: from 1 to n_draws ({method.n_draws}) can be kept")
    known = gold_codes(votes, gold)
    runs = [_run(method, votes, known, index, n_kept) for index in range(method.n_chains)]
    names = list(runs[0][0])
    sites = {name: np.array([[draw[name] for draw in run] for run in runs]) for name in names}
    return sites, sites.pop("log_density")


def _run(
    method: GibbsMethod, votes: Votes, known: Int[np.ndarray, " item"], index: int, n_kept: int
) -> list[dict[str, np.ndarray]]:
    chain, every = method.chain(votes, known, index), method.n_draws // n_kept
    tally = np.zeros((votes.n_items, votes.n_classes))
    kept = []
    for sweep in range(method.n_warmup + n_kept * every):
        drawn = chain.sweep(sweep_streams(method.seed, index, sweep), tally, False)
        if sweep >= method.n_warmup and (sweep + 1 - method.n_warmup) % every == 0:
            kept.append(_sites(drawn, votes))
    return kept


def _sites(drawn: Drawn, votes: Votes) -> dict[str, np.ndarray]:
    """A draw by site, and its log density; copied, as a chain may use its memory again."""
    table = np.array(drawn.table).reshape(votes.n_workers, votes.n_classes, votes.n_classes)
    sites = {"prior": drawn.prior, "confusion": table.transpose(0, 2, 1), **drawn.extras}
    sites = {name: np.array(value) for name, value in sites.items()}
    return sites | {"log_density": np.array(drawn.log_density)}
