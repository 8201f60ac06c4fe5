"""Cross-entropy, as a task's loss, is what it always was."""

from __future__ import annotations

import pickle
from collections.abc import Callable

from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from fedsec.core.functional import call, state_of
from fedsec.federated.engines import engine_for, side_by_side
from fedsec.federated.loss import CROSS_ENTROPY
from fedsec.federated.task import Task
from fedsec.metrics.classification import evaluate


def test_it_is_the_default_and_that_of_torch(make_task: Callable[..., Task]) -> None:
    task = make_task("mlp")
    assert task.loss is CROSS_ENTROPY
    state, some = state_of(task.net), task.test
    found = task.loss.losses(task.net, state, some.x, some.y, None)
    assert_close(found, cross_entropy(call(task.net, state, some.x), some.y, reduction="none"))
    mine, theirs = task.loss.evaluate(task.net, state, some), evaluate(task.net, state, some)
    assert (mine.loss, mine.accuracy) == (theirs.loss, theirs.accuracy)


def test_a_copy_of_another_process_is_it_too(make_task: Callable[..., Task]) -> None:
    """The faster engine serves a task that was pickled."""
    task = pickle.loads(pickle.dumps(make_task("mlp")))
    assert engine_for(task.net, task.loss) is side_by_side
