"""Rows of a SELECT, in any system that answers one: each request is a statement of its own."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import to_arrow
from ematix_nb.errors import UsageError

from .stats import SAMPLE_ABOVE, SAMPLE_ROWS
from .where import order_by, where

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    import pyarrow as pa

    from ematix_nb.declare.spec import Column

    from .model import Stop
    from .wanted import Wanted

ALIAS = "sampled"


class SqlRows:
    """See `ematix_nb.query.paging.model.Rows`.

    Args:
        sql: One SELECT.
        opener: Opens a session; each request has its own, so that no file or server is held between two.
    """

    def __init__(self, sql: str, opener: Callable[[], Any]) -> None:
        self.sql = sql
        self.opener = opener
        session = opener()
        try:
            self.dialect = session.dialect
            self.keeps_nan = session.capabilities.keeps_nan
            self.columns: tuple[Column, ...] = session.describe(sql)
            _ = self.dialect.text_encoding  # which a dialect may have to ask for while its session is open
        finally:
            session.close()

    def select(self, wanted: Wanted) -> str:
        """The user's own SELECT, wrapped where something else is wanted."""
        clauses = self._clauses(wanted)
        return f"SELECT * FROM {self.dialect.wrap(self.sql, ALIAS)}{clauses}" if clauses else self.sql

    def _clauses(self, wanted: Wanted) -> str:
        for condition in wanted.conditions:
            if isinstance(condition.value, float) and not math.isfinite(condition.value) and not self.keeps_nan:
                message = (
                    f"column `{condition.column}` cannot hold {condition.value}: {self.dialect.name} has no such value"
                )
                raise UsageError(message, "compare it with a finite number")
        return where(self.dialect, wanted.conditions, self.columns) + order_by(self.dialect, wanted, self.columns)

    @contextlib.contextmanager
    def _session(self, stop: Stop) -> Iterator[Any]:
        stop.check()
        session = self.opener()
        stop.on_cancel(session.interrupt)
        try:
            yield session
        finally:
            stop.remove(session.interrupt)
            session.close()

    def read(self, wanted: Wanted, offset: int, limit: int, stop: Stop) -> pa.Table:
        """A page of the wrapped SELECT."""
        with self._session(stop) as session:
            return page_of(
                session, self.sql, self.columns, offset, limit, self._clauses(wanted), is_sorted=bool(wanted.orders)
            )

    def count(self, wanted: Wanted, stop: Stop) -> int:
        """By the system."""
        inner = self.dialect.wrap(self.sql, ALIAS)
        with self._session(stop) as session:
            found = session.fetch(f"SELECT count(*) AS n FROM {inner}{self._clauses(wanted)}")
        return int(found[0][0])

    def values(self, wanted: Wanted, column: str, total: int, stop: Stop) -> Generator[pa.Array, None, None]:
        """Streamed; of very many rows each is taken with the same small chance."""
        kind = next(each for each in self.columns if each.name == column)
        clauses = self._clauses(wanted)
        if total > SAMPLE_ABOVE:
            chance = f"{self.dialect.random} < {SAMPLE_ROWS / total:.9f}"
            clauses = f"{clauses} AND {chance}" if clauses else f" WHERE {chance}"
        sql = f"SELECT {self.dialect.quote(column)} FROM {self.dialect.wrap(self.sql, ALIAS)}{clauses}"
        with self._session(stop) as session, contextlib.closing(session.read(sql, (kind,))) as found:
            for batch in found:
                yield batch.column(0)


def page_of(
    session: Any,
    sql: str,
    columns: Sequence[Column],
    offset: int,
    limit: int,
    clauses: str = "",
    *,
    is_sorted: bool = False,
) -> pa.Table:
    """Some rows of a SELECT: by LIMIT where that keeps their order, else by passing over those before.

    Args:
        session: On the system.
        sql: The SELECT.
        columns: As the session described them.
        offset: Rows to pass over.
        limit: Rows to give at most.
        clauses: WHERE and ORDER BY around it.
        is_sorted: Whether an ORDER BY is among them.
    """
    wrapped = session.dialect.wrap(sql, ALIAS)
    if session.dialect.limit_keeps_order or is_sorted:
        skipped = f" OFFSET {int(offset)}" if offset else ""
        found = session.read(f"SELECT * FROM {wrapped}{clauses} LIMIT {int(limit)}{skipped}", columns)
        return table_of(found, columns)
    batches, seen = [], 0
    whole = f"SELECT * FROM {wrapped}{clauses}" if clauses else sql
    with contextlib.closing(session.read(whole, columns)) as rows:
        for batch in rows:
            if seen + batch.num_rows > offset:
                batches.append(batch.slice(max(offset - seen, 0)))
            seen += batch.num_rows
            if seen >= offset + limit:
                break
    return table_of(batches, columns).slice(0, limit)


def table_of(batches: Any, columns: Sequence[Column]) -> pa.Table:
    """Batches with these columns as one table."""
    import pyarrow as pa

    schema = pa.schema([pa.field(column.name, to_arrow(column.type)) for column in columns])
    return pa.Table.from_batches(list(batches), schema=schema)
