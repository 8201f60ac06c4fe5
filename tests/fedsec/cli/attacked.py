"""What clients sent, in files, for the tests of `fedsec invert` and `fedsec audit`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.torch import save_file
from torch import nn

from fedsec.core.functional import state_of
from fedsec.data.images import ImageData, Images
from fedsec.federated.local import FullGradient
from fedsec.inversion.audit import Recipe, make_client
from fedsec.inversion.true_images import to_arrays
from fedsec.inversion.victim import classifier
from fedsec.nets import make_net

MINE = """
from torch import nn

def make_net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

def one_class():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 1))

def broken():
    return 1 / 0

nothing = 3
"""


@dataclass(frozen=True)
class Sent:
    """Files of a client that sent one gradient."""

    update: Path
    weights: Path
    truth: Path
    images: Images

    @property
    def words(self) -> tuple[object, ...]:
        """Options that name them."""
        return ("--update", self.update, "--weights", self.weights)


def sent_by(folder: Path, data: ImageData, net: nn.Module | None = None, n: int = 1) -> Sent:
    """A client with n digits and the network `mlp`, or another one."""
    net = make_net("mlp", data, 5) if net is None else net
    recipe = Recipe(images=n, local=FullGradient())
    subject = make_client(classifier(net), data, recipe, 3)
    sent = Sent(
        folder / "client-3.safetensors", folder / "model.safetensors", folder / "images.npz",
        subject.truth or data.train,
    )  # fmt: skip
    subject.observed[0].update.save(sent.update)
    state = state_of(net)
    save_file({**state.parameters, **state.buffers}, sent.weights)
    np.savez(sent.truth, x=to_arrays(sent.images.x), y=sent.images.y.numpy())
    return sent
