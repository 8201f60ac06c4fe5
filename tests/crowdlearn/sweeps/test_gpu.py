"""The JAX home against the CPU home: on JAX's CPU always, on a GPU where JAX sees one."""

import sys
import warnings
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn import datasets, simulate
from crowdlearn.aggregators import AGGREGATORS, aggregator
from crowdlearn.errors import ConvergenceWarning, SettingsError
from crowdlearn.sweeps import Sums, cpu, kernels, sweeper
from crowdlearn.votes import Votes
from tests.crowdlearn.sweeps import oracles
from tests.crowdlearn.sweeps.oracles import DEEP, Scene, scene

jax = pytest.importorskip("jax")
jax_sums = pytest.importorskip("crowdlearn.sweeps.jax_sums")
jax_kernels = pytest.importorskip("crowdlearn.sweeps.jax_kernels")

HAS_GPU = any(device.platform == "gpu" for device in jax.devices())
needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(not HAS_GPU, reason="JAX sees no GPU")]
DEVICES = ["jax-cpu", pytest.param("gpu", marks=needs_gpu)]
on_every_device = pytest.mark.parametrize("device", DEVICES)

FEW = {"n_chains": 2, "n_warmup": 4, "n_draws": 8}
SHORT = {
    **FEW, "n_restarts": 2, "max_sweeps": 40, "n_resamples": 4, "n_folds": 1,
    "inference": {"name": "nuts", **FEW},
}  # fmt: skip
ON_TORCH = ("consensus", "consensus-onecoin", "bila", "laa")  # tests/crowdlearn/neural/test_gpu.py
PASSES = [
    name
    for name, make in AGGREGATORS.items()
    if any(f.name == "device" for f in fields(make)) and name not in ON_TORCH
]


def crowd(n_subtypes: int = 1) -> Scene:
    """A scene whose busiest cells and items need three levels of sums."""
    at = scene(n_items=12, n_subtypes=n_subtypes, seed=3)
    rng = np.random.default_rng(4)
    item = np.concatenate([at.votes.item, np.full(150, 11)])
    votes = Votes.from_codes(
        item,
        np.concatenate([at.votes.worker, np.minimum(rng.integers(0, 9, 150), 4)]),
        np.concatenate([at.votes.label, rng.integers(0, 3, 150)]),
        items=12, workers=5, classes=3,
    )  # fmt: skip
    return Scene(votes, at.gold, at.state_class, at.prior, at.table, at.guess, at.easiness)


def home_of(at: Scene, device: str):
    return sweeper(at.votes, at.gold, state_class=at.state_class, device=device, n_threads=1)


def parts(sums: Sums) -> list[np.ndarray]:
    return [sums.counts.copy(), sums.totals, np.array([sums.bound, sums.change]), sums.guessed]


def products(at: Scene, device: str) -> list[np.ndarray]:
    """What the passes give that know any number of states."""
    home = home_of(at, device)
    rng = np.random.default_rng(5)
    start = rng.dirichlet(np.ones(at.n_states), at.votes.n_items)
    posterior, weight = home.posterior(start), rng.normal(size=start.shape)
    table = at.flat.astype(home.dtype)
    found = [*parts(home.counts(posterior)), *parts(home.product(at.prior, table, posterior))]
    return [*found, home.read(posterior), home.evidence(at.flat), home.counts(weight).counts]


def mixtures(at: Scene, device: str) -> list[np.ndarray]:
    """What the passes of the difficulty story give, in-place results included."""
    home, seen = home_of(at, device), np.full(at.votes.n_items, np.nan)
    own = np.random.default_rng(6).random(at.votes.n_votes)
    first, second = home.posterior(), home.posterior()
    easy = (at.easiness, 1 - at.easiness)
    found = parts(home.mixture(at.prior, at.flat, at.guess, *easy, first, seen))
    found += [home.read(first), seen.copy()]
    logs = [np.log(x) for x in (at.prior, at.flat, at.guess, *easy)]
    for _ in range(2):
        found += parts(home.factorised(*logs, own, second, seen))
        found += [home.read(second).copy(), seen.copy(), own.copy()]
    return found


def draws(at: Scene, device: str) -> list[np.ndarray]:
    """What the drawing passes give, kept and not kept, from uniforms that hit both ends too."""
    home, n = home_of(at, device), at.votes.n_items
    rng = np.random.default_rng(7)
    uniform, by_vote = rng.random(n), rng.random(at.votes.n_votes)
    uniform[:4], by_vote[:4] = [0, 0, 1 - 2.0**-53, 1 - 2.0**-53], [0, 1 - 2.0**-53] * 2
    tally, seen = np.ones((n, at.n_states)), np.zeros(n)
    table, found = at.flat.astype(home.dtype), []
    for keep in (True, False):
        found += parts(home.draw(at.prior, table, uniform, tally, keep))
        drawn = home.mixture_draw(
            at.prior, table, at.guess, at.easiness, uniform, by_vote, tally, keep, seen
        )
        found += [*parts(drawn), seen.copy(), tally.copy()]
    return found


