"""Arrow scalars made from bytes.

``pyarrow.scalar`` and ``pyarrow.array`` import pandas, where it is installed, at the first Python value that they are
given: 0.2 s and 50 MB for a run that never sees a frame. Paths that every run takes build their few constants here.
"""

from __future__ import annotations

import datetime as dt
import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@functools.lru_cache(maxsize=256)
def whole(value: int, kind: pa.DataType) -> pa.Scalar:
    """An integer as a scalar of an integer, date or time type, in the unit of that type.

    Example:
        >>> import pyarrow as pa
        >>> whole(-1, pa.int32())
        <pyarrow.Int32Scalar: -1>
    """
    import pyarrow as pa
    import pyarrow.types as pt

    data = value.to_bytes(kind.bit_width // 8, "little", signed=not pt.is_unsigned_integer(kind))
    return pa.Array.from_buffers(kind, 1, [None, pa.py_buffer(data)])[0]


@functools.lru_cache(maxsize=256)
def text(value: str) -> pa.Scalar:
    """A text as a scalar.

    Example:
        >>> text("é")
        <pyarrow.StringScalar: 'é'>
    """
    import pyarrow as pa

    data = value.encode()
    offsets = bytes(4) + len(data).to_bytes(4, "little")
    return pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)])[0]


def moment(value: dt.datetime) -> pa.Scalar:
    """A time with a zone as ``timestamp[us, tz=UTC]``."""
    import pyarrow as pa

    return whole((value - _EPOCH) // dt.timedelta(microseconds=1), pa.timestamp("us", "UTC"))


def constant(value: pa.Scalar, rows: int) -> pa.DictionaryArray:
    """A column that holds one value in every row, kept once."""
    import pyarrow as pa

    one = pa.repeat(value, 1)
    return pa.DictionaryArray.from_arrays(pa.repeat(whole(0, pa.int32()), rows), one)
