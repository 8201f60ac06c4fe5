"""Aggregation of a stream: `init`, then `update` after `update`; answers for a batch at once.

method = stream("bcc")
state = method.init()
for batch in batches:
    state, update = method.update(state, batch)
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from crowdlearn.errors import SettingsError
from crowdlearn.online.majority import StreamingMajority
from crowdlearn.online.networks import StreamingBila, StreamingConsensus
from crowdlearn.online.saving import load_stream, save_stream
from crowdlearn.online.state import StreamState, Update
from crowdlearn.online.vb import StreamingBcc, StreamingIdbla

__all__ = ["STREAMS", "StreamState", "Update", "load_stream", "save_stream", "stream"]

STREAMS: dict[str, type[Any]] = {
    "majority": StreamingMajority,
    "bcc": StreamingBcc,
    "idbla": StreamingIdbla,
    "bila": StreamingBila,
    "consensus": StreamingConsensus,
}


def stream(name: str, **settings: Any) -> Any:
    """The streaming method of this name with these settings.

    Raises SettingsError for an unknown name or setting, or a setting out of range.
    """
    if name not in STREAMS:
        raise SettingsError(f"streaming method {name!r} is not one of {', '.join(STREAMS)}")
    method = STREAMS[name]
    known = [field.name for field in fields(method)]
    unknown = [setting for setting in settings if setting not in known]
    if unknown:
        raise SettingsError(f"{name} has no setting {unknown[0]!r}: it has {', '.join(known)}")
    return method(**settings)