def agree(run, at: Scene, device: str, tolerance: float = 1e-10):
    for ours, theirs in zip(run(at, device), run(at, "cpu"), strict=True):
        assert ours.dtype == theirs.dtype
        assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@on_every_device
@pytest.mark.parametrize("n_subtypes", [1, 2])
def test_products_and_the_primitives_are_those_of_the_cpu(device, n_subtypes):
    agree(products, crowd(n_subtypes), device)


@on_every_device
def test_the_passes_of_the_difficulty_story_are_those_of_the_cpu(device, monkeypatch):
    monkeypatch.setattr(jax_kernels, "VOTES_AT_ONCE", 50)
    agree(mixtures, crowd(), device)


@on_every_device
def test_the_same_uniforms_draw_the_same(device):
    agree(draws, crowd(), device)


@on_every_device
@pytest.mark.parametrize("run", [products, draws])
def test_large_tables_are_float32_here_too(run, device, monkeypatch):
    monkeypatch.setattr(cpu, "LARGE_CELLS", 1)
    assert home_of(crowd(), device).dtype == np.float32
    agree(run, crowd(), device, tolerance=1e-6)


@on_every_device
@pytest.mark.parametrize("at", DEEP.values(), ids=DEEP)
def test_nothing_underflows(at, device):
    home = home_of(at, device)
    posterior, (expected, log_evidence) = home.posterior(), oracles.posterior(at)
    sums = home.product(at.prior, at.flat, posterior)
    assert_allclose(sums.bound, log_evidence, rtol=1e-12)
    assert_allclose(home.read(posterior), expected, rtol=1e-7, atol=1e-280)


@on_every_device
def test_tables_are_those_of_the_cpu(device):
    at, rng = crowd(), np.random.default_rng(8)
    ours, theirs = home_of(at, device), home_of(at, "cpu")
    counts = rng.gamma(0.3, 9, 45) * (rng.random(45) < 0.6)
    seen = rng.random(12) * at.votes.votes_per_item
    for extra in (np.zeros((3, 3)), 0.5 + np.eye(3)):
        table, log_extra = ours.normalised(counts, extra)
        assert_allclose(table, theirs.normalised(counts, extra)[0], rtol=1e-12)
        assert_allclose(log_extra, theirs.normalised(counts, extra)[1], rtol=1e-10)
    for logs in (False, True):
        found, divergence = ours.expected(counts, extra, logs)
        assert_allclose(found, theirs.expected(counts, extra, logs)[0], rtol=1e-10)
        assert_allclose(divergence, theirs.expected(counts, extra, logs)[1], rtol=1e-10)
        easy = ours.beta_expectations(seen, (9.0, 1.0), logs)
        for one, other in zip(easy, theirs.beta_expectations(seen, (9.0, 1.0), logs), strict=True):
            assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def world() -> Votes:
    return simulate.idbla(60, 12, 3, seed=1).votes


VOTES = {"anesthesia": lambda: datasets.load("anesthesia"), "a simulated world": world}
MADE_OF_OTHERS = ("auto", "bayes")  # one set of votes is enough: their parts are tried on both
FITS = [
    pytest.param(name, votes, id=f"{name}-{kind}")
    for name in PASSES
    for kind, votes in VOTES.items()
    if kind == "anesthesia" or name not in MADE_OF_OTHERS
]


def fit(name: str, votes: Votes, gold: np.ndarray, **where: str):
    known = {field.name for field in fields(AGGREGATORS[name])}
    short = {setting: value for setting, value in SHORT.items() if setting in known}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return aggregator(name, **short, **where).fit(votes, gold=gold)


@on_every_device
@pytest.mark.parametrize(("name", "votes"), FITS)
def test_every_method_gives_the_answer_of_the_cpu_and_repeats_itself(name, votes, device):
    votes = votes()
    gold = np.full(votes.n_items, -1)
    gold[:3] = [0, 1, 2]
    ours, again = (fit(name, votes, gold, device=device) for _ in range(2))
    theirs = fit(name, votes, gold, device="cpu")
    assert_allclose(ours.posterior, theirs.posterior, atol=1e-5)
    assert_allclose(ours.confusion, theirs.confusion, atol=1e-5)
    assert_allclose(ours.worker_accuracy.mean, theirs.worker_accuracy.mean, atol=1e-5)
    assert_allclose(ours.history.bound, theirs.history.bound, rtol=1e-7)
    assert_array_equal(ours.posterior, again.posterior)
    assert_array_equal(ours.history.bound, again.history.bound)
    ours.posterior[:] = 0  # results belong to the caller


