from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp

from crowdlearn.aggregation import Aggregation
from crowdlearn.aggregators import aggregator
from crowdlearn.aggregators.bcc import dirichlet_prior
from crowdlearn.evaluation import log_loss
from crowdlearn.predictors.soft import sharpened
from crowdlearn.soft_votes import SoftVotes, opinions_of, with_opinions
from crowdlearn.sweeps import sweeper
from crowdlearn.votes import Votes
from tests.crowdlearn.aggregators.oracles import log_dirichlet_multinomial


def draw_world(
    seed: int, n_items: int = 400, n_workers: int = 8, each: int = 4, diagonal: float = 8.0
) -> tuple[SoftVotes, np.ndarray, np.ndarray]:
    """Soft votes, truths and sharpness drawn from the story, three classes.

    With t ~ Dirichlet(a, .., a + 1 at the label meant, .., a), the density of t given the label is
    that of Dirichlet(a, .., a) times t[label], up to a constant; the report is t^(1 / sharpness).
    """
    rng = np.random.default_rng(seed)
    rows = dirichlet_prior(3, 1.0, diagonal)
    prior = rng.dirichlet(np.ones(3))
    confusion = np.stack([[rng.dirichlet(row) for row in rows] for _ in range(n_workers)])
    sharpness = np.exp(rng.normal(0, 0.5, n_workers))
    truth = rng.choice(3, size=n_items, p=prior)
    item = np.repeat(np.arange(n_items), each)
    worker = np.concatenate([rng.permutation(n_workers)[:each] for _ in range(n_items)])
    chance = confusion[worker, truth[item]].cumsum(axis=1)
    meant = (rng.random(len(item))[:, None] > chance).sum(axis=1)
    gammas = rng.standard_gamma(0.7 + np.eye(3)[meant])
    opinion = sharpened(gammas / gammas.sum(axis=1, keepdims=True), 1 / sharpness[worker])
    votes = SoftVotes.from_opinions(
        item, worker, opinion, items=n_items, workers=n_workers, classes=["0", "1", "2"]
    )
    return votes, truth, sharpness


@pytest.fixture(scope="module")
def soft() -> tuple[SoftVotes, np.ndarray, np.ndarray]:
    return draw_world(0)


def test_a_pass_is_the_sum_over_truths_and_labels_meant() -> None:
    rng = np.random.default_rng(0)
    plain = Votes.from_codes(
        np.array([0, 0, 0, 1, 1]), np.array([0, 1, 1, 0, 1]), np.array([0, 1, 2, 0, 1]), classes=3
    )
    opinion, prior = rng.dirichlet(np.ones(3), 5), rng.dirichlet(np.ones(3))
    table = rng.dirichlet(np.ones(3), (2, 3)).transpose(0, 2, 1).copy()  # [worker, label, class]
    home = sweeper(plain, np.array([-1, -1]), device="cpu", n_threads=1)
    posterior, meant = np.zeros((2, 3)), np.empty((5, 3))
    sums = home.soft(prior, table.ravel(), opinion, posterior, meant)
    counts, labels, total = np.zeros((2, 3, 3)), np.zeros((5, 3)), 0.0
    for i in range(2):
        here = np.flatnonzero(plain.item == i)
        worlds = list(itertools.product(range(3), repeat=1 + len(here)))
        logs = np.array(
            [
                np.log(prior[k])
                + sum(
                    np.log(opinion[v, c] * table[plain.worker[v], c, k])
                    for v, c in zip(here, means, strict=True)
                )
                for k, *means in worlds
            ]
        )
        total += logsumexp(logs)
        for (k, *means), weight in zip(worlds, np.exp(logs - logsumexp(logs)), strict=True):
            posterior[i, k] -= weight
            for v, c in zip(here, means, strict=True):
                counts[plain.worker[v], c, k] += weight
                labels[v, c] += weight
    assert_allclose(posterior, 0, atol=1e-12)
    assert_allclose(sums.counts, counts.ravel(), atol=1e-12)
    assert_allclose(meant, labels, atol=1e-12)
    assert_allclose(sums.bound, total)


def test_sure_votes_are_plain_votes(world: tuple[Votes, np.ndarray]) -> None:
    votes, _ = world
    hard = aggregator("bcc", tolerance=1e-9).fit(votes)
    sure = with_opinions(votes, opinions_of(votes))
    for given in (votes, sure):
        fit = aggregator("soft", tolerance=1e-9).fit(given)
        assert_allclose(fit.posterior, hard.posterior, atol=1e-9)
        assert_allclose(fit.confusion, hard.confusion, atol=1e-9)
        assert_allclose(fit.history.bound[-1], hard.history.bound[-1])


def test_nearly_sure_votes_are_nearly_plain_votes(world: tuple[Votes, np.ndarray]) -> None:
    votes, _ = world
    hard = aggregator("bcc").fit(votes)
    for doubt in (1e-2, 1e-4):
        rows = (1 - 1.5 * doubt) * opinions_of(votes) + doubt / 2
        fit = aggregator("soft").fit(with_opinions(votes, rows))
        assert np.abs(fit.posterior - hard.posterior).max() < 20 * doubt


