"""Which methods to trust, and how much: weights of a mixture that predict votes left out.

Paper       Yao, Vehtari, Simpson and Gelman (2018), Using stacking to average Bayesian predictive
            distributions, Bayesian Analysis 13(3). The weights maximise the mean log of the mixed
            density: a concave problem, solved by sequential least squares (SciPy).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.optimize import LinearConstraint, minimize

TINY = 1e-300


def stacking_weights(
    density: Float[np.ndarray, "vote method"],
) -> Float[np.ndarray, " method"]:
    """Weights of the methods, summing to one; equal where there is no vote.

    `density[v, m]` is the probability that method `m`, fitted without vote `v`, gave its label.
    """
    n_methods = density.shape[1]
    equal = np.full(n_methods, 1 / n_methods)
    if len(density) == 0 or n_methods == 1:
        return equal
    relative = density / np.maximum(density.max(axis=1, keepdims=True), TINY)
    found = minimize(
        lambda w: -np.log(np.maximum(relative @ w, TINY)).mean(),
        equal,
        jac=lambda w: -(relative / np.maximum(relative @ w, TINY)[:, None]).mean(axis=0),
        method="SLSQP",
        bounds=[(0.0, 1.0)] * n_methods,
        constraints=LinearConstraint(np.ones((1, n_methods)), 1.0, 1.0),
        options={"ftol": 1e-12, "maxiter": 500},
    )
    weights = np.clip(found.x, 0, None)
    return weights / weights.sum()
