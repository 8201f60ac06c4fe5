"""Running the service in this process, with an end that keeps everything."""

from __future__ import annotations

import gc
import sys
import threading
from contextlib import suppress
from types import FrameType

import pyarrow as pa
import uvicorn
from fastapi import FastAPI

SWITCH = 0.0005  # seconds
PATIENCE = 20  # seconds that requests have to finish when the process is told to end


class Server(uvicorn.Server):
    """A server that tells event streams to end before it waits for requests to finish."""

    def __init__(self, config: uvicorn.Config, closing: threading.Event) -> None:
        super().__init__(config)
        self.closing = closing

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End: on SIGINT and SIGTERM."""
        self.closing.set()
        super().handle_exit(sig, frame)


def server(
    app: FastAPI,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    patience: int = PATIENCE,
    proxy: str | None = None,
) -> Server:
    """A server for an app of `create_app`; its `run` serves until a signal.

    `proxy` is the address of the one reverse proxy whose X-Forwarded headers are believed.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=proxy is not None,
        forwarded_allow_ips=proxy or "",
        timeout_keep_alive=10,
        timeout_graceful_shutdown=patience,
    )
    return Server(config, app.state.service.closing)


def serve(
    app: FastAPI,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    patience: int = PATIENCE,
    proxy: str | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; then finish requests, for at most `patience` seconds.

    After SIGTERM the process ends here, as by the signal, when all is kept. What is logged, and
    where, is the caller's to set: requests are logged by `crowdlearn.requests`.
    """
    # A writer lets go of the interpreter at each of its statements, and everybody else waits for
    # it: it should not have to wait long to get the interpreter back.
    sys.setswitchinterval(SWITCH)
    # The same holds for what stops everybody: pyarrow loads pandas with the first list of names,
    # and Python looks through all objects for garbage now and then; what is loaded by now stays.
    pa.array(["a name"])
    gc.freeze()
    with suppress(KeyboardInterrupt):
        server(app, host=host, port=port, patience=patience, proxy=proxy).run()
