"""The servers that tests talk to: each has its own, and nothing stays."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import psycopg
import pytest
import sqlalchemy as sa

from tests.services import LOOPBACK, free_port, fresh_database, wait_for


@contextmanager
def answering(*statuses: int) -> Iterator[str]:
    """A server that answers with the statuses in turn, one a request; yields its URL."""
    left = list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(left.pop(0))
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer((LOOPBACK, free_port()), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
    assert not left, "not every answer was asked for"


def test_waiting_lasts_while_the_server_has_errors_of_its_own() -> None:
    with answering(503, 500, 404) as url:
        wait_for(url, seconds=30)


def test_waiting_ends_and_tells_what_was_last_seen() -> None:
    with answering(503) as url, pytest.raises(TimeoutError, match="status 503"):
        wait_for(url, seconds=0)
    with pytest.raises(TimeoutError, match="refused"):
        wait_for(f"http://{LOOPBACK}:{free_port()}", seconds=0)


@pytest.mark.postgresql
def test_a_fresh_database_is_empty_and_keeps_rows(fresh_postgresql: str) -> None:
    engine = sa.create_engine(fresh_postgresql)
    assert sa.inspect(engine).get_table_names() == []
    table = sa.Table("votes", sa.MetaData(), sa.Column("label", sa.Text))
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(table.insert(), [{"label": "cat"}, {"label": "Ωmega"}])
    with engine.connect() as connection:
        assert connection.scalars(sa.select(table.c.label)).all() == ["cat", "Ωmega"]
    engine.dispose()


@pytest.mark.postgresql
def test_a_database_is_gone_afterwards_even_when_in_use(postgresql_url: str) -> None:
    with fresh_database(postgresql_url) as url:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        left_open = psycopg.connect(engine.url.set(drivername="postgresql").render_as_string())
    with pytest.raises(sa.exc.OperationalError, match="does not exist"), engine.connect():
        pass
    left_open.close()
