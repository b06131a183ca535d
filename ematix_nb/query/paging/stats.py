"""What the values of one column are like: NULLs, NaN, distinct values, extremes, the commonest, a histogram.

Values come in batches and are forgotten; at most eight bytes a number stay for the histogram.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

SAMPLE_ABOVE = 5_000_000
"""Rows; of more than these only a sample is looked at."""
SAMPLE_ROWS = 1_000_000
BARS = 12
MOST_DISTINCT = 250_000
"""Distinct values that are counted one by one."""
_JOINED_ROWS = 1 << 20
"""Values that are counted at a time."""
_TRIED_ROWS = 1 << 18
"""Values after which is tried whether too many of them differ."""
COMMON = 5


@dataclass(frozen=True)
class ColumnStats:
    """The profile of one column; counts are of the rows that were looked at."""

    column: str
    type: str
    """The declared type in words."""
    rows: int
    """Rows that were looked at."""
    total: int
    """Rows that there are under the present conditions."""
    nulls: int
    nans: int
    """Values that are NaN; they are no NULLs, and in no bar."""
    distinct: int | None
    """Distinct values besides NULL, at most 250,000; None where they cannot be compared."""
    is_distinct_exact: bool
    """False when there are more distinct values than were counted."""
    common: tuple[tuple[Any, int], ...]
    """The commonest values with their counts, most first; empty when all differ or too many do."""
    low: Any
    """The smallest value that is neither NULL nor NaN, as Python has it; None when there is none or no order."""
    high: Any
    bars: tuple[int, ...]
    """Counts in up to 12 equal steps from ``low`` to ``high``; empty for anything but numbers and times."""

    @property
    def is_sampled(self) -> bool:
        """Whether only some of the rows were looked at."""
        return self.rows < self.total

    def covers(self) -> str:
        """How many rows this is about, in words.

        Example:
            >>> ColumnStats("a", "bigint", 10, 10, 0, 0, 3, True, (), 1, 3, ()).covers()
            'all 10 rows'
            >>> ColumnStats("a", "bigint", 10**6, 10**7, 0, 0, 3, True, (), 1, 3, ()).covers()
            'sampled 1M of 10M rows'
        """
        if self.is_sampled:
            return f"sampled {short(self.rows)} of {short(self.total)} rows"
        return "no rows" if not self.rows else "1 row" if self.rows == 1 else f"all {counted(self.rows, 'row')}"


def short(number: int) -> str:
    """A count for people.

    Example:
        >>> short(999), short(12_345), short(1_000_000), short(10_500_000)
        ('999', '12.3k', '1M', '10.5M')
    """
    for size, sign in ((10**9, "G"), (10**6, "M"), (10**4, "k")):
        if number >= size:
            unit = min(size, 1_000) if sign == "k" else size
            return f"{number / unit:.1f}".removesuffix(".0") + sign
    return f"{number:,}"


def column_stats(name: str, kind: str, batches: Iterable[pa.Array], total: int | None) -> ColumnStats:
    """Look at the values of a column, batch by batch.

    Args:
        name: Of the column.
        kind: Its type in words.
        batches: The values; what the whole costs is bounded, whatever their number.
        total: Rows that there are; None when the batches are all of them.
    """
    import pyarrow as pa

    seen = _Seen()
    for batch in batches:
        seen.add(batch)
    whole = seen.rows if total is None else max(seen.rows, total)
    found = ColumnStats(
        name, kind, seen.rows, whole, seen.nulls, seen.nans, *seen.distinct(), *seen.extremes(), seen.bars()
    )
    del seen
    pa.default_memory_pool().release_unused()
    return found


class _Seen:
    """What is kept of the values that passed by."""

    def __init__(self) -> None:
        self.rows = self.nulls = self.nans = 0
        self._values = _Distinct()
        self._ends: list[Any] = []
        """The smallest and the largest value of each batch, as scalars."""
        self._numbers: list[Any] = []

    def add(self, values: pa.Array) -> None:
        """Take one batch in."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.types as pt

        self.rows += len(values)
        self.nulls += values.null_count
        values = values.drop_null()
        self._values.add(values)
        if pt.is_floating(values.type):
            is_nan = pc.is_nan(values)
            self.nans += pc.sum(is_nan).as_py() or 0
            values = values.filter(pc.invert(is_nan))
        if not len(values):
            return
        try:
            found = pc.min_max(values)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
            return
        self._ends += [found["min"], found["max"]]
        if (numbers := as_numbers(values)) is not None:
            self._numbers.append(numbers)

    def distinct(self) -> tuple[int | None, bool, tuple[tuple[Any, int], ...]]:
        """How many there are, whether that is exact, and the commonest with their counts."""
        return self._values.result()

    def extremes(self) -> tuple[Any, Any]:
        """The smallest and the largest value, as Python has them; None twice when there are none."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not self._ends:
            return None, None
        kind = self._ends[0].type
        found = pc.min_max(pa.concat_arrays([pa.repeat(end, 1) for end in self._ends]))
        return python_value(found["min"], kind), python_value(found["max"], kind)

    def bars(self) -> tuple[int, ...]:
        """Counts in equal steps between the extremes."""
        import pyarrow as pa

        return histogram(pa.chunked_array(self._numbers)) if self._numbers else ()


class _Distinct:
    """Values with their counts, until there are too many of them."""

    def __init__(self) -> None:
        self._pending: list[Any] = []
        self._size = 0
        self._known: Any = None
        """A table of values and counts."""
        self._has_order = True
        self._is_cut = self._is_tried = False

    def add(self, values: pa.Array) -> None:
        """Count these too; some batches at a time."""
        if self._is_cut or not self._has_order or not len(values):
            return
        self._pending.append(values)
        self._size += len(values)
        if self._size >= _JOINED_ROWS:
            self._fold()
        elif self._size >= _TRIED_ROWS and not self._is_tried:
            self._is_tried = True
            self._try()

    def _try(self) -> None:
        """Where nearly all values differ, few are enough to see it."""
        import pyarrow as pa
        import pyarrow.compute as pc

        with contextlib.suppress(pa.ArrowNotImplementedError, pa.ArrowInvalid):
            values = pc.unique(pa.chunked_array(self._pending))
            if len(values) > MOST_DISTINCT:
                self._pending, self._is_cut = [], True
                self._known = pa.table({"values": values.slice(0, MOST_DISTINCT)})

    def _fold(self) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        values, self._pending, self._size = self._pending, [], 0
        try:
            found = pa.Table.from_struct_array(pc.value_counts(pa.chunked_array(values)))
            if self._known is not None:
                both = pa.concat_tables([self._known, found.cast(self._known.schema)])
                grouped = both.group_by("values").aggregate([("counts", "sum")])
                found = grouped.rename_columns(["values", "counts"]).select(self._known.column_names)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowKeyError, TypeError):
            self._has_order = False  # nested values cannot be counted
            return
        self._is_cut = found.num_rows > MOST_DISTINCT
        self._known = found.slice(0, MOST_DISTINCT) if self._is_cut else found

    def result(self) -> tuple[int | None, bool, tuple[tuple[Any, int], ...]]:
        """How many, whether that is exact, the commonest."""
        if self._pending:
            self._fold()
        if not self._has_order:
            return None, False, ()
        if self._known is None:
            return 0, True, ()
        return self._known.num_rows, not self._is_cut, () if self._is_cut else self._commonest()

    def _commonest(self) -> tuple[tuple[Any, int], ...]:
        import pyarrow as pa
        import pyarrow.compute as pc

        known = self._known
        if pc.max(known["counts"]).as_py() == 1:
            return ()
        try:
            keys = [("counts", "descending"), ("values", "ascending")]
            top = known.take(pc.select_k_unstable(known, COMMON, sort_keys=keys))
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid, TypeError):
            top = known.take(pc.select_k_unstable(known, COMMON, sort_keys=[("counts", "descending")]))
        kind = known.schema.field("values").type
        return tuple(
            (python_value(value, kind), count.as_py())
            for value, count in zip(top["values"], top["counts"], strict=True)
        )


def python_value(value: pa.Scalar, kind: pa.DataType) -> Any:
    """A value as Python has it; times finer than a microsecond as text, Python has no type for them."""
    if str(kind).startswith(("timestamp[ns", "time64[ns", "duration[ns")):
        return value.cast("string").as_py()
    return value.as_py()


def as_numbers(values: pa.Array) -> pa.Array | None:
    """Numbers and times as doubles; None for anything else."""
    import pyarrow as pa
    import pyarrow.types as pt

    kind = values.type
    if pt.is_timestamp(kind) or pt.is_date(kind) or pt.is_time(kind):
        values = values.cast(pa.int32() if pt.is_date32(kind) or pt.is_time32(kind) else pa.int64())
    elif not (pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind)):
        return None
    return values.cast(pa.float64(), safe=False)


def histogram(numbers: pa.ChunkedArray, bars: int = BARS) -> tuple[int, ...]:
    """Counts of finite numbers in equal steps between the smallest and the largest; one bar when all are equal.

    Example:
        >>> import pyarrow as pa
        >>> histogram(pa.chunked_array([[0.0, 1.0, 9.0, float("inf")]]), 3)
        (2, 0, 1)
    """
    import pyarrow.compute as pc

    numbers = numbers.filter(pc.is_finite(numbers))
    if not len(numbers):
        return ()
    found = pc.min_max(numbers)
    low, high = found["min"].as_py(), found["max"].as_py()
    if low == high:
        return (len(numbers),)
    if high - low == float("inf"):
        numbers, low, high = pc.divide(numbers, 4.0), low / 4, high / 4
    steps = pc.floor(pc.multiply(pc.divide(pc.subtract(numbers, low), high - low), float(bars)))
    counts = {entry["values"]: entry["counts"] for entry in pc.value_counts(steps).to_pylist()}
    found_counts = [int(counts.get(float(step), 0)) for step in range(bars)]
    found_counts[-1] += int(counts.get(float(bars), 0))  # the largest value itself
    return tuple(found_counts)
