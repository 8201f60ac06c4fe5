"""How many effective samples does a CPU second buy: our Gibbs sampler or NumPyro's NUTS?

    python -m benchmarks.speed_ess [--votes 10000] [--classes 2 10] [--seeds 3]

The same BCC with the same priors on the same votes, for NUTS with the truths summed out. Effective
samples are our `ess_bulk` (equal to ArviZ's) for both, the median over the diagonals of all
workers' confusions. The rate holds warm-up and draws (ours 200 + 1000, its defaults; NUTS 300 +
300), not the diagnostics; the rate of the draws alone, which is that of a long run, stands beside
it. Compilation is left out on both sides. NUTS starts from the vote shares, in float64. Each run is
one chain, in a process on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import synthetic
from benchmarks.machine import RESULTS, record, write_json
from benchmarks.sweep_cost import Clock, run_json
from benchmarks.truth_sets import spread
from crowdlearn.aggregators import aggregator
from crowdlearn.inference.diagnostics import ess_bulk, rhat
from crowdlearn.votes import Votes

OFF, DIAGONAL, PRIOR = 1.0, 2.0, 1.0
NUTS_DRAWS = 300  # and as many to warm up
GIBBS_WARMUP, GIBBS_DRAWS = 200, 1000
BAR = 40


def gibbs(votes: Votes, seed: int) -> dict[str, Any]:
    """One chain of our sampler; a short fit before compiles."""
    settings = {"prior_count": PRIOR, "off_diagonal": OFF, "diagonal": DIAGONAL}
    settings |= {"n_chains": 1, "n_threads": 1, "seed": seed}
    aggregator("bcc-gibbs", **settings, n_warmup=2, n_draws=4).fit(votes)
    method = aggregator("bcc-gibbs", **settings, n_warmup=GIBBS_WARMUP, n_draws=GIBBS_DRAWS)
    clock = Clock(GIBBS_WARMUP + GIBBS_DRAWS)
    start = time.process_time()
    fit = method.fit(votes, on_sweep=clock)
    spent = np.array([cpu for cpu, _ in clock.stamps]) - start
    return figures(fit.draws.diagonal, spent[GIBBS_WARMUP - 1], spent[-1] - spent[GIBBS_WARMUP - 1])


def nuts(votes: Votes, seed: int) -> dict[str, Any]:
    """One chain of NumPyro's NUTS on the same posterior: one compiled loop, run twice.

    `MCMC.run` would compile its loop anew in every call.
    """
    import jax
    import numpyro

    numpyro.enable_x64()
    from numpyro.infer import NUTS, init_to_value

    init = init_to_value(values=start_values(votes))
    kernel = NUTS(marginal_model(votes), init_strategy=init)
    state = kernel.init(jax.random.key(seed), NUTS_DRAWS, None, (), {})

    def one_draw(state: Any, _: None) -> tuple[Any, Any]:
        state = kernel.sample(state, (), {})
        return state, (state.z, state.diverging, state.num_steps)

    jitted = jax.jit(lambda state: jax.lax.scan(one_draw, state, None, NUTS_DRAWS))
    loop = jitted.lower(state).compile()
    stamps = [time.process_time()]
    for _ in ("warm-up", "draws"):
        state, (z, diverging, steps) = jax.block_until_ready(loop(state))
        stamps.append(time.process_time())
    confusion = np.asarray(jax.vmap(kernel.postprocess_fn((), {}))(z)["confusion"])
    diagonal = np.einsum("dwkk->dwk", confusion)[None]
    found = figures(diagonal, *np.diff(stamps))
    return {**found, "divergent": int(diverging.sum()), "steps_a_draw": float(steps.mean())}


def marginal_model(votes: Votes) -> Callable[[], None]:
    """BCC as a NumPyro program with every item's truth summed out."""
    import jax
    import jax.numpy as jnp
    import numpyro
    from numpyro import distributions as dist

    n_classes = votes.n_classes
    item, worker, label = (jnp.asarray(c) for c in (votes.item, votes.worker, votes.label))
    rows = jnp.full((n_classes, n_classes), OFF) + (DIAGONAL - OFF) * jnp.eye(n_classes)

    def model() -> None:
        prior = numpyro.sample("prior", dist.Dirichlet(jnp.full(n_classes, PRIOR)))
        shape = (votes.n_workers, n_classes)
        confusion = numpyro.sample("confusion", dist.Dirichlet(rows).expand(shape).to_event(2))
        per_vote = jnp.log(confusion)[worker, :, label]
        evidence = jax.ops.segment_sum(per_vote, item, votes.n_items, indices_are_sorted=True)
        log_items = jax.nn.logsumexp(jnp.log(prior) + evidence, axis=1)
        numpyro.factor("votes", log_items.sum())

    return model


