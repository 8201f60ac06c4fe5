"""Effective samples per CPU second of the samplers that can invert the same BCC.

    python -m benchmarks.bayes_ess --sampler gibbs --votes 10000 --classes 2 --seed 0

`gibbs` and `nuts` (NumPyro's own loop, in float64) are those of `speed_ess`. `engine` is `Bayes`
with `Nuts`, as users call it, one chain in float32; its rate holds the search for a start. Its
transitions compile in a run before. `discrete` (DiscreteHMCGibbs around NUTS) and `mixed`
(MixedHMC) are NumPyro's samplers for a story that draws every truth at a discrete site. They look
at every item in turn and at all votes each time, so a draw costs items times votes: few draws are
made (`FEW`), from the vote shares, and the warm-up counts as it does for the others. A run
that takes longer than `SECONDS` is stopped and has no rate.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks import speed_ess, synthetic
from benchmarks.machine import ONE_THREAD, ROOT
from benchmarks.speed_ess import DIAGONAL, NUTS_DRAWS, OFF, PRIOR, figures
from benchmarks.sweep_cost import Clock
from benchmarks.truth_sets import spread
from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.engines import Nuts
from crowdlearn.votes import Votes

FEW = 100  # draws of the samplers of discrete sites, and as many to warm up
SECONDS = 1200
BCC = {"prior_count": PRIOR, "off_diagonal": OFF, "diagonal": DIAGONAL}


def engine(votes: Votes, seed: int, n_draws: int = NUTS_DRAWS) -> dict[str, Any]:
    """One chain of our engine, as long to warm up as to draw."""
    settings = Nuts(n_chains=1, n_warmup=n_draws, n_draws=n_draws)
    method = aggregator("bayes", story="bcc", parameters=BCC, inference=settings, seed=seed)
    method.fit(votes, on_sweep=Clock(1))
    clock = Clock(2 * n_draws)
    start = time.process_time()
    fit = method.fit(votes, on_sweep=clock)
    spent = np.array([cpu for cpu, _ in clock.stamps]) - start
    assert fit.draws is not None
    diagonal = np.einsum("cdwkk->cdwk", fit.draws.sites["confusion"])
    return figures(diagonal, spent[n_draws - 1], spent[-1] - spent[n_draws - 1])


def explicit(votes: Votes, kind: str, seed: int, n_draws: int = FEW) -> dict[str, Any]:
    """One chain of a NumPyro sampler that draws the truths, compiled as one loop and run twice."""
    import jax
    import numpyro

    numpyro.enable_x64()
    from numpyro.infer import HMC, NUTS, DiscreteHMCGibbs, MixedHMC, init_to_value

    shares = votes.shares()
    values = speed_ess.start_values(votes) | {"truth": shares.argmax(axis=1)}
    model, init = discrete_model(votes), init_to_value(values=values)
    kernel = {
        "discrete": lambda: DiscreteHMCGibbs(NUTS(model, init_strategy=init)),
        "mixed": lambda: MixedHMC(HMC(model, init_strategy=init, trajectory_length=1.0)),
    }[kind]()
    state = kernel.init(jax.random.key(seed), n_draws, None, (), {})

    def one_draw(state: Any, _: None) -> tuple[Any, Any]:
        state = kernel.sample(state, (), {})
        return state, {name: x for name, x in state.z.items() if name != "truth"}

    jitted = jax.jit(lambda state: jax.lax.scan(one_draw, state, None, n_draws))
    loop = jitted.lower(state).compile()
    stamps = [time.process_time()]
    for _ in ("warm-up", "draws"):
        state, z = jax.block_until_ready(loop(state))
        stamps.append(time.process_time())
    to_simplex = numpyro.distributions.biject_to(numpyro.distributions.constraints.simplex)
    confusion = np.asarray(to_simplex(z["confusion"]))
    return figures(np.einsum("dwkk->dwk", confusion)[None], *np.diff(stamps))


def discrete_model(votes: Votes) -> Callable[[], None]:
    """BCC as a NumPyro program that draws every item's truth."""
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
        with numpyro.plate("item", votes.n_items):
            truth = numpyro.sample("truth", dist.Categorical(prior))
        numpyro.factor("votes", jnp.log(confusion[worker, truth[item], label]).sum())

    return model


