"""`fedsec contribution` divides what the library divides, and says how sure it is."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t

from fedsec.cli.crediting import Once
from fedsec.core.functional import State, state_of
from fedsec.core.record import Result, Update, read_results
from fedsec.core.rng import stream
from fedsec.data.images import ImageData
from fedsec.data.partitions import exclusive_mavericks
from fedsec.federated.contribution import (
    ComFedSV,
    Exact,
    FedSV,
    Gtg,
    PlayedRound,
    RoundGame,
    client_fairness,
    data_share,
    negative_loss,
    relative_contribution,
    round_game,
)
from fedsec.federated.local import ClientSteps, LocalTraining
from fedsec.federated.selectors import FedEmd
from fedsec.federated.simulate import Federation, Progress, begin, simulate
from fedsec.federated.task import Task
from fedsec.nets import make_net
from tests.fedsec.cli.commands import QUICK, done, started
from tests.fedsec.cli.test_resume import SLOW

WORDS = ("contribution", *QUICK)


def rows(text: str) -> tuple[list[dict], list[Result]]:
    """The lines of clients, and those of trainings after them."""
    lines = [json.loads(line) for line in text.splitlines()]
    clients = [line for line in lines if "client" in line]
    return clients, [Result.from_json(json.dumps(line)) for line in lines if "what" in line]


def by_hand(digits: ImageData) -> tuple[list[PlayedRound], Progress, Task]:
    """The rounds of the run that QUICK asks for, by the library alone."""
    labels = digits.train.y.numpy()
    parts = exclusive_mavericks(labels, 10, [1], stream(0, "partition")).parts
    task = Task(make_net("linear", digits, 0), digits.train, parts, digits.test, 10)
    local = LocalTraining(
        epochs=1, batch=16, lr=0.05, momentum=0.5, schedule=ClientSteps(step=10, gamma=0.1)
    )
    federation = Federation(per_round=3, local=local, selector=FedEmd(alpha=0.3, beta=0.15))
    games: list[PlayedRound] = []

    def observe(state: State, updates: list[Update]) -> None:
        game = round_game(state, updates, negative_loss(task.net, task.test))
        games.append(PlayedRound(game, np.array([one.client for one in updates])))

    start = begin(task, federation, state_of(task.net))
    end = list(simulate(task, federation, start, 4, observe=observe))[-1]
    return games, end, task


def test_values_and_fairness_are_those_of_the_library(digits: ImageData) -> None:
    clients, (result,) = rows(done(*WORDS, "--json").stdout)
    games, progress, task = by_hand(digits)
    rng = np.random.default_rng(0)
    expected = FedSV()(games, 10, rng)
    np.testing.assert_array_equal([one["value"] for one in clients], expected.values)
    fair: list[list[float]] = [[] for _ in range(10)]
    for game, one in zip(games, progress.rounds, strict=True):
        shares = relative_contribution(Exact()(game.game, rng).values)
        for client, value in zip(
            one.chosen, client_fairness(shares, data_share(one.n)), strict=True
        ):
            fair[client].append(float(value))
    for client, of in zip(clients, fair, strict=True):
        assert client["rounds"] == len(of)
        assert client["fairness"] == (pytest.approx(np.mean(of)) if of else None)
        assert client["low"] == client["value"] == client["high"]
    assert result.measures["fairness"] == pytest.approx(np.mean(sum(fair, [])))
    assert result.measures["evaluations"] == expected.n_evaluations == 4 * 2**3
    assert result.measures["accuracy"] == progress.rounds[-1].accuracy
    sizes = task.counts().sum(axis=1)
    assert [one["samples"] for one in clients] == sizes.tolist()
    assert [one["maverick"] for one in clients] == [True] + [False] * 9
    assert sum(one["share"] for one in clients) == pytest.approx(1)


def test_intervals_of_what_a_method_draws() -> None:
    words = ("--method", "monte-carlo", "--per-round", 5, "--json")
    clients, (result,) = rows(done(*WORDS, *words).stdout)
    took_part = [one for one in clients if one["rounds"]]
    assert all(one["low"] < one["value"] < one["high"] for one in took_part)
    assert all(one["standard_error"] == 0 for one in clients if not one["rounds"])
    assert result.measures["permutations"] > 0
    exact, _ = rows(done(*WORDS, "--per-round", 5, "--json").stdout)
    inside = [
        one["low"] <= true["value"] <= one["high"]
        for one, true in zip(clients, exact, strict=True)
        if one["rounds"]
    ]
    assert np.mean(inside) >= 0.6  # 95 % each, before the bias of truncation


def test_intervals_over_trainings_of_the_same_clients() -> None:
    clients, results = rows(done(*WORDS, "--seeds", 3, "--json").stdout)
    assert [one.seed for one in results] == [0, 1, 2]
    assert all(one.settings["clients_seed"] == 0 for one in results)
    first, _ = rows(done(*WORDS, "--json").stdout)
    assert [one["samples"] for one in clients] == [one["samples"] for one in first]
    one = clients[0]
    assert one["low"] < one["value"] < one["high"]
    half = t.ppf(0.975, 2) * one["standard_error"]
    assert one["high"] - one["value"] == pytest.approx(half)


def test_over_rounds_everybody_is_heard_first() -> None:
    words = ("--clients", 5, "--over-rounds", "comfedsv", "--json")
    clients, (result,) = rows(done(*WORDS, *words).stdout)
    assert all(one["rounds"] >= 1 for one in clients)
    assert result.settings["over_rounds"]["is"] == ComFedSV.__name__
    assert result.measures["evaluations"] == 2**5 + 3 * 2**3


def test_what_it_writes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = done(*WORDS, "--method", "gtg", "--out", out).stdout
    assert "fedsv over 4 rounds" in said and "0 Maverick" in said and "models evaluated" in said
    assert {path.name for path in out.iterdir()} == {
        "contributions.jsonl", "contribution.png", "results.jsonl", "history.parquet",
        "settings.json", "model.safetensors", "accuracy.png", "maverick-recall.png",
        "selection.png",
    }  # fmt: skip
    clients, _ = rows((out / "contributions.jsonl").read_text())
    assert [one["client"] for one in clients] == list(range(10))
    (result,) = read_results(out / "results.jsonl")
    assert result.what == "contribution"
    assert result.settings["over_rounds"]["within"]["is"] == Gtg.__name__


def test_of_many_clients_both_ends_and_the_mavericks_are_shown() -> None:
    words = ("--clients", 80, "--rounds", 2, "--mavericks", 1, "--maverick-class", 4)
    said = done(*WORDS, *words).stdout
    assert "0 Maverick" in said and "clients in between are not shown" in said
    assert 20 <= sum("exact" in line for line in said.splitlines()) <= 21


def test_ctrl_c_gives_the_result_so_far(tmp_path: Path) -> None:
    words = (*WORDS, "--rounds", 500, "--out", tmp_path / "out")
    process = started(SLOW.format(pause=0.05), *words)
    assert process.stdout is not None
    for _ in range(3):
        assert process.stdout.readline() == "playing\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    (result,) = read_results(tmp_path / "out" / "results.jsonl")
    assert 2 <= result.settings["rounds"] < 500
    assert f"this is of 1 trainings of {result.settings['rounds']} rounds" in said


def test_a_game_is_valued_once_whoever_asks() -> None:
    asked = []

    def value(mask: int) -> float:
        asked.append(mask)
        return float(mask)

    once, rng = Once(Exact()), np.random.default_rng(0)
    game = RoundGame(2, value)
    assert once(game, rng) is once(game, rng)
    assert once(RoundGame(2, value), rng) is not once(game, rng)
    assert len(asked) == 8
