"""Stochastic variational inference of a Pyro story, on torch.

The guide is an independent normal for every unconstrained parameter. The truths are summed out by
the story itself, so the only noise is that of the guide's draws and of the batches. A step sees
`batch_items` items, drawn without replacement until all have been seen, and its evidence lower
bound (ELBO) is scaled to the whole set. The classes keep their names because the first steps pull
every item's class towards its vote shares, as `inference/anchoring.py` does for NumPyro.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Int

try:
    import pyro
    import torch
    from pyro import poutine
    from pyro.infer import SVI, Trace_ELBO
    from pyro.infer.autoguide import AutoNormal
    from pyro.optim import ClippedAdam
except ImportError as error:
    raise ImportError("stories in Pyro need it: pip install 'crowdlearn[pyro]'") from error

from crowdlearn.aggregation import OnSweep, Sweep
from crowdlearn.errors import StoryError
from crowdlearn.inference.anchoring import LEAST_SHARE, PULL
from crowdlearn.inference.posterior import Samples
from crowdlearn.models_pyro import Reading, VoteData, item_plate, items_of, vote_data
from crowdlearn.neural.device import torch_device
from crowdlearn.votes import Votes

Model = Callable[[VoteData], Any]

N_ANCHOR_STEPS = 200
ANCHOR_RATE = 0.05
FINAL_RATE = 0.1  # the learning rate falls to this share of itself over the steps
START_SPREAD = 0.1  # of the guide, on the unconstrained scale
ENOUGH_CHANGE = 3.0  # standard errors by which the bound may still rise, to count as converged


def run(
    story: Model,
    votes: Votes,
    gold: Int[np.ndarray, " item"],
    *,
    n_steps: int = 2000,
    batch_items: int = 0,
    learning_rate: float = 0.02,
    n_draws: int = 500,
    seed: int = 0,
    device: str = "auto",
    on_step: OnSweep | None = None,
) -> Samples:
    """Draws from the guide after `n_steps` steps, and the ELBO of every step as `bound`.

    `batch_items` 0 takes all items at every step. `on_step` hears of every step, and returning True
    ends them. Raises StoryError for a story that draws a discrete site or returns no Reading, and
    SettingsError for a device that is not there.
    """
    where = torch_device(device)
    whole = vote_data(votes, gold, device=where)
    gpus = [where.index or 0] if where.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus), pyro.get_param_store().scope():
        torch.manual_seed(seed)
        plates = item_plate if check_story(story, whole) else None
        guide = AutoNormal(story, init_scale=START_SPREAD, create_plates=plates)
        guide(whole)  # its parameters are made on the first call
        batches = _batches(whole, batch_items)
        _anchor(story, guide, votes, batches, where)
        bound, stopped = _ascend(story, guide, batches, n_steps, learning_rate, on_step)
        sites = draw_sites(guide, whole, n_draws)
    converged = settled(bound) and not stopped
    return Samples.independent(
        sites,
        bound=bound,
        converged=converged,
        stopped=stopped,
        problems=() if converged or stopped else (_still_rising(n_steps),),
    )


def truth_posterior(
    story: Model, samples: Samples, data: VoteData
) -> Float[np.ndarray, "item class"]:
    """Posterior of every item's class: exact under each draw, averaged over the draws."""
    total = torch.zeros((data.n_here, data.n_classes), dtype=torch.float64)
    flat = samples.flat()
    n_draws = len(next(iter(flat.values())))
    with torch.no_grad(), poutine.block():
        for draw in range(n_draws):
            given = {n: torch.tensor(x[draw], device=data.item.device) for n, x in flat.items()}
            total += pyro.condition(story, data=given)(data).truth(data).cpu()
    mean = total.numpy() / n_draws
    return mean / mean.sum(axis=1, keepdims=True)


