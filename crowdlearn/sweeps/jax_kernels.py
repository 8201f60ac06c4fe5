"""The passes over the votes as JAX functions, compiled once per shape; `gpu.py` is their home.

Products of probabilities are sums of logarithms, and no array of (vote, state) is ever held. All is
float64 but the tables and posteriors handed in and out, which are float32 where the home says so.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Int32

from crowdlearn.sweeps.jax_sums import Rows, Tree, at, group_sum
from crowdlearn.sweeps.kernels import TINY

VOTES_AT_ONCE = 1 << 18  # where every vote needs its row of states


class Layout(NamedTuple):
    """The votes on the device."""

    item: Int32[Array, " vote"]
    label: Int32[Array, " vote"]
    cell: Int32[Array, " vote"]  # worker * n_classes + label
    by_item: Tree
    by_cell: Tree
    gold: Int32[Array, " item"]
    state_class: Int32[Array, " state"]


class Totals(NamedTuple):
    """What every pass adds up; see `Sums`."""

    counts: Float[Array, " entry"]  # flat (worker, label, state)
    totals: Float[Array, " state"]
    bound: Float[Array, ""]
    guessed: Float[Array, " label"] | None = None


@jax.jit
def evidence(layout: Layout, score: Float[Array, " entry"]) -> Float[Array, "item state"]:
    """See `CpuSweeper.evidence`."""
    scores = _by_state(layout, score)
    return group_sum(lambda v: at(scores, at(layout.cell, v)), layout.by_item)


@jax.jit
def counts(layout: Layout, weight: Float[Array, "item state"]) -> Totals:
    """See `CpuSweeper.counts`."""
    weight = weight.astype(jnp.float64)
    cells = group_sum(lambda v: at(weight, at(layout.item, v)), layout.by_cell)
    return Totals(cells.ravel(), weight.sum(axis=0), jnp.array(jnp.nan))


@jax.jit
def product(
    layout: Layout,
    prior: Float[Array, " state"],
    table: Float[Array, " entry"],
    before: Float[Array, "item state"],
) -> tuple[Totals, Float[Array, "item state"], Float[Array, ""]]:
    """See `CpuSweeper.product`: sums, posterior, and by how much it moved."""
    posterior, bound = _posterior(layout, prior, evidence(layout, _log(table)))
    sums = counts(layout, posterior)._replace(bound=bound)
    return sums, posterior.astype(before.dtype), abs(posterior - before).max()


@jax.jit
def draw(
    layout: Layout,
    prior: Float[Array, " state"],
    table: Float[Array, " entry"],
    uniform: Float[Array, " item"],
) -> tuple[Totals, Float[Array, "item state"]]:
    """See `CpuSweeper.draw`: sums of the draws, and the posterior they are from."""
    posterior, bound = _posterior(layout, prior, evidence(layout, _log(table)))
    state = _pick(posterior, uniform)
    return counts(layout, _one_hot(layout, state))._replace(bound=bound), posterior


@jax.jit
def mixture(
    layout: Layout,
    prior: Float[Array, " state"],
    table: Float[Array, " entry"],
    guess: Float[Array, " label"],
    sees: Float[Array, " item"],
    misses: Float[Array, " item"],
    before: Float[Array, "item state"],
) -> tuple[Totals, Float[Array, "item state"], Float[Array, ""], Float[Array, " item"]]:
    """See `CpuSweeper.mixture`: sums, posterior, by how much it moved, and seen votes per item."""
    rows = _by_state(layout, table)
    posterior, bound = _mixture_posterior(layout, prior, rows, guess, sees, misses)

    def shares(v: Array) -> Array:
        """Probabilities of a vote's class and of its having been seen, together."""
        answered, blind = _causes(layout, rows, guess, sees, misses, v)
        return at(posterior, at(layout.item, v)) * answered / (answered + blind)

    cells = group_sum(shares, layout.by_cell)
    own = _per_vote(layout, lambda v: shares(v).sum(axis=1))
    sums = Totals(cells.ravel(), posterior.sum(axis=0), bound, _guessed(layout, own, guess))
    moved = abs(posterior - before).max()
    return sums, posterior.astype(before.dtype), moved, _seen(layout, own)


@jax.jit
def factorised(
    layout: Layout,
    log_prior: Float[Array, " state"],
    log_table: Float[Array, " entry"],
    log_guess: Float[Array, " label"],
    log_sees: Float[Array, " item"],
    log_misses: Float[Array, " item"],
    own: Float[Array, " vote"],
    before: Float[Array, "item state"],
) -> tuple[
    Totals,
    Float[Array, "item state"],
    Float[Array, ""],
    Float[Array, " item"],
    Float[Array, " vote"],
]:
    """See `CpuSweeper.factorised`: as `mixture`, and every vote's probability of being seen."""
    rows = _by_state(layout, log_table)
    logs = log_prior + group_sum(
        lambda v: at(own, v)[:, None] * at(rows, at(layout.cell, v)), layout.by_item
    )
    posterior, _ = _normalised_rows(_clamped(layout, logs))
    inside = posterior > 0
    entropy = jnp.where(inside, posterior * (log_prior - jnp.log(posterior)), 0.0).sum()
    agreed = _per_vote(
        layout,
        lambda v: (at(posterior, at(layout.item, v)) * at(rows, at(layout.cell, v))).sum(axis=1),
    )
    answered = at(log_sees, layout.item) + agreed
    both = jnp.logaddexp(answered, at(log_misses, layout.item) + at(log_guess, layout.label))
    own = jnp.exp(answered - both)
    cells = group_sum(
        lambda v: at(own, v)[:, None] * at(posterior, at(layout.item, v)), layout.by_cell
    )
    guessed = _guessed(layout, own, log_guess)
    sums = Totals(cells.ravel(), posterior.sum(axis=0), entropy + both.sum(), guessed)
    moved = abs(posterior - before).max()
    return sums, posterior.astype(before.dtype), moved, _seen(layout, own), own


