"""A recording on disk; that it is what a tap writes is proved in `tests/fedsec/cli/test_audit`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

from fedsec.core.functional import state_of
from fedsec.core.record import Update
from fedsec.data.images import ImageData
from fedsec.errors import DataError, UpdateError
from fedsec.inversion.recordings import read_round, recorded_rounds
from fedsec.nets import make_net


@pytest.fixture
def net(digits: ImageData) -> nn.Module:
    return make_net("linear", digits, 0)


def record(folder: Path, net: nn.Module, number: int, client: int, *, own: bool = False) -> None:
    """One client of a round; `own` for a model of its own, which is all ones."""
    place = folder / f"round-{number:04d}"
    place.mkdir(parents=True, exist_ok=True)
    parameters = state_of(net).parameters
    save_file(parameters, place / "model.safetensors")
    if own:
        ones = {name: torch.ones_like(value) for name, value in parameters.items()}
        save_file(ones, place / f"model-client-{client}.safetensors")
    change = {name: torch.full_like(value, client) for name, value in parameters.items()}
    Update("delta", change, number, client, n=client).save(place / f"client-{client}.safetensors")


def test_what_was_sent_and_came_back(net: nn.Module, tmp_path: Path) -> None:
    for number, client, own in ((2, 3, False), (1, 12, False), (1, 3, True)):
        record(tmp_path, net, number, client, own=own)
    assert list(recorded_rounds(tmp_path).items()) == [(1, [3, 12]), (2, [3])]
    sent, update = read_round(tmp_path, 2, 3, net)
    assert_close(sent.parameters, state_of(net).parameters, rtol=0, atol=0)
    assert (update.round, update.client, update.n) == (2, 3, 3)
    assert all((value == 3).all() for value in update.tensors.values())
    sent, _ = read_round(tmp_path, 1, 3, net)
    assert all((value == 1).all() for value in sent.parameters.values())


def test_what_is_not_there_is_named(net: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no recording of updates"):
        recorded_rounds(tmp_path)
    record(tmp_path, net, 1, 3)
    with pytest.raises(DataError, match="no client 4 in round 1: clients 3 are recorded"):
        read_round(tmp_path, 1, 4, net)
    with pytest.raises(DataError, match="no client 3 in round 2: rounds 1 are recorded"):
        read_round(tmp_path, 2, 3, net)
    (tmp_path / "round-0001" / "model.safetensors").unlink()
    with pytest.raises(DataError, match="model.safetensors: there is no such file"):
        read_round(tmp_path, 1, 3, net)


def test_an_update_of_another_network_names_its_file(
    net: nn.Module, digits: ImageData, tmp_path: Path
) -> None:
    record(tmp_path, net, 1, 3)
    with pytest.raises(UpdateError, match="model.safetensors does not fit the network"):
        read_round(tmp_path, 1, 3, make_net("mlp", digits, 0))
