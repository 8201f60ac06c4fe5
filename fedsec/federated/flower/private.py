"""The private parts of Flower that we touch, all of them, for a grid without a SuperLink.

A message takes its sender from the identity of the process, and its number from the grid that
sends it; a grid has a run. Flower has no public way to set these. `test_private.py` says which of
them a new release has changed.
"""

from __future__ import annotations

from flwr.app import Message

try:
    from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
    from flwr.supercore.run import Run
    from flwr.supercore.task_identity import TaskIdentity
except ImportError as error:
    raise ImportError(
        f"this release of Flower has moved what fedsec needs ({error}): install flwr 1.41"
    ) from error

RUN_ID = 1
TASK_ID = 1
UNAVAILABLE = ErrorCode.NODE_UNAVAILABLE
RAISED = ErrorCode.CLIENT_APP_RAISED_EXCEPTION


def identify() -> None:
    """Let this process make messages, as the server of run 1, where it cannot yet."""
    wanted = {"task_id": TASK_ID, "run_id": RUN_ID, "node_id": SUPERLINK_NODE_ID}
    for name, value in wanted.items():
        try:
            getattr(TaskIdentity, name)
        except RuntimeError:
            setattr(TaskIdentity, name, value)


def number(message: Message, message_id: str) -> None:
    """Give a message its number, which the reply to it carries."""
    message.metadata.__dict__["_message_id"] = message_id


def empty_run() -> Run:
    """Run 1, of which there is nothing to tell."""
    return Run.create_empty(RUN_ID)
