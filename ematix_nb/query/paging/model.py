"""One model behind every view of rows: pages, order, conditions, statistics, whatever the rows lie in.

A `PreviewModel` never changes: sorting and filtering give another one over the same rows. Each request opens what it
needs and closes it again, holds a page and not the table, and stops when its token says so.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from ematix_nb.errors import UsageError
from ematix_nb.words import counted

from .stats import SAMPLE_ABOVE, ColumnStats, column_stats
from .wanted import Wanted, typed_conditions, typed_orders

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import pyarrow as pa

    from ematix_nb.declare.spec import Column

    from .wanted import Condition, Order

MAX_PAGE = 100_000
MAX_OFFSET = 2**62


class Stop(Protocol):
    """How a request can be stopped from another thread; `ematix_nb.load.cancel.CancelToken` is one."""

    def on_cancel(self, hook: Callable[[], None]) -> None:
        """Call when asked to stop."""
        ...

    def remove(self, hook: Callable[[], None]) -> None:
        """Forget a hook."""
        ...

    def check(self) -> None:
        """Raise when asked to stop."""
        ...


class Rows(Protocol):
    """Where rows lie; each call may come from another thread."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """Names and types."""
        ...

    def select(self, wanted: Wanted) -> str:
        """The SELECT that gives what is wanted, in the SQL of the system."""
        ...

    def read(self, wanted: Wanted, offset: int, limit: int, stop: Stop) -> pa.Table:
        """Some of the wanted rows, with the Arrow types of ``columns``."""
        ...

    def count(self, wanted: Wanted, stop: Stop) -> int:
        """How many rows are wanted."""
        ...

    def values(self, wanted: Wanted, column: str, total: int, stop: Stop) -> Generator[pa.Array, None, None]:
        """The values of a column; of more than `SAMPLE_ABOVE` rows a sample of about `SAMPLE_ROWS`."""
        ...


class NeverStops:
    """A token for requests that nobody stops."""

    def on_cancel(self, hook: Callable[[], None]) -> None:
        """Nothing."""

    def remove(self, hook: Callable[[], None]) -> None:
        """Nothing."""

    def check(self) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Page:
    """Some rows, and where they stand."""

    rows: pa.Table
    """With the types of the source."""
    offset: int
    """How many rows come before."""
    more: bool
    """Whether rows come after."""

    def covers(self, total: int | None = None) -> str:
        """Which rows these are, in words.

        Args:
            total: Rows in all, where that is known.

        Example:
            >>> import pyarrow as pa
            >>> Page(pa.table({"a": [1, 2]}), 10, True).covers()
            'rows 11 to 12; there are more'
            >>> Page(pa.table({"a": [1]}), 0, False).covers()
            'row 1 of 1'
        """
        count = self.rows.num_rows
        last = self.offset + count
        if not count:
            return "no rows" if not self.offset else f"no rows behind row {self.offset:,}"
        here = f"row {last:,}" if count == 1 else f"rows {self.offset + 1:,} to {last:,}"
        total = total if total is not None or self.more else last
        return f"{here} of {total:,}" if total is not None else f"{here}; there are more"


class _Source:
    """The rows, opened at the first question, and what is known of them; shared by all models over them."""

    def __init__(self, make: Callable[[], Rows]) -> None:
        self._make = make
        self._rows: Rows | None = None
        self._lock = threading.Lock()
        self.counts: dict[Wanted, int] = {}

    def rows(self) -> Rows:
        """Open at the first call; after an error the next call tries again."""
        with self._lock:
            if self._rows is None:
                self._rows = self._make()
            return self._rows

    @property
    def opened(self) -> Rows | None:
        """The rows, when they were opened."""
        return self._rows

    def close(self) -> None:
        """Give back what is held."""
        with self._lock:
            close = getattr(self._rows, "close", None)
            self._rows = None
        if close is not None:
            close()


class PreviewModel:
    """Rows to look at, in an order and under conditions.

    Args:
        name: Of what is looked at, for people.
        make: Opens the rows, at the first question.

    Example:
        >>> import pyarrow as pa
        >>> from ematix_nb.query.paging import Condition
        >>> model = frame_model("t", pa.table({"n": [3, 1, None, 2]}))
        >>> model.sort("-n").page(0, 2).rows["n"].to_pylist()
        [3, 2]
        >>> model.filter(Condition("n", "<", 3)).count()
        2
    """

    def __init__(self, name: str, make: Callable[[], Rows] | _Source, wanted: Wanted | None = None) -> None:
        self.name = name
        self.wanted = wanted or Wanted()
        self._source = make if isinstance(make, _Source) else _Source(make)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Names and types."""
        return self._source.rows().columns

    @property
    def sql(self) -> str:
        """The SELECT that gives these rows, in the SQL of where they lie."""
        return self._source.rows().select(self.wanted)

    def sort(self, *orders: Order | str) -> PreviewModel:
        """The same rows in another order: the earlier one is forgotten, and none is the source's own.

        Args:
            orders: Names of columns, with ``-`` in front for the largest first; or `Order` objects.

        Raises:
            UnknownNameError: There is no such column.
            UsageError: Its values have no order.
        """
        return self._with(replace(self.wanted, orders=typed_orders(orders, self.columns)))

    def filter(self, *conditions: Condition) -> PreviewModel:
        """Only the rows that meet all conditions: earlier ones are forgotten.

        Raises:
            UnknownNameError: There is no such column.
            UsageError: A condition or its value does not fit the column's type.
        """
        return self._with(replace(self.wanted, conditions=typed_conditions(conditions, self.columns)))

    def _with(self, wanted: Wanted) -> PreviewModel:
        return PreviewModel(self.name, self._source, wanted)

    def page(self, offset: int = 0, limit: int = 50, stop: Stop | None = None) -> Page:
        """Some rows.

        Args:
            offset: How many rows to pass over.
            limit: How many rows to give at most, 1 to 100000.
            stop: To stop it from another thread.

        Raises:
            UsageError: Offset or limit is out of range.
            CancelledError: It was stopped.
            RunError: The rows could not be read.
        """
        _check("offset", offset, 0, MAX_OFFSET)
        _check("limit", limit, 1, MAX_PAGE)
        found = self._source.rows().read(self.wanted, offset, limit + 1, stop or NeverStops())
        more = found.num_rows > limit
        if not more and (found.num_rows or not offset):
            self._source.counts[self._unsorted] = offset + found.num_rows
        return Page(found.slice(0, limit), offset, more)

    @property
    def _unsorted(self) -> Wanted:
        return replace(self.wanted, orders=())

    @property
    def known_count(self) -> int | None:
        """How many rows there were when they were last counted; None when nobody did."""
        return self._source.counts.get(self._unsorted)

    @property
    def counts_quickly(self) -> bool:
        """Whether counting takes less than reading a page: the rows are known by their numbers."""
        return bool(getattr(self._source.rows(), "counts_quickly", False))

    def count_at_once(self) -> int | None:
        """How many rows there are, where that is known without looking: in files and frames that are open already."""
        if self.wanted.conditions or not getattr(self._source.opened, "counts_quickly", False):
            return self.known_count
        return self.count()

    def count(self, stop: Stop | None = None) -> int:
        """How many rows there are; they are counted anew.

        Raises:
            CancelledError: It was stopped.
            RunError: They could not be counted.
        """
        found = self._source.rows().count(self._unsorted, stop or NeverStops())
        self._source.counts[self._unsorted] = found
        return found

    def stats(self, column: str, stop: Stop | None = None) -> ColumnStats:
        """What the values of a column are like; of more than 5 million rows a sample is looked at, and that is said.

        Raises:
            UnknownNameError: There is no such column.
            CancelledError: It was stopped.
            RunError: The rows could not be read.
        """
        stop = stop or NeverStops()
        rows = self._source.rows()
        kind = next((each.type for each in rows.columns if each.name == column), None)
        if kind is None:
            typed_orders((column,), rows.columns)  # raises, and says what there is
        known = self.known_count
        total = self.count(stop) if known is None else known
        batches = rows.values(self._unsorted, column, total, stop)
        with contextlib.closing(_watched(batches, stop)) as watched:  # whatever happens, nothing stays open
            return column_stats(column, str(kind), watched, total if total > SAMPLE_ABOVE else None)

    def table(self, limit: int | None = None, stop: Stop | None = None) -> pa.Table:
        """The first rows as one Arrow table; all of them where no limit is given, in memory."""
        if limit is not None:
            _check("limit", limit, 1, MAX_OFFSET)
        return self._source.rows().read(self.wanted, 0, limit or MAX_OFFSET, stop or NeverStops())

    def close(self) -> None:
        """Give back files and memory; the next question opens anew."""
        self._source.close()

    def __repr__(self) -> str:
        words = counted(len(self.wanted.conditions), "condition")
        return f"<preview of {self.name}, {words}, sorted by {len(self.wanted.orders)} columns>"


