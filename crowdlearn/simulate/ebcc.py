"""A world in which classes have subtypes, and workers err together on the same subtypes.

Story       truth[i] ~ Categorical(prior),  subtype[i] ~ Categorical(subtype_share[truth[i]])
            label[v] ~ Categorical(subtype_confusion[worker[v], truth[item[v]], subtype[item[v]]])
Paper       Li, Rubinstein and Cohn (2019), "Exploiting worker correlation for label aggregation".
"""

from __future__ import annotations

import numpy as np

from crowdlearn.errors import SettingsError
from crowdlearn.simulate.dawid_skene import FIVE_VOTES, dirichlet_prior
from crowdlearn.simulate.world import (
    Assign,
    World,
    check_sizes,
    draw_labels,
    draw_rows,
    draw_truth,
    make_votes,
    streams,
)


def ebcc(
    n_items: int = 1000,
    n_workers: int = 50,
    n_classes: int = 3,
    *,
    n_subtypes: int = 3,
    share: float = 1.0,
    alpha: float = 1.0,
    off: float = 1.0,
    diag: float = 4.0,
    assign: Assign = FIVE_VOTES,
    seed: int = 0,
) -> World:
    """Shares of subtypes ~ Dirichlet(share / n_subtypes), rows ~ Dirichlet(off, diag on the truth).

    The rows of different subtypes are independent. prior ~ Dirichlet(alpha); uniform if infinite.
    """
    check_sizes(n_items, n_workers, n_classes)
    if n_subtypes < 1 or share <= 0 or off <= 0 or diag <= 0:
        raise SettingsError(
            f"n_subtypes is {n_subtypes}, share {share}, off {off}, diag {diag}: "
            "at least one subtype and positive weights are needed"
        )
    for_truth, for_pairs, for_labels, for_workers, for_items, for_shares = streams(seed, 6)
    shares = for_shares.dirichlet(np.full(n_subtypes, share / n_subtypes), n_classes)
    weights = off + (diag - off) * np.eye(n_classes)
    rows = [for_workers.dirichlet(weights[k], (n_workers, n_subtypes)) for k in range(n_classes)]
    by_subtype = np.stack(rows, axis=1)  # (worker, class, subtype, class)
    prior = dirichlet_prior(for_workers, alpha, n_classes)

    truth = draw_truth(for_truth, prior, n_items)
    subtype = draw_rows(for_items, shares, truth)
    item, worker = assign(for_pairs, n_items, n_workers)
    by_state = by_subtype.reshape(n_workers, n_classes * n_subtypes, n_classes)
    label = draw_labels(for_labels, by_state, item, worker, truth * np.int32(n_subtypes) + subtype)
    confusion = np.einsum("kg,wkgc->wkc", shares, by_subtype)
    return World(
        votes=make_votes(item, worker, label, n_items, confusion),
        truth=truth,
        confusion=confusion,
        prior=prior,
        subtype=subtype,
        subtype_share=shares,
        subtype_confusion=by_subtype,
    )
