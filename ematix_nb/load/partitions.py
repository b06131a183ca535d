"""Reading one query by several sessions at once: each reads a range of one column, all in one snapshot.

No row is read twice or missed, because the ranges follow one another, the first one takes the NULLs as well, and the
sessions share the snapshot of the one that measured the column. The order of the rows is lost.
"""

from __future__ import annotations

import datetime as dt
import itertools
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.pump import pumped
from ematix_nb.declare.data_types import INTEGER_KINDS
from ematix_nb.errors import DataError, DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

    from ematix_nb.declare.data_types import DataType
    from ematix_nb.load.cancel import CancelToken
    from ematix_nb.load.plan import LoadPlan
    from ematix_nb.sql.dialect import Dialect

KINDS = (*INTEGER_KINDS, "date", "timestamp", "timestamptz")
AHEAD = 2
"""Batches that each session may be ahead of the load."""


def check_partition_column(name: str, columns: Sequence[Any]) -> None:
    """Refuse a column that cannot be cut into ranges.

    Raises:
        DeclarationError: It is not loaded, or not a whole number, a date or a time.
    """
    kind = next((column.type for column in columns if column.name == name), None)
    if kind is None:
        known = ", ".join(column.name for column in columns)
        message = f"partition_column `{name}` is not a loaded column"
        raise DeclarationError(message, f"choose among: {known}")
    if kind.kind not in KINDS:
        message = f"partition_column `{name}` is {kind}; ranges are made of whole numbers, dates and times"
        raise DeclarationError(message, "choose another column, or read without partitions")


def conditions(dialect: Dialect, column: str, kind: DataType, low: Any, high: Any, count: int) -> list[str]:
    """Conditions that cut a column into ranges of equal width; the first one holds the NULLs too.

    Args:
        dialect: Of the source.
        column: Its name.
        kind: Its type.
        low: The smallest value; None when there are only NULLs.
        high: The largest one.
        count: How many ranges at most; fewer when there are fewer values.

    Example:
        >>> from ematix_nb.sql.dialect import Dialect
        >>> from ematix_nb.declare.data_types import BIGINT
        >>> class Plain(Dialect):
        ...     def literal(self, value, kind=None):
        ...         return str(value)
        >>> for each in conditions(Plain(), "id", BIGINT, 1, 9, 3):
        ...     print(each)
        ("id" < 4 OR "id" IS NULL)
        "id" >= 4 AND "id" < 7
        "id" >= 7
    """
    cuts = [] if low is None else [cut for cut in _cuts(low, high, count) if low < cut]
    cuts = sorted(set(cuts))
    if not cuts:
        return ["1 = 1"]
    name = dialect.quote(column)
    bounds = [dialect.literal(cut, kind) for cut in cuts]
    middle = [f"{name} >= {left} AND {name} < {right}" for left, right in itertools.pairwise(bounds)]
    return [f"({name} < {bounds[0]} OR {name} IS NULL)", *middle, f"{name} >= {bounds[-1]}"]


def _cuts(low: Any, high: Any, count: int) -> list[Any]:
    """Where each range but the first begins."""
    if isinstance(low, dt.date) and not isinstance(low, dt.datetime):
        first, last = low.toordinal(), high.toordinal() + 1
        return [dt.date.fromordinal(cut) for cut in _cuts(first, last - 1, count)]
    if isinstance(low, dt.datetime):
        return [low + (high - low) * number / count for number in range(1, count)]
    width = high - low + 1
    return [low + width * number // count for number in range(1, count)]


def read_in_partitions(session: Any, plan: LoadPlan, token: CancelToken) -> Iterator[pa.RecordBatch]:
    """All rows of a plan's query, read by ``plan.partitions`` sessions.

    Raises:
        DataError: A value does not fit its column's type.
        CancelledError: The run was stopped.
    """
    column = next(each for each in plan.source_columns if each.name == plan.partition_column)
    dialect = session.dialect
    with session.shared_snapshot(plan.partitions) as (measure, others):
        name = dialect.quote(column.name)
        source = dialect.wrap(plan.source_sql, "source")
        low, high = measure.fetch(f"SELECT min({name}), max({name}) FROM {source}")[0]
        try:
            parts = conditions(dialect, column.name, column.type, low, high, plan.partitions)
        except (OverflowError, TypeError) as exc:
            message = (
                f"partition_column `{column.name}` holds values from {low} to {high}, which cannot be cut into ranges"
            )
            raise DataError(message, "choose another column, or read without partitions") from exc
        readers = [
            _reader(other, f"SELECT * FROM {source} WHERE {part}", plan)
            for other, part in zip(others, parts, strict=False)
        ]
        hooks = [other.interrupt for other in others[: len(parts)]]
        for hook in hooks:
            token.on_cancel(hook)
        try:
            yield from pumped(readers, hooks, AHEAD * len(readers))
        finally:
            for hook in hooks:
                token.remove(hook)


def _reader(session: Any, sql: str, plan: LoadPlan) -> Callable[[], Iterator[pa.RecordBatch]]:
    return lambda: session.read(sql, plan.source_columns)
