"""One version of a table, as a relation that SQL can name."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.files.streams import quoted, register_stream
from ematix_nb.declare.data_types import to_arrow
from ematix_nb.errors import DataError

from .dialect import columns_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from ematix_nb.backends.files.conditions import Condition
    from ematix_nb.declare.spec import Column

_VERSION = re.compile(r"v(?P<number>\d+)")


@dataclass
class DeltaScan:
    """A snapshot; see `ematix_nb.query.session.Relation`."""

    columns: tuple[Column, ...]
    table: Any
    """The library's table, at one version."""
    is_remote: bool = False
    skipped: tuple[str, ...] = ()
    condition: Condition | None = None

    def narrow(self, condition: Condition | None) -> None:
        """Tell what the rows of the next reading have to meet: files without such rows are not fetched."""
        self.condition = condition

    def register(self, context: Any, name: str) -> None:
        """Make the snapshot a table of DataFusion: columns and filters reach the files.

        The library's own table cannot be read by a foreign session where it lies in an object store.
        """
        import pyarrow as pa

        if self.is_remote:
            schema = pa.schema([(column.name, to_arrow(column.type)) for column in self.columns])
            register_stream(context, name, schema, self.batches)
            return
        context.register_table(quoted(name), self.table)

    def count(self) -> int | None:
        """The rows, when the log tells of every file how many it has."""
        import pyarrow as pa
        import pyarrow.compute as pc

        actions = pa.table(self.table.get_add_actions(flatten=True))
        if not actions.num_rows or "num_records" not in actions.column_names:
            return None if actions.num_rows else 0
        counts = actions["num_records"]
        return None if counts.null_count else int(pc.sum(counts).as_py())

    def batches(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        """Stream the named columns."""
        import pyarrow as pa

        types = {column.name: to_arrow(column.type) for column in self.columns}
        schema = pa.schema([(name, types[name]) for name in names])
        predicate = None if self.condition is None else self.condition.sql()
        for batch in pa.RecordBatchReader.from_stream(self.table.scan(columns=names, predicate=predicate)):
            yield _fitted(batch.select(names), schema)


def _fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Views and dictionaries in their plain form; values are never changed."""
    import pyarrow as pa

    arrays = [
        array if array.type.equals(field.type) else array.cast(field.type)
        for array, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def make_scan(table: Any, thing: str, *, is_remote: bool = False) -> DeltaScan:
    """A snapshot with its columns.

    Raises:
        DataError: When a column cannot be read exactly.
    """
    import pyarrow as pa

    return DeltaScan(columns_of(pa.schema(table.schema().to_arrow()), thing), table, is_remote)


def split_version(name: str) -> tuple[str, int | dt.datetime | None]:
    """A table's name, and the version or the time that stands behind its last ``@``.

    Example:
        >>> split_version("orders@v12")
        ('orders', 12)
        >>> split_version("orders@2026-01-01T00:00:00Z")[1].isoformat()
        '2026-01-01T00:00:00+00:00'
        >>> split_version("a@b")
        ('a@b', None)
    """
    base, at, suffix = name.rpartition("@")
    if not at or not base:
        return name, None
    if found := _VERSION.fullmatch(suffix):
        return base, int(found["number"])
    if not re.match(r"\d{4}-\d\d-\d\d", suffix):
        return name, None
    try:
        moment = dt.datetime.fromisoformat(suffix)
    except ValueError as exc:
        message = f"`{suffix}` behind `{base}@` is no time"
        raise DataError(message, "write a version as @v12, a time as @2026-01-31T12:00:00Z") from exc
    if moment.tzinfo is None:
        message = f"the time `{suffix}` behind `{base}@` has no zone"
        raise DataError(message, f"write {suffix}{'' if 'T' in suffix else 'T00:00:00'}Z for UTC")
    return base, moment
