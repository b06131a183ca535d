"""SELECT to Arrow: whole chunks of the server's packets are cut into columns at once, without a Python value a cell."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import to_arrow

from .decode import decode, gathered, without_zero_dates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

    from ematix_nb.declare.spec import Column

READ_BYTES = 1 << 18
BATCH_BYTES = 8 << 20
"""Bytes of the server's text at which a batch ends; its Arrow form is of the same order."""
HEADER = 4
LARGEST_PACKET = 0xFFFFFF
EOF, ERROR = 0xFE, 0xFF
EOF_BYTES = 9


@dataclass
class Rows:
    """The packets of whole rows, as they came, and where each row's cells begin."""

    data: bytearray
    starts: list[int] = field(default_factory=list)


class PacketReader:
    """Reads the rows of one unbuffered result, up to its end.

    Args:
        connection: The driver's, right after it has read the columns of the result.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._file = connection._rfile  # noqa: SLF001  the driver reads one packet at a time: too slow
        self._rest = bytearray()
        self.ended = False
        self.failure: bytes | None = None
        """The server's error packet, when the result ended with one."""

    def blocks(self, most_rows: int, check: Callable[[], None]) -> Iterator[Rows]:
        """Blocks of at most ``most_rows`` rows and about `BATCH_BYTES` bytes."""
        rows = Rows(bytearray())
        while not self.ended:
            check()
            if not self._take(rows, most_rows):
                self._fill()
            if len(rows.starts) >= most_rows or len(rows.data) >= BATCH_BYTES:
                yield rows
                rows = Rows(bytearray())
        if rows.starts:
            yield rows

    def _fill(self) -> None:
        data = self._file.read1(READ_BYTES)
        if not data:
            self.ended = True
            raise EOFError
        self._rest += data

    def _take(self, rows: Rows, most_rows: int) -> bool:
        """Move whole packets from what was read to the block; False when there was none and more has to be read."""
        rest, position, size = self._rest, 0, len(self._rest)
        starts, base = rows.starts, len(rows.data)
        keep = starts.append
        room = most_rows - len(starts)
        while position + HEADER <= size and room:
            length = rest[position] | rest[position + 1] << 8 | rest[position + 2] << 16
            if length == LARGEST_PACKET or position + HEADER + length > size:
                break
            if (first := rest[position + HEADER]) >= EOF and self._is_end(rest, position, first, length):
                break
            keep(base + position + HEADER)
            position += HEADER + length
            room -= 1
        rows.data += memoryview(rest)[:position]
        del rest[:position]
        if self.ended or room == 0:
            return True
        if len(rest) >= HEADER and rest[0] | rest[1] << 8 | rest[2] << 16 == LARGEST_PACKET:
            self._take_large(rows)
            return True
        return position > 0

    def _is_end(self, rest: bytearray, position: int, first: int, length: int) -> bool:
        if first == ERROR:
            self.failure = bytes(rest[position + HEADER : position + HEADER + length])
        elif length >= EOF_BYTES:
            return False
        self.ended = True
        return True

    def _take_large(self, rows: Rows) -> None:
        """A row of several packets, whole: its parts are joined."""
        rest = self._rest
        rows.starts.append(len(rows.data))
        while True:
            self._need(HEADER)
            length = rest[0] | rest[1] << 8 | rest[2] << 16
            self._need(HEADER + length)
            rows.data += memoryview(rest)[HEADER : HEADER + length]
            del rest[: HEADER + length]
            if length < LARGEST_PACKET:
                return

    def _need(self, size: int) -> None:
        while len(self._rest) < size:
            self._fill()

    def drain(self) -> None:
        """Read what is left up to the end of the result, and forget it."""
        while not self.ended:
            if not self._take(Rows(bytearray()), sys.maxsize):
                self._fill()


def batches(
    columns: Sequence[Column], blocks: Iterator[Rows], *, zero_dates_are_null: bool = False
) -> Iterator[pa.RecordBatch]:
    """Blocks of packets as record batches."""
    import pyarrow as pa

    schema = pa.schema([(column.name, to_arrow(column.type)) for column in columns])
    done = 0
    for rows in blocks:
        cells = gathered(rows.data, rows.starts, len(columns))
        arrays = []
        for column, texts in zip(columns, cells, strict=True):
            known = without_zero_dates(column, texts) if zero_dates_are_null else texts
            arrays.append(decode(column, known, done))
        done += len(rows.starts)
        yield pa.record_batch(arrays, schema=schema)
