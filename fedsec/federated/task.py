"""What a federation learns: a network, the clients' data, and a test set that nobody trains on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int
from torch import nn

from fedsec.data.images import Images
from fedsec.errors import DataError
from fedsec.federated.loss import CROSS_ENTROPY, TaskLoss


@dataclass(frozen=True, eq=False)
class Task:
    """A network and who holds which samples.

    net        used as a function: its own parameters are never touched
    train      all clients' samples, resident on one device
    parts      for each client the indices of its samples in `train`
    test       the one test set
    n_classes  classes of the labels
    loss       what clients descend; cross-entropy unless it says otherwise
    held_out   what the server values contributions on; None for the test set, which then is seen
               by a selector that goes by contributions

    Raises DataError where a client holds nothing, an index is out of range or held twice, or a
    label is not a class.
    """

    net: nn.Module
    train: Images
    parts: tuple[Int[np.ndarray, " _"], ...]
    test: Images
    n_classes: int
    held_out: Images | None = None
    loss: TaskLoss = CROSS_ENTROPY

    def __post_init__(self) -> None:
        for client, part in enumerate(self.parts):
            if not len(part):
                raise DataError(f"client {client} holds no samples; leave it out")
            if part.min() < 0 or part.max() >= len(self.train):
                raise DataError(
                    f"client {client} holds sample {part.max()}: there are {len(self.train)}"
                )
        held = np.concatenate(self.parts) if self.parts else np.empty(0, dtype=np.int64)
        if not len(held):
            raise DataError("no client: give at least one part")
        if len(np.unique(held)) != len(held):
            raise DataError("a sample is held twice; every sample belongs to one client")
        sets = {"train": self.train, "test": self.test, "held out": self.valued_on}
        for name, images in sets.items():
            if len(images) and int(images.y.max()) >= self.n_classes:
                raise DataError(
                    f"{name}: label {int(images.y.max())} is not one of 0 to {self.n_classes - 1}"
                )

    @property
    def n_clients(self) -> int:
        """N."""
        return len(self.parts)

    @property
    def valued_on(self) -> Images:
        """What contributions are measured on."""
        return self.test if self.held_out is None else self.held_out

    def counts(self) -> Int[np.ndarray, "client class"]:
        """How many samples of each class each client holds."""
        return self._counts

    @cached_property
    def _counts(self) -> Int[np.ndarray, "client class"]:
        labels = self.train.y.cpu().numpy()
        return np.stack(
            [np.bincount(labels[part], minlength=self.n_classes) for part in self.parts]
        )

    def to(self, device: torch.device | str) -> Task:
        """The same task with its data on a device."""
        held_out = None if self.held_out is None else self.held_out.to(device)
        return replace(
            self, train=self.train.to(device), test=self.test.to(device), held_out=held_out
        )
