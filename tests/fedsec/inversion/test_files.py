"""Files of updates and models: read as they are, and refused where they are something else."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

from fedsec.core.functional import State, state_of
from fedsec.core.record import Update
from fedsec.data.images import ImageData
from fedsec.errors import DataError, SettingsError, UpdateError
from fedsec.inversion.files import PICKLES, read_state, read_tensors, read_update
from fedsec.nets import make_net


@pytest.fixture(scope="module")
def net(digits: ImageData) -> nn.Module:
    """With running statistics."""
    return make_net("cnn-bn", digits, 0)


@pytest.fixture
def sent(net: nn.Module) -> State:
    return state_of(net)


def delta(sent: State) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(value.shape, generator=generator)
        for name, value in sent.parameters.items()
    }


def as_arrays(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in tensors.items()}


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_model_comes_back_to_the_bit(net: nn.Module, tmp_path: Path, suffix: str) -> None:
    state, path = state_of(net), tmp_path / f"model{suffix}"
    every = {**state.parameters, **state.buffers}
    save_file(every, path) if suffix == ".safetensors" else np.savez(path, **as_arrays(every))
    found = read_state(path, net)
    assert list(found.parameters) == list(state.parameters)
    assert_close(found.parameters, state.parameters, rtol=0, atol=0)
    assert_close(found.buffers, state.buffers, rtol=0, atol=0)


def test_numbered_arrays_are_taken_in_the_order_of_the_network(
    net: nn.Module, sent: State, tmp_path: Path
) -> None:
    model, update = tmp_path / "model.npz", tmp_path / "update.npz"
    np.savez(model, *(value.numpy() for value in net.state_dict().values()))
    assert_close(read_state(model, net).parameters, sent.parameters, rtol=0, atol=0)
    wanted = delta(sent)
    np.savez(update, *(value.numpy() for value in wanted.values()))
    assert_close(read_update(update, net, sent, kind="delta").tensors, wanted, rtol=0, atol=0)
    np.savez(update, np.zeros(3), np.zeros(3))
    with pytest.raises(UpdateError, match="update.npz: holds 2 arrays, and the network"):
        read_update(update, net, sent, kind="delta")


def test_an_update_of_ours_says_what_it_is(net: nn.Module, sent: State, tmp_path: Path) -> None:
    made = Update("gradient", delta(sent), round=4, client=7, n=9)
    path = tmp_path / "client-7.safetensors"
    made.save(path)
    found = read_update(path, net, sent)
    assert (found.kind, found.round, found.client, found.n) == ("gradient", 4, 7, 9)
    assert_close(found.tensors, made.tensors, rtol=0, atol=0)
    assert read_update(path, net, sent, n=2).n == 2
    with pytest.raises(SettingsError, match="says that it is a gradient, and the kind given is"):
        read_update(path, net, sent, kind="delta")


def test_parameters_after_training_are_turned_into_their_change(
    net: nn.Module, sent: State, tmp_path: Path
) -> None:
    """In any order, with buffers beside them, in half precision."""
    change = {name: value.half().float() / 16 for name, value in delta(sent).items()}
    zero = State({name: 0 * value for name, value in sent.parameters.items()}, sent.buffers)
    after = {name: value.half() for name, value in reversed(change.items())}
    path = tmp_path / "client.safetensors"
    save_file({**after, **sent.buffers}, path)
    found = read_update(path, net, zero, kind="weights")
    assert found.kind == "delta" and list(found.tensors) == list(sent.parameters)
    assert_close(found.tensors, change, rtol=0, atol=1e-7)


def test_what_a_file_does_not_say_must_be_given(
    net: nn.Module, sent: State, tmp_path: Path
) -> None:
    path = tmp_path / "update.safetensors"
    save_file(delta(sent), path)
    with pytest.raises(SettingsError, match="does not say what it is: give its kind, one of grad"):
        read_update(path, net, sent)
    with pytest.raises(SettingsError, match="kind 'sum' is not one of gradient, delta, weights"):
        read_update(path, net, sent, kind="sum")


@pytest.mark.parametrize("suffix", PICKLES)
def test_a_pickle_is_refused_unread(suffix: str, tmp_path: Path) -> None:
    """The file need not even be there."""
    with pytest.raises(DataError, match=r"a pickle can run code .* convert it: .*safetensors"):
        read_tensors(tmp_path / f"update{suffix}")


def test_a_pickle_under_another_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "update.npz"
    torch.save({"0.weight": torch.ones(2)}, path)
    with pytest.raises(DataError, match="is a pickle of torch, renamed"):
        read_tensors(path)
    np.savez(path, x=np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="update.npz: not a .npz file"):
        read_tensors(path)


def test_other_and_broken_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="update.onnx: give a .safetensors or .npz file"):
        read_tensors(tmp_path / "update.onnx")
    for suffix in (".safetensors", ".npz"):
        path = tmp_path / f"update{suffix}"
        with pytest.raises(DataError, match="there is no such file"):
            read_tensors(path)
        path.write_bytes(b"no")
        with pytest.raises(DataError, match=f"not a {suffix} file, or not a whole one"):
            read_tensors(path)
    with zipfile.ZipFile(tmp_path / "cut.npz", "w") as file:
        file.writestr("x.npy", b"\x93NUMPY")
    with pytest.raises(DataError, match="cut.npz: not a .npz file"):
        read_tensors(tmp_path / "cut.npz")


def test_an_update_that_does_not_fit_is_named(net: nn.Module, sent: State, tmp_path: Path) -> None:
    path = tmp_path / "client-3.safetensors"
    change = delta(sent)
    name = next(iter(change))
    for broken, said in (
        ({k: v for k, v in change.items() if k != name}, f"the network: without {name}"),
        ({**change, "extra": torch.ones(1)}, "with extra, which it has not"),
        ({**change, name: torch.ones(2, 3)}, f"'{name}' is 2 x 3, and 16 x 1 x 3 x 3"),
        ({**change, name: torch.full_like(change[name], torch.nan)},
         f"144 of 144 entries of '{name}' are not finite"),
        ({**change, name: change[name].int()}, "no floating point"),
    ):  # fmt: skip
        save_file(broken, path)
        with pytest.raises(UpdateError, match="client-3.safetensors.*" + said):
            read_update(path, net, sent, kind="delta")


def test_a_model_that_does_not_fit_is_named(net: nn.Module, sent: State, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    every = {**sent.parameters, **sent.buffers}
    save_file(sent.parameters, path)
    with pytest.raises(UpdateError, match="has no buffer '1.running_mean'"):
        read_state(path, net)
    save_file({**every, "1.running_mean": torch.ones(3)}, path)
    with pytest.raises(UpdateError, match=r"buffer '1.running_mean' is \(3,\), and \(16,\)"):
        read_state(path, net)
    save_file({**every, "0.bias": torch.full((16,), torch.inf)}, path)
    with pytest.raises(UpdateError, match="model.safetensors: 16 of 16 entries of '0.bias'"):
        read_state(path, net)
    save_file({f"module.{name}": value for name, value in every.items()}, path)
    with pytest.raises(UpdateError, match="with module.0.bias"):
        read_state(path, net)