def test_the_bound_never_falls_and_is_below_the_evidence(
    soft: tuple[SoftVotes, np.ndarray, np.ndarray],
) -> None:
    bound = aggregator("soft", tolerance=1e-9).fit(soft[0]).history.bound
    assert len(bound) > 10 and np.diff(bound).min() > -1e-8 * abs(bound[-1])
    votes = draw_world(0, n_items=2, each=3)[0]
    logs = []
    for truth in itertools.product(range(3), repeat=2):
        for meant in itertools.product(range(3), repeat=votes.n_votes):
            counts = np.zeros((votes.n_workers, 3, 3))
            np.add.at(counts, (votes.worker, np.array(truth)[votes.item], np.array(meant)), 1)
            classes = np.bincount(truth, minlength=3).astype(float)
            logs.append(
                log_dirichlet_multinomial(classes, np.ones(3))
                + log_dirichlet_multinomial(counts, dirichlet_prior(3, 1.0, 2.0))
                + np.log(votes.opinion[np.arange(votes.n_votes), list(meant)]).sum()
            )
    settled = aggregator("soft", sharpness_spread=1e-4, tolerance=1e-10).fit(votes)
    evidence = float(logsumexp(logs))
    assert evidence - 3 < settled.history.bound[-1] < evidence


@pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning")
def test_in_its_own_world_posteriors_are_honest_and_sharpness_is_found() -> None:
    """With many votes a worker, labels are right as often as they say.

    With few, they are over-confident, as everything that treats truths and workers as independent
    given the votes: by 0.05 with 200 votes a worker in these worlds, where `bcc` is by 0.19.
    """
    gaps, off, losses = [], [], {"soft": [], "bcc": []}
    for seed in range(3):
        votes, truth, sharpness = draw_world(seed, n_items=3000)
        fit = aggregator("soft", diagonal=8.0, tolerance=1e-4, max_sweeps=300).fit(votes)
        blind = aggregator("bcc", diagonal=8.0, tolerance=1e-4, max_sweeps=300).fit(votes)
        gaps.append(fit.confidence.mean() - (fit.labels == truth).mean())
        off.append(np.log(fit.predictor.sharpness / sharpness))
        losses["soft"].append(log_loss(fit.posterior, truth))
        losses["bcc"].append(log_loss(blind.posterior, truth))
    assert abs(np.mean(gaps)) < 0.025
    assert np.sqrt(np.mean(np.square(off))) < 0.25  # the prior alone: 0.5
    assert np.mean(losses["soft"]) < 0.85 * np.mean(losses["bcc"])


def test_judges_and_people_in_one_set(soft: tuple[SoftVotes, np.ndarray, np.ndarray]) -> None:
    """Half of the workers as plain voters: better than without their votes."""
    votes, truth, _ = soft
    plain = votes.worker >= 4
    rows = np.where(plain[:, None], np.eye(3)[votes.label], votes.opinion)
    mixed = with_opinions(votes, rows)
    loss = log_loss(aggregator("soft").fit(mixed).posterior, truth)
    judges = aggregator("soft").fit(mixed.only_workers(np.arange(8) < 4))
    assert loss < log_loss(judges.posterior, truth) - 0.05


def test_a_saved_fit_reads_and_explains_soft_votes(
    soft: tuple[SoftVotes, np.ndarray, np.ndarray], tmp_path: object
) -> None:
    votes, _, _ = soft
    fit = aggregator("soft", tolerance=1e-9).fit(votes)
    assert_allclose(fit.predict_proba(votes), fit.posterior, atol=1e-6)
    fit.save(f"{tmp_path}/fit")
    back = Aggregation.load(f"{tmp_path}/fit")
    assert isinstance(back.votes, SoftVotes)
    assert_allclose(back.votes.opinion, votes.opinion, atol=1e-15)
    assert_allclose(back.predict_proba(votes), fit.predict_proba(votes))
    assert str(back.explain("7")) == str(fit.explain("7"))
    least = min(fit.explain("7").votes, key=lambda vote: abs(vote.weight))
    sharp = fit.predictor.sharpness[int(least.worker)]
    vote = votes.votes_of(7).start + list(votes.worker[votes.votes_of(7)]).index(int(least.worker))
    said = (
        sharpened(votes.opinion[[vote]], np.array([sharp]))[0]
        @ fit.predictor.likelihood[int(least.worker)]
    )
    top, other = np.argsort(-fit.posterior[7])[:2]
    assert_allclose(least.weight, np.log(said[top] / said[other]), rtol=1e-6)


def test_new_votes_are_recoded_with_their_probabilities(
    soft: tuple[SoftVotes, np.ndarray, np.ndarray],
) -> None:
    fit = aggregator("soft").fit(soft[0])
    rows = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]])
    here = SoftVotes.from_opinions(
        np.zeros(2, int), np.array([0, 1]), rows, workers=["3", "5"], classes=["0", "1", "2"]
    )
    turned = SoftVotes.from_opinions(
        np.zeros(2, int), np.array([1, 0]), rows[:, ::-1], workers=["5", "3"],
        classes=["2", "1", "0"],
    )  # fmt: skip
    assert_allclose(fit.predict_proba(turned), fit.predict_proba(here), atol=1e-12)
    assert_array_equal(opinions_of(turned)[0], rows[0, ::-1])