SAMPLERS: dict[str, Callable[..., dict[str, Any]]] = {
    "gibbs": speed_ess.gibbs,
    "engine": engine,
    "nuts": speed_ess.nuts,
    "discrete": partial(explicit, kind="discrete"),
    "mixed": partial(explicit, kind="mixed"),
}
TITLES = {
    "gibbs": "`bcc-gibbs`",
    "engine": "`bayes`, NUTS, truths summed out",
    "nuts": "NumPyro NUTS, truths summed out",
    "discrete": "NumPyro DiscreteHMCGibbs",
    "mixed": "NumPyro MixedHMC",
}
SHORT = {"engine": {"n_draws": 100}, "discrete": {"n_draws": 20}, "mixed": {"n_draws": 20}}
"""Settings of a rehearsal."""


def one(sampler: str, n_votes: int, n_classes: int, seed: int, quick: bool) -> dict[str, Any]:
    """One run in this process, on one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    warnings.simplefilter("ignore")
    votes = synthetic.read_codes(synthetic.cached(n_votes, n_classes))
    return SAMPLERS[sampler](votes, seed=seed, **(SHORT.get(sampler, {}) if quick else {}))


def in_fresh_process(
    sampler: str, n_votes: int, n_classes: int, seed: int, quick: bool, seconds: float
) -> dict[str, Any] | None:
    """`one` in a process of its own; None where it took too long."""
    command = [sys.executable, "-m", "benchmarks.bayes_ess", "--sampler", sampler]
    command += ["--votes", str(n_votes), "--classes", str(n_classes), "--seed", str(seed)]
    command += ["--quick"] if quick else []
    environment = {**os.environ, **ONE_THREAD}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} ended with {done.returncode}: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(
    n_votes: int, n_classes: int, samplers: list[str], n_seeds: int, quick: bool
) -> dict[str, Any]:
    """Rates of every sampler on one world, over seeds; after a run too long its others are left."""
    synthetic.cached(n_votes, n_classes)
    seconds = 40 if quick else SECONDS
    result: dict[str, Any] = {"votes": n_votes, "classes": n_classes, "limit_seconds": seconds}
    result["samplers"] = {}
    for sampler in samplers:
        runs: list[dict[str, Any]] = []
        for seed in range(n_seeds):
            run = in_fresh_process(sampler, n_votes, n_classes, seed, quick, seconds)
            if run is None:
                break
            runs.append(run)
        rate = spread([run["ess_per_second"] for run in runs]) if runs else None
        result["samplers"][sampler] = {"ess_per_second": rate, "runs": runs}
        shown = "took too long" if rate is None else f"{rate['mean']:.2f} a CPU second"
        print(f"{n_votes:,} votes, {n_classes} classes: {sampler} {shown}", flush=True)
    return result


def markdown(results: list[dict[str, Any]]) -> str:
    """One row a sampler and world."""
    lines = [
        "| votes | classes | sampler | effective samples a CPU second | of the draws alone "
        "| `bcc-gibbs` is faster by | CPU seconds a draw | worst R-hat |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        gibbs = result["samplers"]["gibbs"]["ess_per_second"]["mean"]
        for name, of in result["samplers"].items():
            world = f"| {result['votes']:,} | {result['classes']} | {TITLES[name]} "
            if not of["runs"]:
                lines.append(f"{world}| none within {result['limit_seconds']:,} s | | | | |")
                continue
            runs, rate = of["runs"], of["ess_per_second"]["mean"]
            alone = np.mean([run["ess_per_second_of_draws"] for run in runs])
            draw = np.mean([run["draws_seconds"] / run["draws"] for run in runs])
            worst = max(run["worst_rhat"] for run in runs)
            lines.append(
                f"{world}| {rate:.3g} | {alone:.3g} | {gibbs / rate:.3g} | {draw:.2g} "
                f"| {worst:.2f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sampler", choices=SAMPLERS, required=True)
    parser.add_argument("--votes", type=int, default=10**4)
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    print(json.dumps(one(args.sampler, args.votes, args.classes, args.seed, args.quick)))


if __name__ == "__main__":
    main()
