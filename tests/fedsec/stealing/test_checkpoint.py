"""All parts of an attack come back from the disk to the bit, for every optimiser."""

from __future__ import annotations

import pytest
import torch

from fedsec.core.functional import state_of
from fedsec.stealing.checkpoint import Course, load_run, save_run
from fedsec.stealing.parts import Parts, streams
from fedsec.stealing.records import StealRecord
from fedsec.stealing.substitute import rmsprop, train_substitute
from tests.fedsec.stealing.toys import images, linear_oracle, same_state, small_net

OPTIMISERS = {
    "rmsprop": lambda net: rmsprop(net.parameters(), 1e-3),
    "adam": lambda net: torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.5, 0.999)),
    "momentum": lambda net: torch.optim.SGD(net.parameters(), lr=1e-2, momentum=0.9),
    "plain": lambda net: torch.optim.SGD(net.parameters(), lr=1e-2),
}


def parts_of(make, seed):
    net, other = small_net(seed=seed), small_net(seed=seed + 1)
    return Parts(
        nets={"substitute": net, "generator": other},
        optimisers={"substitute": make(net), "generator": make(other)},
        generators=streams(seed, ("order", "codes"), "cpu"),
    )


def trained(parts, steps):
    for name in ("substitute", "generator"):
        train_substitute(
            parts.nets[name], parts.optimisers[name], images(60), torch.arange(60) % 4, batch=20,
            generator=parts.generators["order"], epochs=steps,
        )  # fmt: skip


@pytest.mark.parametrize("make", OPTIMISERS.values(), ids=OPTIMISERS)
def test_what_is_loaded_goes_on_as_what_was_saved(tmp_path, make):
    parts, oracle = parts_of(make, 1), linear_oracle(budget=100)
    trained(parts, 2)
    oracle(images(30))
    pool = images(8)
    parts.tensors |= {"pool": pool, "view of it": pool[2:5], "labels": torch.arange(8)}
    parts.numbers |= {"iteration": 3, "widest": 0.1 + 0.2}
    records = [StealRecord(queries=30, steps=12, iteration=3, losses={"a": 1 / 3})]
    course = Course(state_of(parts.substitute), 30, records, 12, 1.5, 30, "interrupted")
    path = tmp_path / "run.safetensors"
    save_run(path, parts, course, oracle, {"seed": 1})

    other, fresh = parts_of(make, 7), linear_oracle(budget=100)
    found = load_run(path, other, fresh, {"seed": 1})
    assert list(tmp_path.iterdir()) == [path]
    assert fresh.queries == 30 and fresh.log.counts.tolist() == oracle.log.counts.tolist()
    assert other.numbers == parts.numbers and set(other.tensors) == set(parts.tensors)
    assert all(torch.equal(other.tensors[name], parts.tensors[name]) for name in parts.tensors)
    assert same_state(found.best, course.best) and found.records == records
    for name in ("best_queries", "steps", "seconds", "recorded", "stopped"):
        assert getattr(found, name) == getattr(course, name)
    for one in (parts, other):
        trained(one, 2)
    for name in ("substitute", "generator"):
        assert same_state(state_of(parts.nets[name]), state_of(other.nets[name]))
    for name in ("order", "codes"):
        drawn = [torch.rand(3, generator=one.generators[name]) for one in (parts, other)]
        assert torch.equal(*drawn)


def test_a_disk_that_refuses_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    parts, oracle = parts_of(OPTIMISERS["plain"], 1), linear_oracle()
    path = tmp_path / "run.safetensors"
    course = Course(state_of(parts.substitute))
    save_run(path, parts, course, oracle, {})
    before = path.read_bytes()

    def full(fd):
        raise OSError("no space left on device")

    monkeypatch.setattr("fedsec.stealing.checkpoint.os.fsync", full)
    parts.numbers["iteration"] = 5
    with pytest.raises(OSError, match="no space"):
        save_run(path, parts, course, oracle, {})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
