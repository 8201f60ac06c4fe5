"""What does a federated round cost, here, in a plain loop, and on Flower with Ray?

    python -m benchmarks.fl_speed [--rounds 5] [--repeats 20]

round     10 clients, all in every round, digits, the two-layer CNN, one local epoch, batches of 32.
          CPU seconds a round of the whole process tree, evaluation left out, on one thread: the
          smallest of some repeats, taken in turn. The plain loop is what one writes by hand: a
          copied module, torch.optim.SGD, batches by index, a weighted mean of the state dicts. "One
          network, one batch" trains no clients: the same samples in as many steps, of one model.
no-op     100 clients that train nothing, a network of about 10,000 parameters: what choosing,
          planning, checking and averaging cost for each client, and what the client itself takes
          to make an answer of that size.
memory    1,000 clients, 10 a round, a network of a million parameters: peak memory above that of
          the loaded task, against the same with 100 clients.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.machine import ONE_THREAD, RESULTS, ROOT, peak_mib, record, write_json
from fedsec.core.functional import Parameters, State, state_of
from fedsec.core.record import Update
from fedsec.core.rng import stream
from fedsec.data.images import Images, load_images
from fedsec.data.partitions import iid
from fedsec.federated.engines import Engine, Local, Trained, one_by_one, side_by_side
from fedsec.federated.local import LocalTraining, Plan
from fedsec.federated.simulate import Federation, begin, play
from fedsec.federated.task import Task
from fedsec.nets import make_net

N_CLIENTS, BATCH, LR = 10, 32, 0.1
NEVER = 10**9
FLOWER_EACH, FLOWER_ROUNDS = 5, 20  # repeats from one run of Flower to the next; it starts slowly


def digits_task() -> Task:
    """Ten clients of about 130 digits."""
    digits = load_images("digits")
    parts = iid(digits.train.y.numpy(), N_CLIENTS, stream(0, "partition"))
    net = make_net("cnn", digits, 0)
    return Task(net, digits.train, parts.parts, digits.test, len(digits.classes))


def ours(task: Task, engine: Engine, n_rounds: int) -> float:
    """CPU seconds a round."""
    local = LocalTraining(batch=BATCH, lr=LR)
    federation = Federation(per_round=N_CLIENTS, local=local, engine=engine, evaluate_every=NEVER)
    progress = begin(task, federation, state_of(task.net))
    started = time.process_time()
    for _ in range(n_rounds):
        progress = play(task, federation, progress)
    return (time.process_time() - started) / n_rounds


def plain(task: Task, n_rounds: int) -> float:
    """The loop that one writes by hand; CPU seconds a round."""
    net, rng = copy.deepcopy(task.net), np.random.default_rng(0)
    started = time.process_time()
    for _ in range(n_rounds):
        total: dict[str, torch.Tensor] = {}
        n_all = sum(len(part) for part in task.parts)
        for part in task.parts:
            mine = copy.deepcopy(net)
            optimiser = torch.optim.SGD(mine.parameters(), lr=LR)
            order = torch.from_numpy(part[rng.permutation(len(part))])
            for ids in order.split(BATCH):
                optimiser.zero_grad()
                cross_entropy(mine(task.train.x[ids]), task.train.y[ids]).backward()
                optimiser.step()
            for name, value in mine.state_dict().items():
                share = len(part) / n_all
                total[name] = total.get(name, 0) + share * value
        net.load_state_dict(total)
    return (time.process_time() - started) / n_rounds


def pooled(task: Task, n_rounds: int) -> float:
    """As many samples in as many steps, by one network that takes the batches of all clients as
    one: no federation at all. CPU seconds a round."""
    net = copy.deepcopy(task.net)
    optimiser = torch.optim.SGD(net.parameters(), lr=LR)
    rng, n = np.random.default_rng(0), len(task.train.y)
    started = time.process_time()
    for _ in range(n_rounds):
        for ids in torch.from_numpy(rng.permutation(n)).split(BATCH * N_CLIENTS):
            optimiser.zero_grad()
            cross_entropy(net(task.train.x[ids]), task.train.y[ids]).backward()
            optimiser.step()
    return (time.process_time() - started) / n_rounds


def flower(n_rounds: int) -> dict[str, float]:
    """CPU and wall seconds a round of Flower's simulation on Ray, in a process of its own."""
    from fedsec.federated.flower import QUIET

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fl_speed", "--flower", str(n_rounds)],
        cwd=ROOT, env=os.environ | ONE_THREAD | QUIET, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def flower_here(n_rounds: int) -> None:
    """Prints what `flower` reads; the rounds in which Ray starts workers do not count."""
    import psutil
    from flwr.app import ArrayRecord
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid, ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    marks: list[tuple[float, float]] = []

    def mark(*_: Any) -> None:
        me = psutil.Process()
        tree = [me, *me.children(recursive=True)]
        spent = 0.0
        for process in tree:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            spent += times.user + times.system
        marks.append((spent, time.perf_counter()))

    client_app = ClientApp()
    client_app.train()(_flower_train)
    server_app = ServerApp()

    @server_app.main()
    def main(grid: Grid, context: Any) -> None:
        strategy = FedAvg(
            fraction_train=1.0, fraction_evaluate=0.0, min_train_nodes=N_CLIENTS,
            min_available_nodes=N_CLIENTS,
        )  # fmt: skip
        start = ArrayRecord(digits_task().net.state_dict())
        strategy.start(grid=grid, initial_arrays=start, num_rounds=n_rounds, evaluate_fn=mark)

    run_simulation(
        server_app, client_app, N_CLIENTS,
        backend_config={"client_resources": {"num_cpus": 1}, "init_args": {"num_cpus": 1}},
    )  # fmt: skip
    (cpu, wall), (cpu_end, wall_end) = marks[3], marks[-1]
    n = len(marks) - 4
    print(json.dumps({"cpu": (cpu_end - cpu) / n, "wall": (wall_end - wall) / n}))


