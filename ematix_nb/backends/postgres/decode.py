"""From the text that PostgreSQL prints to Arrow arrays, exactly or not at all."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import to_arrow

if TYPE_CHECKING:
    import pyarrow as pa

    from ematix_nb.declare.data_types import DataType

NANOS_PER_MICRO = 1000
INTERVAL_DTYPE = (("months", "<i4"), ("days", "<i4"), ("nanoseconds", "<i8"))
OFFSET_BYTES = 4


def parse_text(texts: pa.StringArray, kind: DataType) -> pa.Array:
    """Values from their text.

    Raises:
        ValueError: A text is not a value of the type (``pyarrow.ArrowInvalid`` is one); it names no row.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    target = to_arrow(kind)
    if kind.kind == "bytes":
        return from_hex(texts)
    if kind.kind == "array" and kind.item is not None:
        return parse_arrays(texts, kind.item)
    if pa.types.is_time(target):
        return _parse_times(texts)
    return texts if target == pa.string() else pc.cast(texts, target)


def _parse_times(texts: pa.StringArray) -> pa.Array:
    """Times of day as microseconds; pyarrow parses them as a part of a moment only."""
    import pyarrow as pa
    import pyarrow.compute as pc

    moments = pc.cast(pc.binary_join_element_wise("1970-01-01", texts, " "), pa.timestamp("us"))
    return pc.cast(moments, pa.time64("us"))


def from_hex(texts: pa.StringArray) -> pa.BinaryArray:
    r"""Bytes from ``\x0a0b``, in one step for the whole array."""
    import pyarrow as pa
    import pyarrow.compute as pc

    plain = pc.fill_null(texts, "\\x") if texts.null_count else texts
    lengths = pc.divide(pc.subtract(pc.binary_length(plain), 2), 2)
    data = binascii.unhexlify(b"".join(data_of(plain)).replace(b"\\x", b""))
    offsets = offsets_of(lengths)
    mask = validity_of(texts)
    return pa.Array.from_buffers(
        pa.binary(), len(texts), [mask, offsets.buffers()[1], pa.py_buffer(data)], texts.null_count
    )


def data_of(values: pa.BinaryArray) -> list[Any]:
    """The characters of an array without nulls, whatever slice it is."""
    import struct

    _, offsets, data = values.buffers()
    if data is None or not len(values):
        return []
    view = memoryview(offsets)
    first = struct.unpack_from("=i", view, values.offset * OFFSET_BYTES)[0]
    last = struct.unpack_from("=i", view, (values.offset + len(values)) * OFFSET_BYTES)[0]
    return [memoryview(data)[first:last]]


def offsets_of(lengths: pa.Array) -> pa.Int32Array:
    """Where each value begins, and the end; a NULL length is 0.

    Raises:
        ValueError: More than 2 GiB in one array.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    sums = pc.cumulative_sum_checked(pc.cast(pc.fill_null(lengths, 0), pa.int64()))
    return pa.concat_arrays([pa.array([0], pa.int32()), pc.cast(sums, pa.int32())])


def validity_of(values: pa.Array) -> pa.Buffer | None:
    """A validity bitmap that begins at bit 0; None when nothing is null."""
    import pyarrow.compute as pc

    if not values.null_count:
        return None
    return pc.is_valid(values).buffers()[1] if values.offset == 0 else _fresh(pc.is_valid(values)).buffers()[1]


def _fresh(values: pa.Array) -> pa.Array:
    import pyarrow as pa

    return pa.concat_arrays([values, values.slice(0, 0)]) if values.offset else values


def parse_arrays(texts: pa.StringArray, item: DataType) -> pa.ListArray:
    """Lists from the JSON text of one-dimensional arrays of texts.

    Raises:
        ValueError: An array has more dimensions, or an element is not a value of the type.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.json as pj

    if not len(texts):
        return pa.array([], pa.list_(to_arrow(item)))
    parts = pc.binary_join_element_wise('{"v":', pc.fill_null(texts, "null"), "}\n", "")
    data = b"".join(data_of(parts))
    strings = pj.read_json(
        pa.BufferReader(data),
        pj.ReadOptions(use_threads=False, block_size=len(data) + 1),
        pj.ParseOptions(explicit_schema=pa.schema([("v", pa.list_(pa.string()))]), unexpected_field_behavior="error"),
    )["v"].combine_chunks()
    if len(strings) != len(texts):
        message = f"{len(texts)} arrays were read as {len(strings)}"
        raise ValueError(message)
    lists = strings.chunk(0) if isinstance(strings, pa.ChunkedArray) else strings
    return with_items(lists, parse_text(lists.flatten(), item))


def with_items(lists: pa.ListArray, items: pa.Array) -> pa.ListArray:
    """The same lists around other items; ``items`` are those of ``lists.flatten()``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    offsets = offsets_of(pc.list_value_length(lists))
    mask = pc.is_null(lists) if lists.null_count else None
    return pa.ListArray.from_arrays(offsets, items, mask=mask)


def build_intervals(months: pa.Int32Array, days: pa.Int32Array, micros: pa.Int64Array) -> pa.Array:
    """Intervals from their three parts, all NULL together.

    Raises:
        ValueError: More than 2^63 nanoseconds (292 years of hours).
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    values = np.zeros(len(months), dtype=list(INTERVAL_DTYPE))
    nanoseconds = pc.multiply_checked(pc.fill_null(micros, 0), NANOS_PER_MICRO)
    for name, part in (("months", months), ("days", days), ("nanoseconds", nanoseconds)):
        values[name] = pc.fill_null(part, 0).to_numpy(zero_copy_only=False)
    return pa.Array.from_buffers(
        pa.month_day_nano_interval(), len(months), [validity_of(micros), pa.py_buffer(values)], micros.null_count
    )
