"""What tests on a Ray cluster share: Ray, marks, a cluster for a module, and killing its actors."""

import gc
import os
import signal

import pytest

ray = pytest.importorskip("ray")

MARKS = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::crowdlearn.errors.ConvergenceWarning"),
    # Ray leaves files of its own open
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SMALL = {"include_dashboard": False, "object_store_memory": 100 << 20}
QUICK = {
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 10_000,
    "health_check_failure_threshold": 3,
}
"""A machine that is gone is missed soon, one that is slow is not."""


def cluster_of(n_cores):
    """A fixture: one machine, which this process belongs to; others may be added to it."""

    @pytest.fixture(scope="module", autouse=True)
    def cluster():
        from ray.cluster_utils import Cluster

        machines = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": n_cores, "_system_config": QUICK, **SMALL},
        )
        ray.init(address=machines.address, log_to_driver=False)
        yield machines
        gc.collect()
        ray.shutdown()
        machines.shutdown()

    return cluster


def kill(actor):
    """End the process of an actor; its number."""
    pid = ray.get(actor.__ray_call__.remote(lambda self: os.getpid()))
    os.kill(pid, signal.SIGKILL)
    return pid


def nodes(actors):
    """The machines that actors are on."""
    ask = [
        one.__ray_call__.remote(lambda _: ray.get_runtime_context().get_node_id()) for one in actors
    ]
    return set(ray.get(ask))
