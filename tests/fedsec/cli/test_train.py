"""What `fedsec train` does is what the library does, and what it writes can be read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import load_file

from fedsec.cli.experiment import experiment_of
from fedsec.cli.flags import PARTITIONS, Flags
from fedsec.cli.presets import OWN_FILE, PRESETS
from fedsec.cli.train import row_of
from fedsec.core.functional import State, state_of
from fedsec.core.record import Result, read_results
from fedsec.core.rng import stream
from fedsec.data.images import IMAGE_SETS, ImageData
from fedsec.data.partitions import exclusive_mavericks
from fedsec.federated.aggregate import by_samples, uniform
from fedsec.federated.contribution import Exact, Gtg
from fedsec.federated.history import load_progress
from fedsec.federated.local import ClientSteps, FullGradient, GlobalSteps, LocalTraining, constant
from fedsec.federated.privacy import Clip, GaussianNoise, Quantise, TopK, epsilon, rdp
from fedsec.federated.selectors import Always, FedEmd, Oort, PowerOfChoice, RandomSelector, selector
from fedsec.federated.simulate import Federation, begin, simulate
from fedsec.federated.task import Task
from fedsec.metrics.classification import evaluate, rounds_to
from fedsec.nets import make_net
from tests.fedsec.cli.commands import QUICK, done

FILES = {
    "results.jsonl", "history.parquet", "settings.json", "accuracy.png", "maverick-recall.png",
    "selection.png", "checkpoints",
}  # fmt: skip


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two selectors, two seeds."""
    out = tmp_path_factory.mktemp("train") / "out"
    done("train", *QUICK, "--select", "random", "--select", "fedemd", "--seeds", 2, "--out", out)
    return out


def results(folder: Path) -> list[Result]:
    return list(read_results(folder / "results.jsonl"))


def by_hand(digits: ImageData, rule: object, seed: int, n_rounds: int) -> tuple[Task, State, list]:
    """The run that QUICK asks for, by the library alone."""
    labels = digits.train.y.numpy()
    parts = exclusive_mavericks(labels, 10, [1], stream(seed, "partition")).parts
    task = Task(make_net("linear", digits, seed), digits.train, parts, digits.test, 10)
    local = LocalTraining(
        epochs=1, batch=16, lr=0.05, momentum=0.5, schedule=ClientSteps(step=10, gamma=0.1)
    )
    federation = Federation(per_round=3, local=local, selector=rule, seed=seed)
    start = begin(task, federation, state_of(task.net))
    end = list(simulate(task, federation, start, n_rounds))[-1]
    return task, end.state, list(end.rounds)


def test_it_does_what_the_library_does(compared: Path, digits: ImageData) -> None:
    table = pyarrow.parquet.read_table(compared / "history.parquet").to_pandas()
    for name, rule in (("random", RandomSelector()), ("fedemd", FedEmd(alpha=0.3, beta=0.15))):
        for seed in (0, 1):
            task, state, rounds = by_hand(digits, rule, seed, 4)
            stored = load_file(compared / f"model-{name}-seed{seed}.safetensors")
            assert stored.keys() == state.parameters.keys()
            for key, value in state.parameters.items():
                assert torch.equal(stored[key], value)
            mine = table[(table["select"] == name) & (table["seed"] == seed)]
            assert mine["accuracy"].tolist() == [one.accuracy for one in rounds]
            assert [list(ids) for ids in mine["chosen"]] == [list(one.chosen) for one in rounds]
            kept = load_progress(compared / "checkpoints" / f"{name}-seed{seed}.safetensors")
            assert torch.equal(kept.state.parameters["1.bias"], state.parameters["1.bias"])


def test_what_it_writes(compared: Path) -> None:
    models = {f"model-{n}-seed{s}.safetensors" for n in ("random", "fedemd") for s in (0, 1)}
    assert {path.name for path in compared.iterdir()} == FILES | models
    for path in compared.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    settings = json.loads((compared / "settings.json").read_text())
    assert settings["rounds"] == 4 and settings["seeds"] == [0, 1]
    assert settings["selectors"]["fedemd"]["selector"]["alpha"] == 0.3
    assert [path.name for path in compared.parent.iterdir()] == ["out"]


