"""A canary: the private parts of Flower that we touch still do what we take them to do."""

from __future__ import annotations

import flwr
import pytest
from flwr.app import Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from fedsec.federated.flower import private

CHANGED = f"Flower {flwr.__version__} changed this: see fedsec/federated/flower/private.py"


def message() -> Message:
    return Message(RecordDict(), 3, "train")


@pytest.fixture
def unidentified(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process as it is before anything gave it an identity."""
    for name in ("_task_id", "_run_id", "_node_id"):
        assert hasattr(TaskIdentity, name), CHANGED
        monkeypatch.setattr(TaskIdentity, name, None)


@pytest.mark.usefixtures("unidentified")
def test_a_process_needs_an_identity_to_make_messages_and_gets_one() -> None:
    with pytest.raises(RuntimeError, match="is not set"):
        message()
    private.identify()
    made = message().metadata
    found = (made.src_task_id, made.run_id, made.src_node_id)
    assert found == (private.TASK_ID, private.RUN_ID, private.SUPERLINK_NODE_ID), CHANGED


@pytest.mark.usefixtures("unidentified")
def test_an_identity_that_is_there_stays() -> None:
    TaskIdentity.run_id = 77
    private.identify()
    assert message().metadata.run_id == 77, CHANGED


def test_a_message_gets_a_number_and_its_reply_carries_it() -> None:
    private.identify()
    sent = message()
    assert sent.metadata.message_id == "", CHANGED
    private.number(sent, "12")
    reply = Message(RecordDict(), reply_to=sent)
    assert (sent.metadata.message_id, reply.metadata.reply_to_message_id) == ("12", "12"), CHANGED
    assert reply.metadata.src_node_id == 3, CHANGED


def test_a_run_and_codes_of_errors() -> None:
    assert private.empty_run().run_id == private.RUN_ID, CHANGED
    assert (private.RAISED, private.UNAVAILABLE) == (2, 5), CHANGED
