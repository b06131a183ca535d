"""Arrow to a table: LOAD DATA LOCAL from memory, or rows of INSERT where either side forbids that."""

from __future__ import annotations

import functools
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import BATCH_ROWS
from ematix_nb.errors import DataError

from .encode import Sink, as_field, as_value, data_of
from .errors import data_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    import pyarrow as pa

    from ematix_nb.declare.spec import Column, TableRef

    from .io import MySQLSession

SLICE_BYTES = 4 << 20
PARTS_AHEAD = 2
STATEMENT_BYTES = 1 << 20
"""About how long one INSERT becomes; a longer row goes alone."""
FORBIDDEN = (1148, 3948, 4166)
"""LOAD DATA LOCAL is switched off."""


def write_batches(
    session: MySQLSession, ref: TableRef, columns: Sequence[Column], batches: Iterable[pa.RecordBatch]
) -> int:
    """Append batches to a table; the rows written.

    Raises:
        DataError: A value does not fit, or a row did not arrive; names column, row and value.
    """
    sinks = [Sink(column) for column in columns]
    sent = [0]
    slices = _slices(batches, sent)
    if session.loads_local:
        lines = _ahead(functools.partial(_lines, sinks), slices)
        written = session.load_local(_load_statement(session, ref, sinks), lines)
    else:
        written = _insert(session, ref, sinks, slices)
    if written != sent[0]:
        message = f"{sent[0]} rows were sent to {ref} and {written} arrived"
        raise DataError(message, "a trigger of the table may have dropped rows")
    return written


def _slices(batches: Iterable[pa.RecordBatch], sent: list[int]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Parts of at most 65,536 rows and about 4 MiB, each with the rows before it; counts the rows in ``sent``."""
    for batch in batches:
        rows = min(BATCH_ROWS, max(1, batch.num_rows * SLICE_BYTES // max(batch.nbytes, 1)))
        for start in range(0, batch.num_rows, rows):
            part = batch.slice(start, rows)
            before, sent[0] = sent[0], sent[0] + part.num_rows
            yield before, part


def _texts(sinks: Sequence[Sink], before: int, part: pa.RecordBatch) -> list[pa.Array]:
    """Checked columns as texts."""
    return [sink.texts(values, before) for sink, values in zip(sinks, part.columns, strict=True)]


def _ahead(
    encode: Callable[[int, pa.RecordBatch], bytes], slices: Iterable[tuple[int, pa.RecordBatch]]
) -> Iterator[bytes]:
    """Encode on one worker thread while the part before is sent; in order."""
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="ematix-encode") as pool:
        for before, part in slices:
            waiting.append(pool.submit(encode, before, part))
            if len(waiting) > PARTS_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _load_statement(session: MySQLSession, ref: TableRef, sinks: Sequence[Sink]) -> str:
    """The file's name says nothing: the driver's own file reading is off, and the session sends what it has."""
    quote = session.dialect.quote
    fields, sets = [], []
    for index, sink in enumerate(sinks):
        name = quote(sink.column.name)
        if sink.is_bytes or sink.is_bit:
            fields.append(f"@ematix_{index}")
            value = f"UNHEX(@ematix_{index})" if sink.is_bytes else f"CAST(@ematix_{index} AS UNSIGNED)"
            sets.append(f"{name} = {value}")
        else:
            fields.append(name)
    tail = f" SET {', '.join(sets)}" if sets else ""
    return (
        f"LOAD DATA LOCAL INFILE 'ematix' INTO TABLE {session.dialect.table(ref)} CHARACTER SET utf8mb4"
        " FIELDS TERMINATED BY '\\t' ESCAPED BY '\\\\' LINES TERMINATED BY '\\n'"
        f" ({', '.join(fields)}){tail}"
    )


def _lines(sinks: Sequence[Sink], before: int, part: pa.RecordBatch) -> bytes:
    """The rows of one part as LOAD DATA reads them."""
    import pyarrow.compute as pc

    fields = [as_field(texts, sink.kind) for sink, texts in zip(sinks, _texts(sinks, before, part), strict=True)]
    joined = pc.binary_join_element_wise(*fields, "\t") if len(fields) > 1 else fields[0]
    return b"".join(data_of(pc.binary_join_element_wise(joined, "\n", "")))


def _insert(
    session: MySQLSession, ref: TableRef, sinks: Sequence[Sink], slices: Iterable[tuple[int, pa.RecordBatch]]
) -> int:
    names = session.dialect.columns([sink.column.name for sink in sinks])
    head = f"INSERT INTO {session.dialect.table(ref)} ({names}) VALUES "
    done = 0
    for before, part in slices:
        for values in _value_lists(sinks, _texts(sinks, before, part)):
            done += session.insert_values(head + values)
    return done


def _value_lists(sinks: Sequence[Sink], arrays: list[pa.Array]) -> Iterator[str]:
    """The rows of a slice as lists of values, each about as long as a statement may be."""
    import pyarrow.compute as pc

    values = [as_value(texts, sink.kind) for sink, texts in zip(sinks, arrays, strict=True)]
    rows = pc.binary_join_element_wise("(", pc.binary_join_element_wise(*values, ","), ")", "").to_pylist()
    held: list[str] = []
    size = 0
    for row in rows:
        if held and size + len(row) > STATEMENT_BYTES:
            yield ",".join(held)
            held, size = [], 0
        held.append(row)
        size += len(row)
    if held:
        yield ",".join(held)


def refuse_warnings(rows: Sequence[tuple[Any, ...]]) -> None:
    """Make an error of what the server only warned of: it has changed or left out values.

    ``rows`` is what SHOW WARNINGS gives: level, number, text.

    Raises:
        DataError: There is a warning; the first error counts before the first warning.
    """
    if not rows:
        message = "the server changed or left out values and does not say which"
        raise DataError(message, "nothing was kept")
    ranked = sorted(rows, key=lambda row: {"Error": 0, "Warning": 1}.get(row[0], 2))
    raise data_error(int(ranked[0][1]), str(ranked[0][2]))
