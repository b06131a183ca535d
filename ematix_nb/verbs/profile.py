"""A column profile of sampled rows: NULLs, distinct values, extremes and a small histogram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

BARS = 12


def profile(rows: pa.Table) -> tuple[dict[str, Any], ...]:
    """One dictionary a column: name, type, nulls, distinct (None where not countable), min, max (as text), bars."""
    return tuple(_column(rows.schema.field(index), rows.column(index)) for index in range(rows.num_columns))


def _column(field: pa.Field, values: pa.ChunkedArray) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    result: dict[str, Any] = {"name": field.name, "type": str(field.type), "nulls": values.null_count}
    try:
        result["distinct"] = pc.count_distinct(values, mode="only_valid").as_py()
        extremes = pc.min_max(values)
        low, high = extremes["min"], extremes["max"]
        result["min"], result["max"] = (str(low) if low.is_valid else None), (str(high) if high.is_valid else None)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        result |= {"distinct": None, "min": None, "max": None}
    result["bars"] = _bars(values)
    return result


def _bars(values: pa.ChunkedArray) -> list[int]:
    """Counts in equal steps between the extremes; empty for anything but finite numbers and times."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as pt

    kind = values.type
    if pt.is_timestamp(kind) or pt.is_date(kind) or pt.is_time(kind):
        values = values.cast(pa.int32() if pt.is_date32(kind) or pt.is_time32(kind) else pa.int64())
    elif not (pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind)):
        return []
    numbers = pc.drop_null(values.cast(pa.float64(), safe=False))
    numbers = numbers.filter(pc.is_finite(numbers))
    if not len(numbers):
        return []
    low, high = pc.min(numbers).as_py(), pc.max(numbers).as_py()
    if high == low:
        return [len(numbers)]
    places = pc.floor(pc.multiply(pc.divide(pc.subtract(numbers, low), high - low), BARS - 1e-9))
    counts = {entry["values"]: entry["counts"] for entry in pc.value_counts(places).to_pylist()}
    return [int(counts.get(float(step), 0)) for step in range(BARS)]
