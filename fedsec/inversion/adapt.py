"""What an attacker who knows the defence does to a trial before it is compared with the update.

Story       an update was defended before it was sent. Whoever knows how does the same to what dummy
            images would have sent, as far as it can be differentiated and read off the update, so
            that the true images fit again. `adaptation_to(*defences)` gives that function.
Paper       Li, Zhang, Liu, Liu (2022), Auditing privacy defenses in federated learning via
            generative gradient leakage, CVPR (apply the defence to the trial); Balunović, Dimitrov,
            Staab, Vechev (2022), Bayesian framework for gradient leakage, ICLR (leave out what
            Soteria cut).

By defence
    TopK            entries that came as 0 count `UNSENT` of what they are (`discounted`). Leaving
                    them out fits better still, and finds less: most entries of a ReLU network are
                    truly 0, and that they are tells much. Above a share of 0.2 it gains nothing.
    CutFeatures     of the weight that Soteria cuts, columns of zeros are left out: the client chose
                    them, and they are not small. Which they are is read off the update.
    Signs           soft signs, scaled as the defence scales (`soft_signs`).
    Clip            the trial is shortened to the update's norm where it is longer: all that was
                    clipped has the same norm. It matters to distances that see length.
    GaussianNoise, PrivateSGD
                    the trial is scaled by the factor up to 1 that brings it closest: the clipping
                    norm cannot be read off a noisy update. Samples that were clipped each by a
                    factor of their own (`PrivateSGD`, more than one) are matched by one factor.
    AbsoluteNoise, RelativeNoise, and the noise of the above
                    nothing: the noise is in the update, and has mean 0. Of Gaussian noise the
                    squared distance is -log likelihood as it stands, and the cosine is that at the
                    best scale; of Laplace noise the absolute distance is. What knowing the
                    deviation gives is how much an image prior should weigh, which is no map.
    Quantise        nothing: an entry is itself on average, and among trials the likelihood of what
                    was sent is highest where they are equal.
    SecureAggregation, larger batches, local steps
                    are what is asked, not how it is compared: `n` images, and other trials.

An adaptation that fits the truth better need not find it sooner: it also takes away what the trial
is compared by. An attacker tries both and so does an audit, which reports the stronger.
All are differentiable in the trial and may be vmapped over it; the update is a constant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fedsec.core.functional import Parameters, flatten
from fedsec.errors import SettingsError
from fedsec.federated.privacy import (
    AbsoluteNoise,
    Clip,
    CutFeatures,
    GaussianNoise,
    PrivateSGD,
    Quantise,
    RelativeNoise,
    Signs,
    TopK,
)
from fedsec.inversion.attack import Adaptation

UNSENT = 0.3  # digits, one each, ReLU, a share of 0.1: 28 dB; 22 with 1 and 13 with 0
SOFTNESS = 0.1  # of a tensor's mean magnitude; on digits the best of 0.1 to 3
LEAST = 1e-3  # factor: a trial that points elsewhere keeps a direction


def adaptation_to(*defences: object) -> Adaptation:
    """What is known of these defences, applied in this order, done to a trial.

    Of `Soteria` give the `CutFeatures` that it makes: only the name of the weight is looked at. A
    defence of one's own needs an adaptation of one's own, which is a function like those here.
    Without defences the trial stays as it is. Raises SettingsError where no adaptation is known.
    """
    for defence in defences:
        if type(defence) not in ADAPTATIONS:
            known = ", ".join(kind.__name__ for kind in ADAPTATIONS)
            raise SettingsError(
                f"no adaptation to {type(defence).__name__} is known: there is one to {known}; give"
                " the attack a function (trial, observed) -> trial of your own"
            )
    # Cutting entries and scaling all commute, and a scale is read off what was cut.
    in_turn = sorted(defences, key=lambda defence: isinstance(defence, SCALED))
    steps = [ADAPTATIONS[type(defence)](defence) for defence in in_turn]

    def adapt(trial: Parameters, observed: Parameters) -> Parameters:
        for step in steps:
            trial = step(trial, observed)
        return trial

    return adapt


def unchanged(trial: Parameters, observed: Parameters) -> Parameters:
    """The trial."""
    return trial


def discounted(trial: Parameters, observed: Parameters) -> Parameters:
    """Entries that came as 0 are worth `UNSENT` of what they are."""
    return {
        name: torch.where(observed[name] == 0, UNSENT * value, value)
        for name, value in trial.items()
    }


def without_columns(tensor: str) -> Adaptation:
    """Of this weight, columns that came as zeros are left out."""

    def adapt(trial: Parameters, observed: Parameters) -> Parameters:
        sent = (observed[tensor] != 0).any(dim=0)
        value = trial[tensor]
        return {**trial, tensor: torch.where(sent, value, torch.zeros_like(value))}

    return adapt


def soft_signs(trial: Parameters, observed: Parameters) -> Parameters:
    """v / (|v| + s m) times m, the mean magnitude of the tensor.

    Of the smooth functions tried (this, tanh, v / sqrt(v^2 + s^2 m^2)) its slope falls slowest, so
    that an entry of the wrong sign is still pulled back.
    """
    return {name: _soft_sign(value) for name, value in trial.items()}


def shortened(trial: Parameters, observed: Parameters) -> Parameters:
    """At most as long as what was sent, all tensors together."""
    return _times(trial, (_norm(observed) / _norm(trial)).clamp(max=1))


def fitted(trial: Parameters, observed: Parameters) -> Parameters:
    """Times the factor in [`LEAST`, 1] that brings it closest to what was sent."""
    product = torch.stack([(value * observed[name]).sum() for name, value in trial.items()]).sum()
    return _times(trial, (product / _norm(trial).square()).clamp(LEAST, 1))


ADAPTATIONS: dict[type, Callable[[Any], Adaptation]] = {
    TopK: lambda defence: discounted,
    CutFeatures: lambda defence: without_columns(defence.tensor),
    Signs: lambda defence: soft_signs,
    Clip: lambda defence: shortened,
    GaussianNoise: lambda defence: fitted,
    PrivateSGD: lambda defence: fitted,
    AbsoluteNoise: lambda defence: unchanged,
    RelativeNoise: lambda defence: unchanged,
    Quantise: lambda defence: unchanged,
}
SCALED = (Clip, GaussianNoise, PrivateSGD)


def _soft_sign(value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    size = value.abs()
    mean = size.mean()
    return mean * value / (size + SOFTNESS * mean + torch.finfo(value.dtype).tiny)


def _norm(tensors: Parameters) -> Tensor:
    """Of all entries; its derivative at zero is zero."""
    every = flatten(tensors)
    return (every.square().sum() + torch.finfo(every.dtype).tiny).sqrt()


def _times(tensors: Parameters, factor: Tensor) -> Parameters:
    return {name: factor * value for name, value in tensors.items()}