@jax.jit
def mixture_draw(
    layout: Layout,
    prior: Float[Array, " state"],
    table: Float[Array, " entry"],
    guess: Float[Array, " label"],
    easiness: Float[Array, " item"],
    uniform: Float[Array, " item"],
    vote_uniform: Float[Array, " vote"],
) -> tuple[Totals, Float[Array, "item state"], Float[Array, " item"]]:
    """See `CpuSweeper.mixture_draw`: sums of the draws, the posterior, and seen votes per item."""
    rows = _by_state(layout, table)
    misses = 1.0 - easiness
    posterior, bound = _mixture_posterior(layout, prior, rows, guess, easiness, misses)
    state = _pick(posterior, uniform)
    said = rows[layout.cell, state[layout.item]]
    answered = easiness[layout.item] * said
    blind = misses[layout.item] * guess[layout.label]
    own = (vote_uniform * (answered + blind) < answered).astype(jnp.float64)
    drawn = _one_hot(layout, state)
    cells = group_sum(lambda v: at(own, v)[:, None] * at(drawn, at(layout.item, v)), layout.by_cell)
    sums = Totals(cells.ravel(), drawn.sum(axis=0), bound, _guessed(layout, own, guess))
    return sums, posterior, _seen(layout, own)


def _log(table: Array) -> Array:
    return jnp.log(table.astype(jnp.float64))


def _per_vote(layout: Layout, function: Rows) -> Float[Array, " vote"]:
    """`function` of every vote, some at a time, so that their rows of states are never all held."""
    n_votes = len(layout.item)
    n_batches = -(-n_votes // VOTES_AT_ONCE)
    size = -(-n_votes // n_batches)
    starts = jnp.arange(n_batches) * size

    def batch(start: Array) -> Array:
        return function(jnp.minimum(start + jnp.arange(size), n_votes - 1))

    return jax.lax.map(batch, starts).ravel()[:n_votes]


def _by_state(layout: Layout, table: Array) -> Float[Array, "cell state"]:
    return table.astype(jnp.float64).reshape(-1, len(layout.state_class))


def _clamped(layout: Layout, logs: Array) -> Float[Array, "item state"]:
    """Gold items keep only the states of their class."""
    gold = layout.gold[:, None]
    return jnp.where((gold >= 0) & (layout.state_class != gold), -jnp.inf, logs)


def _normalised_rows(
    logs: Float[Array, "item state"],
) -> tuple[Float[Array, "item state"], Float[Array, ""]]:
    """Rows of probabilities, and the log of what each row summed to, summed."""
    top = logs.max(axis=1, keepdims=True)
    rows = jnp.exp(logs - top)
    total = rows.sum(axis=1, keepdims=True)
    return rows / total, (top + jnp.log(total)).sum()


def _posterior(
    layout: Layout, prior: Float[Array, " state"], logs: Float[Array, "item state"]
) -> tuple[Float[Array, "item state"], Float[Array, ""]]:
    """Posteriors of items given the log likelihoods of their votes, and the log evidence of all."""
    return _normalised_rows(_clamped(layout, jnp.log(jnp.maximum(prior, TINY)) + logs))


def _causes(
    layout: Layout, rows: Array, guess: Array, sees: Array, misses: Array, v: Array
) -> tuple[Float[Array, "node state"], Float[Array, "node 1"]]:
    """The two ways in which votes came about, by the table and by a guess: their probabilities."""
    item = at(layout.item, v)
    blind = at(misses, item) * at(guess, at(layout.label, v))
    return at(sees, item)[:, None] * at(rows, at(layout.cell, v)), blind[:, None]


def _mixture_posterior(
    layout: Layout, prior: Array, rows: Array, guess: Array, sees: Array, misses: Array
) -> tuple[Float[Array, "item state"], Float[Array, ""]]:
    def log_factor(v: Array) -> Array:
        answered, blind = _causes(layout, rows, guess, sees, misses, v)
        return jnp.log(answered + blind)

    return _posterior(layout, prior, group_sum(log_factor, layout.by_item))


def _pick(
    posterior: Float[Array, "item state"], uniform: Float[Array, " item"]
) -> Int[Array, " item"]:
    """The state at `uniform` in [0, 1) of each cumulative row; never one of probability zero."""

    def pass_by(s: Int[Array, ""], at: tuple[Array, Array]) -> tuple[Array, Array]:
        left, state = at
        beyond = (state == s) & (left >= posterior[:, s])
        return jnp.where(beyond, left - posterior[:, s], left), state + beyond

    n_states = posterior.shape[1]
    start = (uniform, jnp.zeros(len(uniform), jnp.int32))
    _, state = jax.lax.fori_loop(0, n_states - 1, pass_by, start)
    possible: Bool[Array, "item state"] = posterior > 0
    last = n_states - 1 - jnp.argmax(possible[:, ::-1], axis=1)
    return jnp.minimum(state, last.astype(jnp.int32))


def _one_hot(layout: Layout, state: Int[Array, " item"]) -> Float[Array, "item state"]:
    return jax.nn.one_hot(state, len(layout.state_class), dtype=jnp.float64)


def _seen(layout: Layout, own: Float[Array, " vote"]) -> Float[Array, " item"]:
    return group_sum(lambda v: at(own, v), layout.by_item)


def _guessed(
    layout: Layout, own: Float[Array, " vote"], guess: Float[Array, " label"]
) -> Float[Array, " label"]:
    cells = group_sum(lambda v: 1.0 - at(own, v), layout.by_cell)
    return cells.reshape(-1, len(guess)).sum(axis=0)
