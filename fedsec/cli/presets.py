"""What is trained how when a user does not say: by data set.

Paper       "Maverick Matters" (arXiv 2106.10734v1), its table of coefficients, for 200 rounds.
Departures  digits are not in the paper: the numbers are those of a sweep of ours over 100 rounds.
            Learning rates of FedSGD, which is another algorithm there, are ours too.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Defaults for a data set; `beta` is for `rounds` rounds, `sgd_lr` the rate of fedsgd."""

    net: str
    rounds: int = 200
    epochs: int = 1
    batch: int
    lr: float
    momentum: float
    lr_step: int
    lr_gamma: float
    sgd_lr: float = 0.1
    alpha: float
    beta: float

    def beta_for(self, n_rounds: int) -> float:
        """Beta such that FedEMD turns from the first distance to the second in the same place."""
        return float(f"{self.beta * self.rounds / n_rounds:.6g}")


PRESETS = {
    "digits": Preset(
        net="mlp", rounds=100, epochs=3, batch=4, lr=0.05, momentum=0.5, lr_step=10, lr_gamma=0.1,
        sgd_lr=0.3, alpha=0.3, beta=0.006,
    ),
    "mnist": Preset(
        net="cnn", batch=4, lr=0.001, momentum=0.5, lr_step=50, lr_gamma=0.1, alpha=0.15,
        beta=0.0015,
    ),
    "fashion-mnist": Preset(
        net="cnn", batch=4, lr=0.001, momentum=0.9, lr_step=10, lr_gamma=0.1, alpha=0.15,
        beta=0.0015,
    ),
    "cifar10": Preset(
        net="cnn6", batch=10, lr=0.01, momentum=0.5, lr_step=50, lr_gamma=0.5, alpha=0.11,
        beta=0.0015,
    ),
}  # fmt: skip

OWN_FILE = Preset(
    net="cnn", batch=10, lr=0.01, momentum=0.5, lr_step=50, lr_gamma=0.5, alpha=0.15, beta=0.0015
)
"""For a user's own images."""


def preset_of(data: str) -> Preset:
    """The defaults for this data set."""
    return PRESETS.get(data, OWN_FILE)