def test_the_measures_are_those_of_the_history(compared: Path) -> None:
    table = pyarrow.parquet.read_table(compared / "history.parquet").to_pandas()
    best = table[table["select"] == "random"].groupby("seed")["accuracy"].max()
    found = results(compared)
    assert [(one.settings["select"], one.seed) for one in found] == [
        ("random", 0), ("fedemd", 0), ("random", 1), ("fedemd", 1)
    ]  # fmt: skip
    for one in found:
        mine = table[(table["select"] == one.settings["select"]) & (table["seed"] == one.seed)]
        accuracy = mine["accuracy"].to_numpy()
        assert one.measures["accuracy"] == accuracy[-1]
        assert one.measures["best_accuracy"] == accuracy.max()
        assert one.measures["rounds_to_99"] == rounds_to(accuracy, best[one.seed])
        assert one.measures["maverick_recall"] == mine["recall_1"].iloc[-1]
        assert one.measures["mavericks_per_round"] == np.mean([0 in ids for ids in mine["chosen"]])
        phases = mine[[name for name in mine if name.startswith("seconds_")]].sum()
        assert sum(one.measures["seconds"].values()) == pytest.approx(phases.sum())
        assert one.settings["local"]["lr"] == 0.05 and one.measures["epsilon"] is None


def test_the_model_is_the_one_that_was_scored(digits: ImageData, tmp_path: Path) -> None:
    done("train", *QUICK, "--net", "cnn-bn", "--select", "random", "--out", tmp_path / "out")
    net = make_net("cnn-bn", digits, 5)
    net.load_state_dict(load_file(tmp_path / "out" / "model.safetensors"))
    found = evaluate(net, state_of(net), digits.test)
    (result,) = results(tmp_path / "out")
    assert found.accuracy == result.measures["accuracy"]


def test_the_same_command_gives_the_same_bits(tmp_path: Path) -> None:
    for name in ("one", "two"):
        done("train", *QUICK, "--clip", 1, "--noise", 0.1, "--bits", 8, "--out", tmp_path / name)
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert models[0] == models[1]


def test_json_is_what_is_written(tmp_path: Path) -> None:
    found = done("train", *QUICK, "--json", "--out", tmp_path / "out")
    assert found.stdout == (tmp_path / "out" / "results.jsonl").read_text()
    assert Result.from_json(found.stdout).measures["rounds_to_99"] is None


def test_a_row_a_selector_is_printed() -> None:
    said = done("train", *QUICK, "--select", "random", "--select", "always", "--seeds", 2).stdout
    assert "digits: 1,297 training and 500 test images, 10 clients, 1 Maverick with class 1" in said
    assert "random" in said and "always" in said and "±" in said and "R@99" in said


def test_every_selector_runs() -> None:
    names = [
        "random", "fedemd", "shapley-weighted", "tifl", "fedfast", "power-of-choice", "oort",
        "always", "never",
    ]  # fmt: skip
    words = [word for name in names for word in ("--select", name)]
    found = done("train", *QUICK, "--rounds", 2, *words, "--hold-out", 100, "--json")
    lines = [Result.from_json(line) for line in found.stdout.splitlines()]
    assert [one.settings["select"] for one in lines] == names
    assert [one.measures["mavericks_per_round"] for one in lines][-2:] == [1.0, 0.0]
    assert {one.settings["images"]["train"]["n"] for one in lines} == {1197}


@pytest.mark.parametrize("partition", PARTITIONS)
def test_every_partition_runs(partition: str) -> None:
    found = done("train", *QUICK, "--rounds", 1, "--partition", partition, "--json")
    result = Result.from_json(found.stdout)
    with_mavericks = partition == "mavericks"
    assert result.settings["select"] == ("fedemd" if with_mavericks else "random")
    assert (result.measures["maverick_recall"] is None) == (not with_mavericks)


def test_users_own_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        f"{what}_{part}": made
        for part, n in (("train", 60), ("test", 20))
        for what, made in (
            ("x", rng.integers(0, 256, (n, 8, 8), dtype=np.uint8)),
            ("y", np.arange(n) % 3),
        )
    }
    np.savez(tmp_path / "own.npz", classes=np.array(["cat", "dog", "cow"]), **arrays)
    words = ("--data", tmp_path / "own.npz", "--maverick-class", "cow", "--clients", 6)
    found = done("train", *words, "--per-round", 2, "--rounds", 2, "--evaluate-every", 5, "--json")
    result = Result.from_json(found.stdout)
    assert result.settings["partition"] == {
        "is": "exclusive_mavericks", "n_clients": 6, "classes": [2]
    }  # fmt: skip
    assert result.measures["accuracy"] is not None  # the last round is always evaluated


def test_epsilon_is_that_of_the_client_that_took_part_most_often(tmp_path: Path) -> None:
    pytest.importorskip("opacus")
    words = ("--clip", 1, "--noise", 2, "--delta", 1e-5, "--out", tmp_path / "out")
    said = done("train", *QUICK, *words).stdout
    chosen = pyarrow.parquet.read_table(tmp_path / "out" / "history.parquet")["chosen"]
    most = int(np.bincount(np.concatenate(chosen.to_pylist())).max())
    (result,) = results(tmp_path / "out")
    assert result.measures["epsilon"] == epsilon(2.0, 1.0, most, 1e-5, rdp)
    assert f"epsilon {result.measures['epsilon']:.3g} at delta 1e-05" in said


