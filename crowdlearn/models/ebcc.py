"""EBCC, enhanced BCC: items of a class come in subtypes, on which the workers err together."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from crowdlearn.hyperparameters import at_least_one, positive
from crowdlearn.models.bcc import class_prior, row_counts
from crowdlearn.models.data import VoteData
from crowdlearn.models.reading import Reading, log_of, marginalise, of_worker


def ebcc(
    data: VoteData,
    *,
    n_subtypes: int = 3,
    subtype_count: float = 3.0,
    prior_count: float = 1.0,
    off_diagonal: float = 1.0,
    diagonal: float = 4.0,
) -> Reading:
    """Li, Rubinstein and Cohn (2019), ICML: `aggregators/ebcc.py`.

    prior ~ Dirichlet(prior_count, ...)
    share[k] ~ Dirichlet(subtype_count / n_subtypes, ...)               for every class
    confusion[w, k, g] ~ Dirichlet(off_diagonal, ..., diagonal at k, ...)
                                                             for every worker, class and subtype
    truth[i] ~ Categorical(prior)                                       for every item; summed out
    subtype[i] ~ Categorical(share[truth[i]])                           for every item; summed out
    label[v] ~ Categorical(confusion[worker[v], truth[item[v]], subtype[item[v]]])

    The aggregator takes the vote shares as the parameters of the class prior, and 10 subtypes with
    0.1 as their count in all. A share then lives within rounding of 0 or 1, where gradients lead
    nowhere: hence fewer subtypes and a flat prior on their shares.
    """
    n_classes, n_subtypes = data.n_classes, at_least_one("n_subtypes", n_subtypes)
    prior = class_prior(data, prior_count)
    each = positive("subtype_count", subtype_count) / n_subtypes
    with numpyro.plate("class", n_classes):
        share = numpyro.sample("share", dist.Dirichlet(jnp.full(n_subtypes, each)))
    counts = row_counts(n_classes, off_diagonal, diagonal)
    rows = dist.Dirichlet(jnp.repeat(counts[:, None], n_subtypes, axis=1)).to_event(2)
    with numpyro.plate("worker", data.n_workers):
        confusion = numpyro.sample("confusion", rows)
    by_state = confusion.reshape(data.n_workers, -1, n_classes)  # (worker, state, label)
    log_state = (log_of(prior)[:, None] + log_of(share)).ravel()
    return marginalise(data, log_state, of_worker(data, log_of(by_state)))