def _check(what: str, given: object, low: int, high: int) -> None:
    if isinstance(given, bool) or not isinstance(given, int) or not low <= given <= high:
        message = f"{what} must be a whole number from {low} to {high}, got {given!r}"
        raise UsageError(message, f"for example {max(low, 50)}")


def _watched(batches: Generator[pa.Array, None, None], stop: Stop) -> Generator[pa.Array, None, None]:
    with contextlib.closing(batches):
        for batch in batches:
            stop.check()
            yield batch


def query_model(name: str, sql: str, opener: Callable[[], Any]) -> PreviewModel:
    """A model over a SELECT.

    Args:
        name: Of what is looked at.
        sql: One SELECT, in the SQL of the system.
        opener: Opens a session on the system; it is called for each request.
    """

    def make() -> Rows:
        from .parquet_rows import parquet_rows
        from .sql_rows import SqlRows

        rows = SqlRows(sql, opener)
        return parquet_rows(rows) or rows

    return PreviewModel(name, make)


def frame_model(name: str, frame: Any) -> PreviewModel:
    """A model over a frame in memory: Arrow, polars (also lazy) or pandas.

    Raises:
        DataError: At the first question, when it is no frame, or one that is read once only.
    """

    def make() -> Rows:
        from .frame_rows import frame_rows

        return frame_rows(name, frame)

    return PreviewModel(name, make)
