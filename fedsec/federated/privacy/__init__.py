"""What a client can do before it sends, what that is worth, and sums without parts.

DEFENCES        maps of an update, alone: `(update, generator) -> update`
own data        defences that need the client's images: `Soteria` makes a map of them, `PrivateSGD`
                is a training of its own; `DefendedClients` and `PrivateClients` are the engines
                with which a simulated federation uses them
settings        of training hide images too, and are no maps: a larger batch and more local steps
                (`LocalTraining(batch=..., epochs=...)`) average over more gradients; with
                `SecureAggregation` the server sees the sum over clients only, which to it is one
                update of all their images, in unequal weights
"""

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
from fedsec.federated.privacy.laws import gaussian, laplace
from fedsec.federated.privacy.noise import GaussianNoise
from fedsec.federated.privacy.own_data import DefendedClients, OwnDefence, PrivateClients
from fedsec.federated.privacy.per_sample import PrivateSGD, train_private
from fedsec.federated.privacy.private_gradient import private_gradient
from fedsec.federated.privacy.quantise import Quantise
from fedsec.federated.privacy.secure_aggregation import SecureAggregation
from fedsec.federated.privacy.signs import Signs
from fedsec.federated.privacy.soteria import CutFeatures, Soteria
from fedsec.federated.privacy.sparsify import TopK
from fedsec.federated.privacy.unclipped_noise import AbsoluteNoise, RelativeNoise

DEFENCES: dict[str, Callable[..., Defence]] = {
    "clip": Clip,
    "gaussian-noise": GaussianNoise,
    "absolute-noise": AbsoluteNoise,
    "relative-noise": RelativeNoise,
    "top-k": TopK,
    "quantise": Quantise,
    "signs": Signs,
}

__all__ = [
    "ACCOUNTANTS",
    "DEFENCES",
    "AbsoluteNoise",
    "Accountant",
    "Clip",
    "CutFeatures",
    "Defence",
    "DefendedClients",
    "GaussianNoise",
    "OwnDefence",
    "PrivateClients",
    "PrivateSGD",
    "Quantise",
    "RelativeNoise",
    "SecureAggregation",
    "Signs",
    "Soteria",
    "TopK",
    "aggregate_multiplier",
    "apply_defences",
    "epsilon",
    "gaussian",
    "laplace",
    "private_gradient",
    "prv",
    "rdp",
    "train_private",
]