@cache
def loaded_task() -> Task:
    """The task, loaded once by each worker of Ray."""
    return digits_task()


def _flower_train(message: Any, context: Any) -> Any:
    """What the plain loop does with one client."""
    from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict

    torch.set_num_threads(1)
    task = loaded_task()
    part = task.parts[int(context.node_config["partition-id"])]
    net = copy.deepcopy(task.net)
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    optimiser = torch.optim.SGD(net.parameters(), lr=LR)
    order = torch.from_numpy(part[np.random.default_rng(0).permutation(len(part))])
    for ids in order.split(BATCH):
        optimiser.zero_grad()
        cross_entropy(net(task.train.x[ids]), task.train.y[ids]).backward()
        optimiser.step()
    content = RecordDict(
        {"arrays": ArrayRecord(net.state_dict()),
         "metrics": MetricRecord({"num-examples": len(part)})}
    )  # fmt: skip
    return Message(content=content, reply_to=message)


def unmoved(parameters: Parameters) -> list[torch.Tensor]:
    """The change of a client that trains nothing, made at once."""
    return list(torch._foreach_mul(list(parameters.values()), 0.0))


def idle(
    net: nn.Module, state: State, train: Images, plans: Sequence[Plan], local: Local, number: int
) -> list[Trained]:
    """An engine whose clients send back what they got."""
    return [
        Trained(
            Update(
                "delta", dict(zip(state.parameters, unmoved(state.parameters), strict=True)),
                number, one.client, one.n,
            ),
            0.0, 0.0, 0.0,
        )
        for one in plans
    ]  # fmt: skip


def random_task(n_clients: int, hidden: int, n_each: int = 2) -> Task:
    """Clients with a few random images of 28 x 28, and a network with one hidden layer."""
    rng = np.random.default_rng(0)
    n = n_clients * n_each
    images = Images(
        torch.from_numpy(rng.random((n, 1, 28, 28), dtype=np.float32)),
        torch.from_numpy(rng.integers(0, 10, n)),
    )
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, 10))
    parts = tuple(np.arange(n).reshape(n_clients, n_each))
    return Task(net, images, parts, images.subset(np.arange(10)), 10)


def no_op(n_rounds: int = 50) -> dict[str, float]:
    """CPU milliseconds for each client that trains nothing; the smallest of five repeats."""
    task, answering = random_task(100, 12), [0.0]

    def timed(*asked: Any) -> list[Trained]:
        started = time.process_time()
        found = idle(*asked)
        answering[0] += time.process_time() - started
        return found

    federation = Federation(per_round=100, engine=timed, evaluate_every=NEVER)
    progress = begin(task, federation, state_of(task.net))
    progress = play(task, federation, progress)
    all_of_it, clients = [], []
    for _ in range(5):
        started, answering[0] = time.process_time(), 0.0
        for _ in range(n_rounds):
            progress = play(task, federation, progress)
        took = time.process_time() - started - answering[0]
        all_of_it.append(1000 * took / n_rounds / 100)
        clients.append(1000 * answering[0] / n_rounds / 100)
    parameters = sum(value.numel() for value in progress.state.parameters.values())
    return {
        "parameters": parameters, "CPU milliseconds a client": min(all_of_it),
        "its own": min(clients),
    }  # fmt: skip