def test_defaults_are_those_of_the_notes() -> None:
    made = experiment_of(Flags(), ["fedemd"], contribution=None)
    local = LocalTraining(epochs=3, batch=4, lr=0.05, momentum=0.5, schedule=ClientSteps(10, 0.1))
    assert made.federation == Federation(per_round=5, local=local)
    assert made.selectors["fedemd"] == FedEmd(alpha=0.3, beta=0.006)
    assert (made.net, made.n_rounds, made.n_clients) == ("mlp", 100, 50)
    assert made.mavericks.ids == (0,) and made.mavericks.classes == (1,)
    assert PRESETS.keys() == IMAGE_SETS.keys()
    for preset in (*PRESETS.values(), OWN_FILE):
        assert preset.beta_for(preset.rounds) == preset.beta
        assert preset.beta_for(2 * preset.rounds) == preset.beta / 2


def test_flags_reach_the_library() -> None:
    made = experiment_of(
        Flags(
            epochs=2, batch=7, lr=0.2, momentum=0.1, weight_decay=0.01, prox=0.3, lr_step=3,
            lr_gamma=0.7, schedule="global", weighting="uniform", clip=2.0, noise=0.5, top_k=0.2,
            bits=4, evaluate_every=3, skip_bad_updates=True, per_round=4, seed=7, rounds=11,
            alpha=1.0, beta=0.5, settings=["norm=none", "n-candidates=9", "window=2.5"],
            mavericks=3, limit=500, test_limit=50, hold_out=100, net="cnn", clients=20,
        ),
        ["fedemd", "power-of-choice", "oort", "always"], contribution="gtg", n_seeds=2,
    )  # fmt: skip
    local = LocalTraining(
        epochs=2, batch=7, lr=0.2, momentum=0.1, weight_decay=0.01, prox=0.3,
        schedule=GlobalSteps(3, 0.7),
    )  # fmt: skip
    defences = (GaussianNoise(multiplier=0.5, norm=2.0), TopK(share=0.2), Quantise(bits=4))
    assert made.federation == Federation(
        per_round=4, local=local, weighting=uniform, defences=defences, evaluate_every=3,
        skip_bad_updates=True,
    )  # fmt: skip
    assert dict(made.selectors) == {
        "fedemd": FedEmd(alpha=1.0, beta=0.5, norm="none"),
        "power-of-choice": PowerOfChoice(n_candidates=9),
        "oort": Oort(window=2.5),
        "always": Always(ids=(0, 1, 2)),
    }
    assert made.mavericks.classes == (1, 0, 2) and made.seeds == (7, 8) and made.n_rounds == 11
    task = made.task(7)
    assert (len(task.train), len(task.test), len(task.valued_on)) == (400, 50, 100)
    assert (made.federation_of(made.runs[5]).seed, made.contribution) == (8, Gtg())


def test_algorithms_and_schedules() -> None:
    sgd = experiment_of(Flags(algorithm="fedsgd"), ["random"], contribution=None)
    assert sgd.federation.local == FullGradient(lr=0.3, schedule=constant)
    assert sgd.federation.weighting is by_samples
    none = experiment_of(Flags(schedule="none", clip=1.0), ["random"], contribution=None)
    assert none.federation.local.schedule is constant
    assert none.federation.defences == (Clip(norm=1.0),)
    found = done("train", *QUICK[:8], "--algorithm", "fedsgd", "--json").stdout
    assert Result.from_json(found).settings["local"]["is"] == "FullGradient"


def test_contributions_are_measured_where_needed() -> None:
    few = experiment_of(Flags(), ["random", "shapley-weighted"], contribution=None)
    random, weighted = (few.federation_of(run).contribution for run in few.runs)
    assert random is None and weighted == Exact()
    many = experiment_of(Flags(per_round=11), ["shapley-weighted"], contribution=None)
    assert many.federation_of(many.runs[0]).contribution == Gtg()


def test_shared_mavericks() -> None:
    made = experiment_of(
        Flags(shared=True, mavericks=3, maverick_class=["7"]), ["never"], contribution=None
    )
    counts = made.task(0).counts()
    assert (counts[:, 7] > 0).tolist() == [True] * 3 + [False] * 47
    assert made.selectors["never"] == selector("never", ids=(0, 1, 2))


def test_what_was_not_reached_is_more_than_all_rounds() -> None:
    one = Result(
        what="train", seed=0, settings={"rounds": 4}, seconds=1.0,
        measures={"accuracy": 0.5, "best_accuracy": 0.6, "rounds_to_99": 5,
                  "maverick_recall": None, "mavericks_per_round": None},
    )  # fmt: skip
    assert row_of("x", [one]) == ("x", "50.0", "60.0", "> 4", "–", "–", "1.0")
    assert row_of("x", [one, one])[3] == "5.0 ± 0.0"
