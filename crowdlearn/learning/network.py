"""A perceptron on torch that trains on soft labels; the base of the crowd networks beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from crowdlearn.errors import SettingsError
from crowdlearn.neural.device import torch_device

AT_ONCE = 1024  # items whose probabilities are worked out together


@dataclass(frozen=True, kw_only=True)
class NetworkClassifier:
    """Settings: a perceptron with one hidden layer, AdamW, cross-entropy against soft labels.

    A tenth of the items is held out; training ends when their loss has not fallen for `patience`
    epochs, and the best epoch counts. Bit-equal for a seed on a CPU (one thread). `body` makes
    another network, from the number of features and of classes: `convolutional` for images, or a
    function of one's own; `n_hidden` and `dropout` are then not looked at. `device` is auto, cpu or
    gpu; auto takes a GPU where there is one for networks with a `body` of their own, and the CPU
    for the perceptron, whose results are then the same on every machine of a kind.
    """

    n_hidden: int = 128
    dropout: float = 0.0
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    batch_size: int = 64
    max_epochs: int = 200
    patience: int = 10
    held_out: float = 0.1
    seed: int = 0
    body: Callable[[int, int], nn.Module] | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if not 0 < self.held_out < 1 or not 0 <= self.dropout < 1:
            raise SettingsError("held_out is between 0 and 1, dropout from 0 to below 1")
        if min(self.n_hidden, self.batch_size, self.max_epochs, self.patience) < 1:
            raise SettingsError("n_hidden, batch_size, max_epochs and patience are at least 1")

    def fit(
        self, features: Float[np.ndarray, "item feature"], target: Float[np.ndarray, "item class"]
    ) -> FittedNetwork:
        """Learn from soft labels."""
        plain = self.body is None and self.device == "auto"
        device = torch_device("cpu" if plain else self.device)
        with seeded(self.seed) as draw:
            scaled = Scaled.of(features)
            x = scaled.tensor(features).to(device)
            y = torch.as_tensor(target, dtype=torch.float32, device=device)
            late = torch.as_tensor(draw.permutation(len(x)))
            n_late = max(int(self.held_out * len(x)), 1)
            test, train = late[:n_late], late[n_late:] if len(x) > 1 else late
            body = self._made(x.shape[1], target.shape[1]).to(device)
            step = optimiser(body, self.learning_rate, self.weight_decay)
            best, kept, since = np.inf, _copy(body), 0
            for _ in range(self.max_epochs):
                body.train()
                for rows in batches(train, self.batch_size, draw):
                    step(soft_loss(body(x[rows]), y[rows]))
                body.eval()
                with torch.no_grad():
                    loss = float(soft_loss(body(x[test]), y[test]))
                best, kept, since = (
                    (loss, _copy(body), 0) if loss < best else (best, kept, since + 1)
                )
                if since >= self.patience:
                    break
            body.load_state_dict(kept)
        return FittedNetwork(body, scaled)

    def _made(self, n_features: int, n_classes: int) -> nn.Module:
        if self.body is None:
            return perceptron(n_features, self.n_hidden, n_classes, self.dropout)
        return self.body(n_features, n_classes)


@dataclass(frozen=True, eq=False)
class Scaled:
    """Features standardised as the training items were; constant ones are left at 0."""

    mean: Float[np.ndarray, " feature"]
    scale: Float[np.ndarray, " feature"]

    @classmethod
    def of(cls, features: Float[np.ndarray, "item feature"]) -> Scaled:
        scale = features.std(axis=0)
        return cls(features.mean(axis=0), np.where(scale > 0, scale, 1))

    def tensor(self, features: np.ndarray) -> torch.Tensor:
        return torch.as_tensor((features - self.mean) / self.scale, dtype=torch.float32)


@dataclass(frozen=True, eq=False)
class FittedNetwork:
    """A trained perceptron."""

    body: nn.Module
    scaled: Scaled

    def predict_proba(
        self, features: Float[np.ndarray, "item feature"]
    ) -> Float[np.ndarray, "item class"]:
        self.body.eval()
        device = next(self.body.parameters()).device
        with torch.no_grad():
            parts = torch.split(self.scaled.tensor(features), AT_ONCE)
            logits = torch.cat([self.body(part.to(device)).double().cpu() for part in parts])
        return np.asarray(torch.softmax(logits, dim=1).numpy())


@dataclass
class seeded:  # noqa: N801 (a context manager, as torch.no_grad is)
    """One seed and one thread for torch while it lasts; both are put back."""

    seed: int
    kept: Any = field(default=None, repr=False)

    def __enter__(self) -> np.random.Generator:
        self.kept = torch.get_num_threads(), torch.random.get_rng_state()
        torch.set_num_threads(1)
        torch.manual_seed(self.seed)
        return np.random.default_rng(self.seed)

    def __exit__(self, *_: object) -> None:
        threads, state = self.kept
        torch.set_num_threads(threads)
        torch.random.set_rng_state(state)


def perceptron(n_features: int, n_hidden: int, n_classes: int, dropout: float) -> nn.Module:
    """Features to logits through one hidden layer."""
    return nn.Sequential(
        nn.Linear(n_features, n_hidden), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(n_hidden, n_classes),
    )  # fmt: skip


def convolutional(
    n_channels: int, height: int, width: int, n_filters: int = 32
) -> Callable[[int, int], nn.Module]:
    """A body for images: two convolutions with pooling, then one hidden layer, dropout 0.5.

    An item's features are its image, flattened from (channel, height, width). What it makes raises
    SettingsError for another number of features.
    """

    def body(n_features: int, n_classes: int) -> nn.Module:
        if n_features != n_channels * height * width:
            raise SettingsError(
                f"{n_features} features are no image of {n_channels} x {height} x {width}"
            )
        return nn.Sequential(
            nn.Unflatten(1, (n_channels, height, width)),
            nn.Conv2d(n_channels, n_filters, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(n_filters, 2 * n_filters, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(2 * n_filters * (height // 4) * (width // 4), 128),
            nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, n_classes),
        )  # fmt: skip

    return body


def optimiser(
    body: nn.Module, learning_rate: float, weight_decay: float
) -> Callable[[torch.Tensor], None]:
    """A step of AdamW down a loss."""
    adam = torch.optim.AdamW(body.parameters(), lr=learning_rate, weight_decay=weight_decay)

    def step(loss: torch.Tensor) -> None:
        adam.zero_grad()
        loss.backward()
        adam.step()

    return step


def batches(rows: torch.Tensor, size: int, draw: np.random.Generator) -> Iterator[torch.Tensor]:
    """The rows in random order, `size` at a time."""
    order = rows[torch.as_tensor(draw.permutation(len(rows)))]
    yield from torch.split(order, size)


def soft_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy against soft labels, nats."""
    return -(target * torch.log_softmax(logits, dim=1)).sum(dim=1).mean()


def _copy(body: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in body.state_dict().items()}
