"""Many rows at once: COPY on PostgreSQL, statements for many rows on SQLite."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Table

AT_ONCE = 20_000  # rows handed to the driver together
IN_ONE = 500  # rows that one statement of SQLite updates


def insert_rows(
    db: Connection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Insert rows with values in the order of `columns`, in the transaction of `db`."""
    _check(table, columns)
    names = ", ".join(f'"{name}"' for name in columns)
    raw: Any = db.connection.driver_connection
    if db.dialect.name == "postgresql":
        with raw.cursor() as cursor, cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        return
    holes = ", ".join("?" * len(columns))
    raw.executemany(f"INSERT INTO {table.name} ({names}) VALUES ({holes})", iter(rows))


def update_rows(
    db: Connection,
    table: Table,
    keys: Sequence[str],
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
) -> None:
    """Set `columns` of the rows with these keys; a row gives the values first, then the keys."""
    _check(table, [*keys, *columns])
    raw: Any = db.connection.driver_connection
    if db.dialect.name == "postgresql":
        _update_through_a_table(raw, table, keys, columns, rows)
        return
    for part in chunks(rows, IN_ONE):
        raw.execute(
            _update(table.name, tuple(keys), tuple(columns), len(part)),
            [value for row in part for value in row],
        )


@cache
def _update(table: str, keys: tuple[str, ...], columns: tuple[str, ...], n_rows: int) -> str:
    """One statement for many rows: a statement a row would let go of the interpreter each time,
    and have to wait for it again while it holds the database."""
    values = ", ".join(f'"{name}" = news.column{k}' for k, name in enumerate(columns, 1))
    where = " AND ".join(
        f'{table}."{name}" = news.column{k}' for k, name in enumerate(keys, len(columns) + 1)
    )
    row = "(" + ", ".join("?" * (len(columns) + len(keys))) + ")"
    news = ", ".join([row] * n_rows)
    return f"UPDATE {table} SET {values} FROM (VALUES {news}) AS news WHERE {where}"


def chunks(rows: Iterable[Any], size: int = AT_ONCE) -> Iterator[list[Any]]:
    """Lists of at most `size` rows."""
    left = iter(rows)
    while part := list(islice(left, size)):
        yield part


def _update_through_a_table(
    raw: Any,
    table: Table,
    keys: Sequence[str],
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
) -> None:
    """Copy the rows into a temporary table, and update from there in one statement."""
    names = ", ".join(f'"{name}"' for name in (*columns, *keys))
    values = ", ".join(f'"{name}" = news."{name}"' for name in columns)
    where = " AND ".join(f'{table.name}."{name}" = news."{name}"' for name in keys)
    with raw.cursor() as cursor:
        cursor.execute(
            f"CREATE TEMPORARY TABLE news ON COMMIT DROP AS SELECT {names} FROM {table.name} "
            "LIMIT 0"
        )
        with cursor.copy(f"COPY news ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        cursor.execute(f"UPDATE {table.name} SET {values} FROM news WHERE {where}")
        cursor.execute("DROP TABLE news")


def _check(table: Table, columns: Sequence[str]) -> None:
    assert all(name in table.c for name in columns), "columns are the table's own"