def check_story(story: Model, data: VoteData) -> bool:
    """Has the story parameters of items? Raises StoryError where it cannot be inverted here."""
    name = getattr(story, "__name__", None) or getattr(
        getattr(story, "func", story), "__name__", ""
    )
    with torch.no_grad(), poutine.trace() as tracer:
        returned = story(data)
    for site, node in tracer.trace.nodes.items():
        if node["type"] == "sample" and getattr(node["fn"], "has_enumerate_support", False):
            if not node["is_observed"]:
                raise StoryError(
                    f"story {name!r} draws the discrete site {site!r}: sum it out in the "
                    "probabilities that you pass to marginalise"
                )
    if not isinstance(returned, Reading):
        raise StoryError(
            f"story {name!r} returns no Reading: end it with "
            "`return marginalise(data, log_prior, log_vote)` of crowdlearn.models_pyro"
        )
    return "item" in tracer.trace.nodes


def draw_sites(guide: AutoNormal, whole: VoteData, n_draws: int) -> dict[str, np.ndarray]:
    """Independent draws from the guide, site -> (draw, ...), constrained."""
    with torch.no_grad():
        draws = [guide(whole) for _ in range(n_draws)]
    return {name: torch.stack([draw[name] for draw in draws]).cpu().numpy() for name in draws[0]}


def settled(bound: Float[np.ndarray, " step"]) -> bool:
    """Has the bound stopped rising? Its last tenth is compared with the tenth before."""
    n = len(bound) // 10
    if n < 2:
        return False
    before, last = bound[-2 * n : -n], bound[-n:]
    error = math.sqrt((before.var(ddof=1) + last.var(ddof=1)) / n)
    return bool(last.mean() - before.mean() <= ENOUGH_CHANGE * error)


def _still_rising(n_steps: int) -> str:
    return f"the bound still rises after {n_steps} steps: raise n_steps or learning_rate"


def _batches(whole: VoteData, batch_items: int) -> Iterator[VoteData]:
    """Batches without end; every item once in every pass."""
    while True:
        if not 0 < batch_items < whole.n_items:
            yield whole
            continue
        order = torch.randperm(whole.n_items, device=whole.index.device)
        for items in order.split(batch_items):
            yield items_of(whole, items)


def _anchor(
    story: Model,
    guide: AutoNormal,
    votes: Votes,
    batches: Iterator[VoteData],
    where: torch.device,
) -> None:
    """The first steps, with every item's class pulled towards its vote shares."""
    log_share = np.log(np.maximum(votes.shares(), LEAST_SHARE))
    tilt = torch.tensor(PULL * log_share, dtype=torch.float32, device=where)

    def tilted(data: VoteData) -> None:
        with poutine.block(hide=["votes"]):
            reading = story(data)
        pull = tilt[data.index].repeat_interleave(reading.log_prior.shape[1] // data.n_classes, 1)
        total = (reading.evidence(data) + pull).logsumexp(1).sum()
        pyro.factor("votes_and_tilt", data.scale * total)

    svi = SVI(tilted, guide, ClippedAdam({"lr": ANCHOR_RATE}), Trace_ELBO())
    for _ in range(N_ANCHOR_STEPS):
        svi.step(next(batches))


def _ascend(
    story: Model,
    guide: AutoNormal,
    batches: Iterator[VoteData],
    n_steps: int,
    learning_rate: float,
    on_step: OnSweep | None,
) -> tuple[Float[np.ndarray, " step"], bool]:
    """The ELBO of every step, and whether `on_step` ended them."""
    decay = FINAL_RATE ** (1 / n_steps)
    svi = SVI(story, guide, ClippedAdam({"lr": learning_rate, "lrd": decay}), Trace_ELBO())
    bound = np.empty(n_steps)
    for step in range(n_steps):
        bound[step] = -svi.step(next(batches))
        if on_step is not None and on_step(Sweep(step + 1, n_steps, math.nan, bound[step])):
            return bound[: step + 1], True
    return bound, False
