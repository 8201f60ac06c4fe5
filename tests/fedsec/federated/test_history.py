"""A run as a table, and on disk: what is resumed is bit for bit what was never interrupted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from fedsec.core.functional import State, state_of
from fedsec.data.partitions import dirichlet
from fedsec.errors import DataError, SettingsError
from fedsec.federated.contribution import Exact
from fedsec.federated.history import described, load_progress, save_progress, to_table
from fedsec.federated.local import ClientSteps, LocalTraining
from fedsec.federated.privacy import Clip
from fedsec.federated.rounds import Probe, Round
from fedsec.federated.selectors import FedEmd, PowerOfChoice, ShapleyWeighted
from fedsec.federated.simulate import Federation, Progress, begin, simulate
from fedsec.federated.task import Task

MakeTask = Callable[..., Task]
LOCAL = LocalTraining(batch=16, lr=0.1, momentum=0.5, schedule=ClientSteps(2, 0.5))
CLASSES = tuple("0123456789")


def played(task: Task, federation: Federation, start: Progress, n_rounds: int) -> Progress:
    return list(simulate(task, federation, start, n_rounds))[-1]


def same_rounds(one: tuple[Round, ...], two: tuple[Round, ...], *, timed: bool = True) -> None:
    """Every field alike, to the bit; `timed` compares the seconds too."""
    assert len(one) == len(two)
    for mine, other in zip(one, two, strict=True):
        for field in fields(Round):
            a, b = getattr(mine, field.name), getattr(other, field.name)
            if field.name in ("seconds", "phases") and not timed:
                continue
            if isinstance(a, np.ndarray):
                assert a.dtype == b.dtype and a.tobytes() == b.tobytes(), field.name
            else:
                assert a == b or (a != a and b != b), field.name


def same_state(one: State, two: State) -> None:
    assert list(one.parameters) == list(two.parameters) and list(one.buffers) == list(two.buffers)
    assert_close(one.parameters, two.parameters, rtol=0, atol=0)
    assert_close(one.buffers, two.buffers, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("net", "selector", "contribution"),
    [
        ("mlp", FedEmd(), None),
        ("linear", PowerOfChoice(), None),
        ("linear", ShapleyWeighted(), Exact()),
        ("cnn-bn", FedEmd(), None),
    ],
)
def test_a_resumed_run_is_the_uninterrupted_one(
    make_task: MakeTask, tmp_path: Path, net: str, selector: object, contribution: object
) -> None:
    task = make_task(net, mavericks=(1,))
    federation = Federation(
        per_round=3, local=LOCAL, selector=selector, contribution=contribution, evaluate_every=2
    )
    start = begin(task, federation, state_of(task.net))
    whole = played(task, federation, start, 5)
    save_progress(played(task, federation, start, 2), tmp_path / "p")
    resumed = played(task, federation, load_progress(tmp_path / "p"), 5)
    same_state(whole.state, resumed.state)
    same_rounds(whole.rounds, resumed.rounds, timed=False)


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    awkward = Round(
        number=1,
        chosen=np.array([3, 0]),
        n=np.array([5, 7]),
        loss=np.array([np.inf, 1 / 3]),
        loss_rms=np.array([np.nan, 0.1 + 0.2]),
        seconds=np.array([1e-300, 5e-324]),
        contribution=np.array([-0.0, 1e308]),
        probed={3: Probe(0.1, 0.5), 11: Probe(float("inf"), 1.0)},
        refused=(0,),
        phases={"select": 0.25},
    )
    state = State(
        {"b": torch.tensor([[1.5, -0.0]]), "a": torch.arange(6.0).double().view(2, 3).t()},
        {"n": torch.tensor(3)},
    )
    second = replace(awkward, number=2, contribution=None, recall=np.array([0.5, np.nan]))
    save_progress(Progress(state, (awkward, second)), tmp_path / "p")
    found = load_progress(tmp_path / "p")
    same_rounds((awkward, second), found.rounds)
    same_state(state, found.state)
    save_progress(Progress(state), tmp_path / "p")
    assert load_progress(tmp_path / "p").rounds == ()


def test_other_settings_are_refused_by_name(make_task: MakeTask, tmp_path: Path) -> None:
    federation = Federation(per_round=3, local=LOCAL, defences=(Clip(norm=1.0),))
    progress = begin(make_task(), federation, state_of(make_task().net))
    path = tmp_path / "p"
    save_progress(progress, path, described(federation))
    load_progress(path, described(federation))
    other = replace(federation, local=replace(LOCAL, lr=0.05), seed=3)
    with pytest.raises(SettingsError) as refused:
        load_progress(path, described(other))
    said = str(refused.value)
    assert "local.lr is 0.1 there and 0.05 here; seed is 0 there and 3 here" in said
    with pytest.raises(SettingsError, match="and 6 more"):
        load_progress(path, {})


def test_a_checkpoint_is_written_whole_or_not_at_all(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task()
    federation = Federation(per_round=2, local=LOCAL)
    first = played(task, federation, begin(task, federation, state_of(task.net)), 1)
    path = tmp_path / "p"
    save_progress(first, path)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_progress(played(task, federation, first, 2), path)
    assert [one.name for one in tmp_path.iterdir()] == ["p"]
    assert len(load_progress(path).rounds) == 1


def test_what_is_no_checkpoint_is_refused(make_task: MakeTask, tmp_path: Path) -> None:
    save_progress(Progress(state_of(make_task().net)), tmp_path / "good")
    whole = (tmp_path / "good").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text").write_text("hello")
    save_file({"x": torch.ones(1)}, tmp_path / "other")
    for name in ("cut", "text", "other", "none"):
        with pytest.raises(DataError, match=f"{name}: (not a checkpoint|there is no such)"):
            load_progress(tmp_path / name)


def test_a_row_a_round(make_task: MakeTask) -> None:
    task = make_task(mavericks=(1,))
    federation = Federation(per_round=3, local=LOCAL, contribution=Exact(), evaluate_every=2)
    rounds = played(task, federation, begin(task, federation, state_of(task.net)), 4).rounds
    table = to_table(rounds, CLASSES)
    found = table.to_pydict()
    assert found["number"] == [1, 2, 3, 4]
    assert found["accuracy"] == [None, rounds[1].accuracy, None, rounds[3].accuracy]
    last = rounds[3].recall
    assert last is not None
    assert [found[f"recall_{name}"][3] for name in CLASSES] == last.tolist()
    assert found["recall_7"][0] is None
    assert found["chosen"] == [one.chosen.tolist() for one in rounds]
    assert found["refused"] == [[]] * 4
    assert [len(values) for values in found["contribution"]] == [3] * 4
    for phase in ("select", "train", "aggregate", "contribute", "evaluate"):
        assert found[f"seconds_{phase}"] == [one.phases.get(phase, 0.0) for one in rounds]
    assert found["seconds_evaluate"][0] == 0
    empty = to_table((), ("a", "a"))
    assert len(empty) == 0 and empty.column_names[2:4] == ["recall_a_0", "recall_a_1"]
    assert empty.schema.field("chosen").type == table.schema.field("chosen").type


def test_settings_are_described_for_json() -> None:
    federation = Federation(per_round=2, local=LOCAL, contribution=Exact())
    found = described(federation)
    assert json.loads(json.dumps(found)) == found
    assert found["local"]["schedule"] == {"is": "ClientSteps", "step": 2, "gamma": 0.5}
    assert found["weighting"] == "by_samples" and found["contribution"]["is"] == "Exact"
    divide = partial(dirichlet, n_clients=3, alpha=0.5)
    assert described(divide) == {"is": "dirichlet", "n_clients": 3, "alpha": 0.5}