@on_every_device
def test_a_sampler_begun_on_the_cpu_goes_on_here(device):
    votes = world()
    gold = np.full(votes.n_items, -1)
    first = fit("bcc-gibbs", votes, gold, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        here, there = (
            aggregator("bcc-gibbs", n_chains=2, n_warmup=4, n_draws=8, device=home).fit(
                votes, gold=gold, resume=first
            )
            for home in (device, "cpu")
        )
    assert_allclose(here.posterior, there.posterior, atol=1e-10)


@on_every_device
def test_precision_is_switched_on_for_the_calls_only(device):
    at = crowd()
    home = home_of(at, device)
    sums = home.counts(home.posterior())
    home.expected(sums.counts, 1 + np.eye(3))
    assert not jax.config.jax_enable_x64
    assert jax.numpy.ones(2).dtype == np.float32


@on_every_device
def test_what_is_handed_out_is_sent_once_and_cannot_go_stale(device):
    at = crowd()
    home = home_of(at, device)
    table, _ = home.normalised(home.counts(home.posterior()).counts, 1 + np.eye(3))
    assert home._sent(table) is home._sent(table)
    with pytest.raises(ValueError, match="read-only"):
        table[0] = 1.0
    changed = table.copy()
    changed[0] = 0.25
    assert_allclose(np.asarray(home._sent(changed)), changed)


@on_every_device
def test_a_posterior_is_a_copy_of_its_start_and_read_gives_a_copy(device):
    home = home_of(crowd(), device)
    start = np.full((12, 3), 1 / 3)
    posterior = home.posterior(start)
    start[:] = 0
    home.read(posterior)[:] = 0
    assert_array_equal(home.read(posterior), 1 / 3)


@settings(max_examples=100)
@given(st.lists(st.integers(0, 600), min_size=1, max_size=12).filter(any), st.booleans())
def test_trees_hold_every_vote_of_a_group_once(sizes, shuffled):
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    order = np.random.default_rng(9).permutation(offsets[-1]) if shuffled else None
    levels = jax_sums.tree(offsets, order)
    assert all(len(level) <= jax_sums.WIDTH for level in levels)
    below = [[vote] for vote in range(offsets[-1])]
    for level in levels:
        below = [[v for child in node if child >= 0 for v in below[child]] for node in level.T]
    votes = np.arange(offsets[-1]) if order is None else order
    assert below == [list(votes[a:b]) for a, b in zip(offsets, offsets[1:], strict=False)]


PICK = jax.jit(jax_kernels._pick)


@settings(max_examples=40)
@given(
    st.lists(
        st.lists(
            st.sampled_from([0.0, 1e-300, 1e-17, 0.1, 0.3, 1.0]), min_size=4, max_size=4
        ).filter(any),
        min_size=20,
        max_size=20,
    ),
    st.integers(0, 99),
)
def test_pick_is_that_of_the_cpu_and_never_of_probability_zero(rows, seed):
    p = np.array(rows) / np.sum(rows, axis=1, keepdims=True)
    uniform = np.random.default_rng(seed).random(20)
    uniform[:6] = [0, 0, 0, *[1 - 2.0**-53] * 3]
    with jax.enable_x64(True):
        state = np.asarray(PICK(p, uniform))
    assert_array_equal(
        state, [kernels._pick.py_func(row, u, 4) for row, u in zip(p, uniform, strict=True)]
    )
    assert (p[np.arange(20), state] > 0).all()


@pytest.mark.skipif(HAS_GPU, reason="JAX sees a GPU")
def test_without_a_gpu_the_error_says_what_would_do():
    with pytest.raises(SettingsError, match=r"jax\[cuda13\].*device 'cpu'"):
        sweeper(world(), np.full(60, -1), device="gpu")


def test_without_jax_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.delitem(sys.modules, "crowdlearn.sweeps.gpu", raising=False)
    with pytest.raises(ImportError, match=r"crowdlearn\[bayes\]"):
        sweeper(world(), np.full(60, -1), device="jax-cpu")


def test_an_unknown_device_is_refused():
    with pytest.raises(SettingsError, match="'tpu' is not one of auto, cpu, gpu, jax-cpu"):
        sweeper(world(), np.full(60, -1), device="tpu")