def memory(n_clients: int) -> dict[str, float]:
    """MiB above the loaded task, for two rounds of ten clients, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.fl_speed", "--memory", str(n_clients)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def memory_here(n_clients: int) -> None:
    """Prints what `memory` reads."""
    task = random_task(n_clients, 1258)
    local = LocalTraining(batch=2, momentum=0.9)
    federation = Federation(per_round=10, local=local, evaluate_every=NEVER)
    progress = begin(task, federation, state_of(task.net))
    before = peak_mib()
    for _ in range(2):
        progress = play(task, federation, progress)
    model = sum(value.numel() for value in progress.state.parameters.values()) * 4 / 2**20
    print(json.dumps({"MiB": peak_mib() - before, "a model, MiB": model}))


def markdown(result: dict[str, Any]) -> str:
    """All figures."""
    rounds, ratios = result["CPU seconds a round"], result["ratios"]
    lines = [
        f"# {result['question']}\n",
        f"*{result['date']}; one thread of {result['machine']['cpu']}; "
        f"the smallest of {result['repeats']} repeats of {result['rounds']} rounds, of Flower of"
        f" {len(result['Flower on Ray'])} of {FLOWER_ROUNDS}.*\n",
        "| engine | CPU s a round | against the plain loop | against Flower on Ray |",
        "|---|---|---|---|",
    ]
    for name, seconds in rounds.items():
        lines.append(
            f"| {name} | {seconds:.4f} | {seconds / rounds['plain loop']:.2f} |"
            f" {seconds / rounds['Flower on Ray']:.2f} |"
        )
    few, many = result["memory"]["100 clients"], result["memory"]["1000 clients"]
    lines += [
        "",
        f"`side_by_side` takes {ratios['plain loop']:.2f} of the plain loop and"
        f" {ratios['Flower on Ray']:.2f} of Flower on Ray. A client that trains nothing costs the"
        f" federation {result['no-op']['CPU milliseconds a client']:.4f} CPU-ms"
        f" ({result['no-op']['parameters']:,} parameters), beside {result['no-op']['its own']:.4f}"
        " in which it makes its answer. Ten clients a round with a network of"
        f" {many['a model, MiB']:.1f} MiB take {many['MiB']:.0f} MiB above the task of 1,000"
        " clients,"
        f" {few['MiB']:.0f} MiB above that of 100.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--flower", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--memory", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.flower:
        flower_here(given.flower)
        return
    if given.memory:
        memory_here(given.memory)
        return
    task = digits_task()
    engines: dict[str, Callable[[], float]] = {
        "side_by_side": lambda: ours(task, side_by_side, given.rounds),
        "one_by_one": lambda: ours(task, one_by_one, given.rounds),
        "plain loop": lambda: plain(task, given.rounds),
        "one network, one batch": lambda: pooled(task, given.rounds),
    }
    took: dict[str, list[float]] = {name: [] for name in engines}
    on_ray = []
    for repeat in range(given.repeats):
        for name, run in engines.items():
            took[name].append(run())
        if repeat % FLOWER_EACH == 0:
            on_ray.append(flower(FLOWER_ROUNDS))
        print({name: round(min(each), 4) for name, each in took.items()}, on_ray[-1], flush=True)
    smallest = {name: min(each) for name, each in took.items()}
    smallest["Flower on Ray"] = min(one["cpu"] for one in on_ray)
    result = record(__doc__.strip().splitlines()[0], [0]) | {
        "rounds": given.rounds, "repeats": given.repeats,
        "CPU seconds a round": smallest, "all": took, "Flower on Ray": on_ray,
        "ratios": {name: smallest["side_by_side"] / smallest[name]
                   for name in ("plain loop", "Flower on Ray")},
        "no-op": no_op(),
        "memory": {f"{n} clients": memory(n) for n in (100, 1000)},
    }  # fmt: skip
    write_json(RESULTS / "fl_speed.json", result)
    (RESULTS / "fl_speed.md").write_text(markdown(result))
    print(markdown(result))


if __name__ == "__main__":
    main()
