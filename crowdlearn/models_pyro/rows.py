"""Priors that several Pyro stories share."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor

from crowdlearn.hyperparameters import positive
from crowdlearn.models_pyro.data import VoteData


def class_prior(data: VoteData, prior_count: float) -> Float[Tensor, " class"]:
    """Draws the site `prior` from a symmetric Dirichlet."""
    counts = data.one.new_full((data.n_classes,), positive("prior_count", prior_count))
    return pyro.sample("prior", dist.Dirichlet(counts))


def row_counts(
    data: VoteData, off_diagonal: float, diagonal: float
) -> Float[Tensor, "class label"]:
    """Dirichlet parameters of the rows of a confusion matrix."""
    same = torch.eye(data.n_classes, dtype=torch.bool, device=data.one.device)
    off = data.one * positive("off_diagonal", off_diagonal)
    return torch.where(same, data.one * positive("diagonal", diagonal), off)
