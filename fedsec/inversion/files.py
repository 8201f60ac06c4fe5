"""Models and updates in files that others made: safetensors or NumPy's npz, and never a pickle.

A pickle can run code when it is read, and an update comes from somebody else. So `.pt`, `.pth`,
`.pkl` and `.bin` are refused unread, with a line that converts them where they are trusted.

Names       are those of the network's `state_dict`. Arrays that `numpy.savez(path, *list)` named
            arr_0, arr_1, ... are taken in the order of `state_dict`, or of the parameters.
Kinds       "gradient": of the mean loss over the client's images
            "delta":    parameters after local training minus those sent
            "weights":  the parameters after local training themselves, as clients of FedAvg send
            A file that `Update.save` wrote says which it is.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from fedsec.core.functional import Parameters, State
from fedsec.core.record import Update
from fedsec.errors import DataError, SettingsError, UpdateError
from fedsec.inversion.case import refuse_misfit

PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt")
KINDS = ("gradient", "delta", "weights")
RECORDED = "fedsec"  # the metadata of what we wrote
CONVERTED = (
    'python -c "import torch, safetensors.torch as s; '
    "s.save_file(torch.load('{name}', weights_only=True), '{stem}.safetensors')\""
)


@dataclass(frozen=True, eq=False)
class Stored:
    """What a file holds: tensors by name, and what it says of itself."""

    path: Path
    tensors: Parameters
    about: Mapping[str, Any]


def read_tensors(path: str | Path) -> Stored:
    """The tensors of a safetensors or npz file.

    Raises DataError where it is a pickle, another kind of file, or not a whole one.
    """
    path = Path(path).expanduser()
    if path.suffix in PICKLES:
        raise DataError(
            f"{path}: a pickle can run code when it is read, so it is refused; where you trust it,"
            f" convert it: {CONVERTED.format(name=path.name, stem=path.stem)}"
        )
    if path.suffix not in (".safetensors", ".npz"):
        raise DataError(f"{path}: give a .safetensors or .npz file")
    try:
        return _npz(path) if path.suffix == ".npz" else _safetensors(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except (
        OSError,
        EOFError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
        SafetensorError,
    ) as error:
        raise DataError(
            f"{path}: not a {path.suffix} file, or not a whole one ({_one_line(error)})"
        ) from error


def read_state(path: str | Path, net: nn.Module) -> State:
    """A model: all parameters and buffers of the network.

    Raises DataError as `read_tensors`, UpdateError where they do not fit the network or are not
    finite.
    """
    stored = read_tensors(path)
    found = _named(stored, net)
    parameters, buffers = dict(net.named_parameters()), dict(net.named_buffers())
    own = {name: found[name] for name in parameters if name in found}
    strange = {k: v for k, v in found.items() if k not in parameters and k not in buffers}
    refuse_misfit({**own, **strange}, parameters, str(stored.path))
    missing = [name for name in buffers if name not in found]
    if missing:
        raise UpdateError(f"{stored.path}: has no buffer {missing[0]!r}, which the network has")
    _refuse_not_finite(stored.path, own)
    return State(
        {name: own[name].to(value) for name, value in parameters.items()},
        {name: _buffer(stored.path, name, found[name], value) for name, value in buffers.items()},
    )


def read_update(
    path: str | Path,
    net: nn.Module,
    sent: State,
    *,
    kind: str | None = None,
    n: int | None = None,
) -> Update:
    """What a client sent back, given what it was sent.

    kind  one of KINDS; None where the file says it
    n     images of the client; None where the file says it, 0 where nobody does

    Raises DataError as `read_tensors`, SettingsError where the kind is not known or is another one
    than the file says, UpdateError where the update does not fit the network or is not finite.
    """
    stored = read_tensors(path)
    about = stored.about
    said = about.get("kind")
    if kind is not None and kind not in KINDS:
        raise SettingsError(f"kind {kind!r} is not one of {', '.join(KINDS)}")
    if said is None and kind is None:
        raise SettingsError(
            f"{stored.path}: does not say what it is: give its kind, one of {', '.join(KINDS)}"
        )
    if said is not None and kind not in (None, said):
        raise SettingsError(
            f"{stored.path}: says that it is a {said}, and the kind given is {kind}"
        )
    fitted = fit_update(_named(stored, net), net, str(stored.path))
    if (kind or said) == "weights":
        fitted = {name: value - sent.parameters[name] for name, value in fitted.items()}
    return Update(
        kind="gradient" if (kind or said) == "gradient" else "delta",
        tensors=fitted,
        round=about.get("round", 1),
        client=about.get("client", 0),
        n=about.get("n", 0) if n is None else n,
    )


def fit_update(tensors: Parameters, net: nn.Module, what: str) -> Parameters:
    """The entries that belong to parameters, in the network's order and dtypes.

    What belongs to buffers is left out. Raises UpdateError, which begins with `what`, where they do
    not fit or are not finite.
    """
    parameters, buffers = dict(net.named_parameters()), dict(net.named_buffers())
    kept = {name: value for name, value in tensors.items() if name not in buffers}
    refuse_misfit(kept, parameters, what)
    _refuse_not_finite(what, kept)
    return {name: kept[name].to(value.detach()) for name, value in parameters.items()}


def _safetensors(path: Path) -> Stored:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        about = json.loads((file.metadata() or {}).get(RECORDED, "{}"))
    if not isinstance(about, dict):
        raise ValueError("its metadata is none of ours")
    if "kind" in about:  # written by `Update.save`
        tensors = {
            name.removeprefix("tensor:"): value
            for name, value in tensors.items()
            if name.startswith("tensor:")
        }
    return Stored(path, tensors, about)


def _npz(path: Path) -> Stored:
    with path.open("rb") as stream:
        file = np.load(stream, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("it holds one array: save all by numpy.savez")
        if any(name.endswith(".pkl") for name in file.files):
            raise DataError(
                f"{path}: is a pickle of torch, renamed: save its arrays by numpy.savez"
            )
        tensors = {name: torch.from_numpy(np.array(file[name])) for name in file.files}
    return Stored(path, tensors, {})


def _named(stored: Stored, net: nn.Module) -> Parameters:
    """By the network's names, where the file only numbers its arrays."""
    found, n = stored.tensors, len(stored.tensors)
    if set(found) != {f"arr_{place}" for place in range(n)} or not n:
        return found
    for names in (list(net.state_dict()), [name for name, _ in net.named_parameters()]):
        if len(names) == n:
            return {name: found[f"arr_{place}"] for place, name in enumerate(names)}
    raise UpdateError(
        f"{stored.path}: holds {n} arrays, and the network {len(net.state_dict())}: is it of"
        " another network?"
    )


def _buffer(path: Path, name: str, value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    if value.shape != like.shape:
        raise UpdateError(
            f"{path}: buffer {name!r} is {tuple(value.shape)}, and {tuple(like.shape)} in the"
            " network; is it of another network?"
        )
    return value.to(like)


def _refuse_not_finite(what: str | Path, tensors: Parameters) -> None:
    for name, value in tensors.items():
        n_bad = int((~torch.isfinite(value)).sum())
        if n_bad:
            raise UpdateError(
                f"{what}: {n_bad} of {value.numel()} entries of {name!r} are not finite: such an"
                " update breaks a server's mean, and there is nothing to rebuild from it"
            )


def _one_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
