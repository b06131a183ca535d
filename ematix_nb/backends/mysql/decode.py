"""From the cells of the text protocol to Arrow arrays, exactly or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import INTEGER_KINDS, TEXT_KINDS, to_arrow
from ematix_nb.errors import DataError

from .errors import shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import Column

NULL, TWO, THREE, EIGHT = 0xFB, 0xFC, 0xFD, 0xFE
"""First bytes of a cell that is NULL, or whose length takes two, three or eight bytes."""
SHORT_CELLS = 64
"""Mean length up to which cells are gathered by their positions; longer ones are joined one by one."""
TIME_LENGTH = 8
"""Of ``HH:MM:SS``; fractions follow it."""


def gathered(data: bytearray, starts: Sequence[int], columns: int) -> Iterator[pa.Array]:
    """Each column's cells as binary values, in the order of the columns."""
    import numpy as np

    raw = np.frombuffer(data, dtype=np.uint8)
    position = np.array(starts, dtype=np.int64)
    padded = np.concatenate([raw, np.zeros(9, np.uint8)])
    for _ in range(columns):
        first = padded[position]
        lengths = first.astype(np.int64)
        heads = np.ones(len(position), np.int64)
        missing = first == NULL
        if first.size and int(first.max()) >= NULL:
            _long_lengths(padded, position, first, lengths, heads)
        begins = position + heads
        position = begins + lengths
        yield _binary(data, raw, begins, lengths, missing)


def _long_lengths(padded: Any, position: Any, first: Any, lengths: Any, heads: Any) -> None:
    """Lengths that take more than one byte, and NULLs, which have none; changes the last two arguments."""
    import numpy as np

    lengths[first == NULL] = 0
    for mark, size in ((TWO, 2), (THREE, 3), (EIGHT, 8)):
        rows = np.nonzero(first == mark)[0]
        if not rows.size:
            continue
        total = np.zeros(rows.size, np.int64)
        for byte in range(size):
            total |= padded[position[rows] + 1 + byte].astype(np.int64) << (8 * byte)
        lengths[rows] = total
        heads[rows] = 1 + size