def start_values(votes: Votes) -> dict[str, np.ndarray]:
    """Prior and confusions that the vote shares imply."""
    shares = votes.shares()
    cells = np.zeros((votes.n_workers, votes.n_classes, votes.n_classes))  # [worker, label, truth]
    np.add.at(cells, (votes.worker, votes.label), shares[votes.item])
    cells = cells.transpose(0, 2, 1) + OFF + (DIAGONAL - OFF) * np.eye(votes.n_classes)
    return {
        "prior": shares.mean(axis=0),
        "confusion": cells / cells.sum(axis=2, keepdims=True),
    }


def figures(diagonal: np.ndarray, warmup: float, draws: float) -> dict[str, Any]:
    """Effective samples of (chain, draw, worker, class) draws (median entry), and their price.

    `warmup` and `draws` are CPU seconds.
    """
    ess = float(np.median(ess_bulk(diagonal)))
    return {
        "ess": ess,
        "warmup_seconds": float(warmup),
        "draws_seconds": float(draws),
        "ess_per_second": ess / (warmup + draws),
        "ess_per_second_of_draws": ess / draws,
        "worst_rhat": float(np.max(rhat(diagonal))),
        "mean_diagonal": float(diagonal.mean()),
        "draws": int(diagonal.shape[1]),
    }


SAMPLERS = {"gibbs": gibbs, "nuts": nuts}


def in_fresh_process(sampler: str, n_votes: int, n_classes: int, seed: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.speed_ess", "--one", sampler]
    command += ["--votes", str(n_votes), "--classes", str(n_classes), "--seeds", str(seed)]
    return run_json(command)


def one(sampler: str, n_votes: int, n_classes: int, seed: int) -> dict[str, Any]:
    """One sampler, in this process, on one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    warnings.simplefilter("ignore")
    votes = synthetic.read_codes(synthetic.cached(n_votes, n_classes))
    return SAMPLERS[sampler](votes, seed)


def compare(n_votes: int, n_classes: int, n_seeds: int) -> dict[str, Any]:
    """Both samplers over the seeds, and the ratio of their mean rates."""
    synthetic.cached(n_votes, n_classes)
    runs = {
        name: [in_fresh_process(name, n_votes, n_classes, seed) for seed in range(n_seeds)]
        for name in SAMPLERS
    }
    rates = {
        kind: {name: spread([run[kind] for run in of]) for name, of in runs.items()}
        for kind in ("ess_per_second", "ess_per_second_of_draws")
    }
    ratio, ratio_of_draws = (of["gibbs"]["mean"] / of["nuts"]["mean"] for of in rates.values())
    return {
        "votes": n_votes,
        "classes": n_classes,
        **rates,
        "ratio": ratio,
        "ratio_of_draws": ratio_of_draws,
        "bar": BAR,
        "runs": runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--votes", type=int, default=10**4)
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 10])
    parser.add_argument("--seeds", type=int, default=3, help="how many; with --one, which")
    parser.add_argument("--one", choices=SAMPLERS, help="print the figures of one run")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args.one, args.votes, args.classes[0], args.seeds)))
        return
    result = record(__doc__.strip().splitlines()[0], list(range(args.seeds)))
    result["sets"] = [compare(args.votes, n_classes, args.seeds) for n_classes in args.classes]
    write_json(RESULTS / "speed_ess.json", result)
    for of in result["sets"]:
        rate = {name: f"{r['mean']:.0f}" for name, r in of["ess_per_second"].items()}
        print(
            f"{of['classes']} classes: {rate} a CPU second, {of['ratio']:.1f} x (bar {BAR}); "
            f"draws alone {of['ratio_of_draws']:.1f} x"
        )


if __name__ == "__main__":
    main()
