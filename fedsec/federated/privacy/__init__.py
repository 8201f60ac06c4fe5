"""What a client can do before it sends, what that is worth, and sums without parts."""

from collections.abc import Callable

from fedsec.federated.privacy.accounting import (
    ACCOUNTANTS,
    Accountant,
    aggregate_multiplier,
    epsilon,
    prv,
    rdp,
)
from fedsec.federated.privacy.clip import Clip
from fedsec.federated.privacy.defence import Defence, apply_defences
from fedsec.federated.privacy.noise import GaussianNoise
from fedsec.federated.privacy.per_sample import PrivateSGD, train_private
from fedsec.federated.privacy.quantise import Quantise
from fedsec.federated.privacy.secure_aggregation import SecureAggregation
from fedsec.federated.privacy.sparsify import TopK

DEFENCES: dict[str, Callable[..., Defence]] = {
    "clip": Clip,
    "gaussian-noise": GaussianNoise,
    "top-k": TopK,
    "quantise": Quantise,
}

__all__ = [
    "ACCOUNTANTS",
    "DEFENCES",
    "Accountant",
    "Clip",
    "Defence",
    "GaussianNoise",
    "PrivateSGD",
    "Quantise",
    "SecureAggregation",
    "TopK",
    "aggregate_multiplier",
    "apply_defences",
    "epsilon",
    "prv",
    "rdp",
    "train_private",
]