def _binary(data: bytearray, raw: Any, begins: Any, lengths: Any, missing: Any) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    rows = len(begins)
    offsets = np.zeros(rows + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    total = int(offsets[-1])
    if total > SHORT_CELLS * rows:
        view = memoryview(data)
        ends = begins + lengths
        values: Any = b"".join([view[a:b] for a, b in zip(begins.tolist(), ends.tolist(), strict=True)])
        view.release()
    else:
        places = np.arange(total, dtype=np.int64)
        places += np.repeat(begins - offsets[:-1], lengths)
        values = raw[places]
    validity = None
    if missing.any():
        validity = pa.py_buffer(np.packbits(~missing, bitorder="little"))
    return pa.Array.from_buffers(pa.binary(), rows, [validity, pa.py_buffer(offsets), pa.py_buffer(values)])


def decode(column: Column, cells: pa.Array, done: int) -> pa.Array:
    """The values of one column.

    Raises:
        DataError: A value does not fit the type; names column, row (from 1, after ``done`` rows) and value.
    """
    convert = _converter(column.type)
    try:
        return convert(cells)
    except ValueError:  # pyarrow.ArrowInvalid is one
        row = _first_bad(cells, convert)
        raise _refusal(column, cells[row].as_py(), done + row + 1) from None


def without_zero_dates(column: Column, cells: pa.Array) -> pa.Array:
    """The cells of a date or time column, with NULL in place of ``0000-00-00``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.type.kind not in ("date", "timestamp", "timestamptz"):
        return cells
    zero = pc.starts_with(_ascii(cells), "0000-00-00")
    return pc.if_else(zero, pa.scalar(None, pa.binary()), cells)


def _converter(kind: DataType) -> Callable[[pa.Array], pa.Array]:
    if kind.kind == "bytes":
        return lambda cells: cells
    if kind.kind == "ubigint" and kind.native.startswith("bit"):
        return _bits
    if kind.kind in ("date", "timestamp", "timestamptz"):
        return _moments(kind)
    if kind.kind == "time":
        return _times
    if kind.kind == "boolean":
        return _booleans
    if kind.kind == "null":
        return _nothing
    target = to_arrow(kind)
    if kind.kind in TEXT_KINDS or (kind.kind == "numeric" and kind.precision is None):
        return _texts

    def plain(cells: pa.Array) -> pa.Array:
        return _ascii(cells).cast(target)

    return plain


def _texts(cells: pa.Array) -> pa.Array:
    import pyarrow as pa

    return cells.cast(pa.string())


def _ascii(cells: pa.Array) -> pa.Array:
    """Numbers and times, which are plain characters: no check of their encoding."""
    import pyarrow as pa

    return pa.Array.from_buffers(pa.string(), len(cells), cells.buffers(), cells.null_count, cells.offset)


def _booleans(cells: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = _ascii(cells).cast(pa.int8())
    span = pc.min_max(numbers)
    if span["min"].is_valid and not (span["min"].as_py() >= 0 and span["max"].as_py() <= 1):
        message = "neither 0 nor 1"
        raise ValueError(message)
    return numbers.cast(pa.bool_())


def _nothing(cells: pa.Array) -> pa.Array:
    import pyarrow as pa

    if cells.null_count != len(cells):
        message = "a value in a column of NULLs"
        raise ValueError(message)
    return pa.nulls(len(cells))


def _moments(kind: DataType) -> Callable[[pa.Array], pa.Array]:
    """Dates and times of the calendar; ``0000-00-00`` and days without a month are none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    target = to_arrow(kind)

    def convert(cells: pa.Array) -> pa.Array:
        texts = _ascii(cells)
        if pc.any(pc.starts_with(texts, "0000")).as_py():
            message = "the year 0"
            raise ValueError(message)
        if kind.kind == "timestamptz":
            return texts.cast(pa.timestamp("us")).cast(target)
        return texts.cast(target)

    return convert


def _times(cells: pa.Array) -> pa.Array:
    """Times of a day; MySQL's go from -838 to 838 hours."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = _ascii(cells)
    day = pc.match_substring_regex(texts, r"^([01]\d|2[0-3]):\d\d:\d\d(\.\d+)?$")
    if not pc.all(day).as_py() and pc.any(pc.invert(day)).as_py():
        message = "not within a day"
        raise ValueError(message)
    moments = pc.binary_join_element_wise("1970-01-01", texts, " ").cast(pa.timestamp("us"))
    return moments.cast(pa.time64("us"))


def _bits(cells: pa.Array) -> pa.Array:
    import pyarrow as pa

    values = [None if cell is None else int.from_bytes(cell, "big") for cell in cells.to_pylist()]
    return pa.array(values, pa.uint64())


def _first_bad(cells: pa.Array, convert: Callable[[pa.Array], Any]) -> int:
    """The index of the first value that cannot be converted, by halving."""
    import pyarrow as pa

    low, high = 0, len(cells)
    while high - low > 1:
        middle = (low + high) // 2
        part = pa.array(cells.slice(low, middle - low).to_pylist(), pa.binary())
        try:
            convert(part)
        except ValueError:
            high = middle
        else:
            low = middle
    return low


def _refusal(column: Column, value: bytes | None, row: int) -> DataError:
    """Column, row, value and what to write instead."""
    shown = shorten((value or b"").decode("utf-8", "replace"))
    kind, name = column.type, "`" + column.name.replace("`", "``") + "`"
    message = f"column `{column.name}` row {row}: `{shown}` cannot be read as {kind.logical}"
    if kind.kind in ("date", "timestamp", "timestamptz"):
        hint = f"write NULLIF(CAST({name} AS CHAR), '{shown}') in the query, or correct the value"
        if shown.startswith("0000-00-00"):
            hint = f"a zero date is no date: write NULLIF({name}, 0) in the query, or set zero_dates = 'null'"
    elif kind.kind == "time":
        hint = f"write TIME_TO_SEC({name}) or CAST({name} AS CHAR) in the query"
    elif kind.kind == "boolean":
        hint = f"the column is TINYINT(1), which stands for a boolean: write CAST({name} AS SIGNED) in the query"
    elif kind.kind in INTEGER_KINDS:
        hint = f"write CAST({name} AS DECIMAL(65,0)) in the query"
    else:
        hint = f"write CAST({name} AS CHAR) in the query"
    return DataError(message, hint)
