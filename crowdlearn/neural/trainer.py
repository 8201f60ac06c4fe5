"""A consensus that goes on learning: brought up to date by any votes, and grown where need be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from crowdlearn.aggregation import OnSweep
from crowdlearn.neural.batches import DeviceVotes
from crowdlearn.neural.clipped_rmsprop import ClippedRmsprop
from crowdlearn.neural.consensus import Consensus
from crowdlearn.neural.device import torch_device
from crowdlearn.neural.fitting import Fitted, label_shares, read_off
from crowdlearn.neural.training import train
from crowdlearn.votes import Votes


class Trainer:
    """A model, its optimiser and settings (`learning_rate`, `clip`, `batch_items`, `device`).

    Workers and classes of all votes must be coded as those of the model.
    """

    def __init__(self, method: Any, model: Consensus) -> None:
        self.method, self.device = method, torch_device(method.device)
        self.model = model.to(self.device)
        self.optimiser = ClippedRmsprop(model.parameters(), method.learning_rate, clip=method.clip)

    def update(
        self,
        votes: Votes,
        gold: Int[np.ndarray, " item"],
        n_epochs: int,
        *,
        readout: str = "guide",
        on_sweep: OnSweep | None = None,
    ) -> Fitted:
        """`n_epochs` passes over these votes, in order; their label shares are the prior."""
        shares = torch.from_numpy(label_shares(votes).astype(np.float32))
        self.model.log_prior.copy_(shares.log())
        training = train(
            self.model,
            self.optimiser,
            DeviceVotes.on(self.device, votes, gold),
            n_epochs=n_epochs,
            batch_items=self.method.batch_items,
            learning_rate=self.method.learning_rate,
            on_sweep=on_sweep,
        )
        return read_off(self.model, votes, readout, training)

    def grow_from(self, smaller: Trainer, old: tuple[int, int], new: tuple[int, int]) -> None:
        """Take over what a model of fewer workers and classes has learned.

        `old` and `new` are (workers, classes). What is new keeps its start; so does the
        optimiser's accumulator.
        """
        pairs = zip(self._tensors(), smaller._tensors(), strict=True)
        for (mine, axes), (theirs, _) in pairs:
            target, source = mine.reshape(axes(new)), theirs.reshape(axes(old))
            target[tuple(slice(0, size) for size in source.shape)] = source

    def arrays(self) -> dict[str, np.ndarray]:
        """Parameters, prior and accumulators, for saving."""
        return {f"net_{n}": t.cpu().numpy() for n, (t, _) in enumerate(self._tensors())}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take over what `arrays` gave."""
        for n, (tensor, _) in enumerate(self._tensors()):
            tensor.copy_(torch.from_numpy(arrays[f"net_{n}"]))

    def _tensors(self) -> Iterator[tuple[Tensor, Axes]]:
        """Parameters each with its accumulator, then the prior; and how their axes are made up."""
        for name, parameter in self.model.named_parameters():
            axes = self._axes(name, tuple(parameter.shape))
            yield parameter.detach(), axes
            yield self.optimiser.accumulator(parameter), axes
        yield self.model.log_prior, lambda size: (size[1],)

    def _axes(self, name: str, shape: tuple[int, ...]) -> Axes:
        """Shape at (workers, classes) with every axis on its own, for tensors that grow inside."""
        if name == "guide.logits":
            return lambda size: (size[0], size[1], size[1])
        if name == "network.weights.0" and getattr(self.model.network, "encoding", "") != "codes":
            return lambda size: (*size, shape[1])
        return lambda size: (-1, *shape[1:])


Axes = Callable[[tuple[int, int]], tuple[int, ...]]
