"""Which columns repeat their values: a Parquet dictionary saves room and time for those, and costs both for others."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

FEWEST = 1024
"""Rows that tell nothing yet."""
LOOKED_AT = 16_384


def rarely_repeated(rows: pa.RecordBatch | pa.Table) -> frozenset[str]:
    """The plain columns of which more than half of the first values differ from all before them.

    Example:
        >>> import pyarrow as pa
        >>> sorted(rarely_repeated(pa.table({"id": range(5000), "country": ["DE", "FR"] * 2500})))
        ['id']
    """
    import pyarrow.compute as pc

    if rows.num_rows < FEWEST:
        return frozenset()
    first = rows.slice(0, LOOKED_AT)
    return frozenset(
        name
        for name, column in zip(first.schema.names, first.columns, strict=True)
        if _can_repeat(column.type) and 2 * pc.count_distinct(column).as_py() > first.num_rows
    )


def _can_repeat(kind: pa.DataType) -> bool:
    """Types for which a dictionary is a choice: not nested ones, and none that are one already."""
    import pyarrow.types as pt

    return not (pt.is_nested(kind) or pt.is_dictionary(kind) or pt.is_boolean(kind) or pt.is_null(kind))
