"""Checked conversion of Arrow columns to what a PostgreSQL column takes: nothing is rounded, cut or guessed."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING

from ematix_nb.declare.arrow_values import whole
from ematix_nb.declare.data_types import to_arrow

from .decode import INTERVAL_DTYPE, NANOS_PER_MICRO, data_of, offsets_of, validity_of, with_items
from .types import MICROSECOND_DIGITS

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from ematix_nb.declare.data_types import DataType

    Convert = Callable[[pa.Array], pa.Array]

FIRST_MICROSECOND = -210_866_803_200_000_000
"""4714-11-24 BC, the first moment of PostgreSQL's timestamp, since 1970."""
FIRST_DAY, LAST_DAY = -2_440_588, 2_145_031_948
UUID_BYTES = 16
UUID_PATTERN = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
MONEY_PATTERN = r"^-?\$?-?[0-9,]+(\.[0-9]{1,2})?$"


class RefusedError(ValueError):
    """Some value of the array does not fit; which one is found by halving."""


def check_nul(texts: pa.StringArray) -> None:
    """Refuse NUL characters, which PostgreSQL's text cannot hold."""
    import pyarrow.compute as pc

    if _may_hold_nul(texts) and pc.any(pc.match_substring(texts, "\0")).as_py():
        message = "holds a NUL character, which PostgreSQL's text cannot hold"
        raise RefusedError(message)


def _may_hold_nul(texts: pa.StringArray) -> bool:
    """Whether there is a zero byte among those of the texts; bytes under a NULL may hold anything."""
    import numpy as np

    _, offsets, data = texts.buffers()
    if data is None or not len(texts):
        return False
    places = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    held = np.frombuffer(data, np.uint8)[places[0] : places[-1]]
    return bool(len(held)) and not held.min()


def checked(values: pa.Array, kind: DataType) -> pa.Array:
    """The values in the Arrow type of ``kind``, each one unchanged.

    A dictionary stays one: each of its values is checked once.

    Raises:
        ValueError: Some value cannot be kept exactly (``pyarrow.ArrowInvalid`` is one).
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as pt

    target = to_arrow(kind)
    if pt.is_dictionary(values.type):
        return pa.DictionaryArray.from_arrays(values.indices, checked(values.dictionary, kind))
    if pt.is_null(values.type):
        return pa.nulls(len(values), target)
    if pt.is_large_string(values.type) or pt.is_string_view(values.type):
        values = pc.cast(values, pa.string())
    if kind.kind == "array" and kind.item is not None and pt.is_list(values.type):
        return with_items(values, checked(values.flatten(), kind.item))
    result = _cast(values, target)
    if target == pa.string():
        check_nul(result)
    _check_modifier(result, kind)
    return result


def _cast(values: pa.Array, target: pa.DataType) -> pa.Array:
    import pyarrow.compute as pc
    import pyarrow.types as pt

    source = values.type
    if source == target:
        return values
    _check_pair(source, target)
    if pt.is_time(target) and pt.is_string(source):
        message = f"{source} is not turned into {target}"
        raise RefusedError(message)
    try:
        result = pc.cast(values, target)
    except NotImplementedError as exc:
        message = f"{source} is not turned into {target}"
        raise RefusedError(message) from exc
    narrowing = pt.is_floating(target) and not pt.is_string(source)
    if narrowing:
        back = pc.cast(result, source, safe=False)
        same = pc.or_(pc.equal(back, values), pc.and_(_is_nan(back), _is_nan(values)))
        if not pc.all(pc.fill_null(same, True)).as_py():
            message = f"is not the same in {target}"
            raise RefusedError(message)
    return result


def _is_nan(values: pa.Array) -> pa.BooleanArray:
    import pyarrow.compute as pc
    import pyarrow.types as pt

    return pc.is_nan(values) if pt.is_floating(values.type) else pc.fill_null(pc.equal(values, None), False)


def _check_pair(source: pa.DataType, target: pa.DataType) -> None:
    """Refuse pairs of types that pyarrow would convert by a rule of its own."""
    import pyarrow.types as pt

    both_moments = pt.is_timestamp(source) and pt.is_timestamp(target)
    if both_moments and bool(source.tz) != bool(target.tz):
        message = "has no time zone" if not source.tz else "has a time zone and the column has none"
        raise RefusedError(message)
    if pt.is_boolean(source) != pt.is_boolean(target) and not pt.is_string(target):
        message = f"{source} is not turned into {target}"
        raise RefusedError(message)
    if pt.is_floating(source) and (pt.is_decimal(target) or pt.is_string(target)):
        message = "is a binary fraction; CAST it to numeric in the query to say how it is rounded"
        raise RefusedError(message)
    if pt.is_timestamp(source) and pt.is_date(target):
        message = "is a moment and the column a date"
        raise RefusedError(message)
    if (pt.is_binary(source) or pt.is_large_binary(source)) != pt.is_binary(target) and not pt.is_fixed_size_binary(
        source
    ):
        message = f"{source} is not turned into {target}"
        raise RefusedError(message)


def _check_modifier(values: pa.Array, kind: DataType) -> None:
    """Refuse what PostgreSQL would round or cut without a word."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as pt

    if kind.kind == "string" and kind.length:
        _refuse(pc.greater(pc.utf8_length(values), kind.length), f"is longer than {kind.length} characters")
    elif kind.kind == "text" and kind.native == "money":
        _refuse(pc.invert(pc.match_substring_regex(values, MONEY_PATTERN)), "is not an amount of money")
    elif kind.kind == "uuid":
        _refuse(pc.invert(pc.match_substring_regex(values, UUID_PATTERN)), "is not a UUID")
    elif pt.is_timestamp(values.type) or pt.is_time(values.type):
        numbers = pc.cast(values, pa.int64())
        if pt.is_timestamp(values.type):
            _refuse(pc.less(numbers, whole(FIRST_MICROSECOND, pa.int64())), "is before 4714 BC")
        if kind.precision is not None and kind.precision < MICROSECOND_DIGITS:
            step = 10 ** (MICROSECOND_DIGITS - kind.precision)
            even = pc.multiply(pc.divide(numbers, step), step)
            _refuse(pc.not_equal(even, numbers), f"has more than {kind.precision} digits after the second")
    elif pt.is_date(values.type):
        days = pc.cast(values, pa.int32())
        first, last = whole(FIRST_DAY, pa.int32()), whole(LAST_DAY, pa.int32())
        _refuse(pc.or_(pc.less(days, first), pc.greater(days, last)), "is outside PostgreSQL's dates")


def _refuse(bad: pa.BooleanArray, message: str) -> None:
    import pyarrow.compute as pc

    if pc.any(bad).as_py():
        raise RefusedError(message)


def uuid_bytes(texts: pa.StringArray) -> pa.Array:
    """16 bytes of each (checked) UUID."""
    import pyarrow as pa
    import pyarrow.compute as pc

    filled = pc.fill_null(texts, "0" * 32) if texts.null_count else texts
    data = binascii.unhexlify(b"".join(data_of(pc.replace_substring(filled, "-", ""))))
    buffers = [validity_of(texts), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.binary(UUID_BYTES), len(texts), buffers, texts.null_count)


def interval_bytes(values: pa.Array) -> pa.Array:
    """The 16 bytes of PostgreSQL's binary interval: microseconds, days, months, big-endian."""
    import numpy as np
    import pyarrow as pa

    parts = _interval_parts(values)
    packed = np.zeros(len(values), dtype=[("micros", ">i8"), ("days", ">i4"), ("months", ">i4")])
    packed["micros"], packed["days"], packed["months"] = parts["micros"], parts["days"], parts["months"]
    buffers = [validity_of(values), pa.py_buffer(packed)]
    return pa.Array.from_buffers(pa.binary(UUID_BYTES), len(values), buffers, values.null_count)


def _interval_parts(values: pa.Array) -> dict[str, object]:
    import numpy as np

    raw = np.frombuffer(values.buffers()[1], dtype=list(INTERVAL_DTYPE))[values.offset : values.offset + len(values)]
    valid = np.asarray(values.is_valid())
    nanoseconds = np.where(valid, raw["nanoseconds"], 0)
    if (nanoseconds % NANOS_PER_MICRO).any():
        message = "has digits below a microsecond"
        raise RefusedError(message)
    return {
        "micros": nanoseconds // NANOS_PER_MICRO,
        "days": np.where(valid, raw["days"], 0),
        "months": np.where(valid, raw["months"], 0),
    }


def as_copy_text(values: pa.Array, kind: DataType) -> pa.StringArray:
    """Checked values as PostgreSQL reads them from text, not yet escaped for COPY."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as pt

    if pt.is_string(values.type):
        return values
    if kind.kind == "bytes":
        return to_hex(values)
    if kind.kind == "interval":
        return _interval_text(values)
    if kind.kind == "array" and kind.item is not None:
        items = as_copy_text(values.flatten(), kind.item)
        quoted = pc.replace_substring(pc.replace_substring(items, "\\", "\\\\"), '"', '\\"')
        quoted = pc.fill_null(pc.binary_join_element_wise('"', quoted, '"', ""), "NULL")
        return pc.binary_join_element_wise("{", pc.binary_join(with_items(values, quoted), ","), "}", "")
    return pc.cast(values, pa.string())


def to_hex(values: pa.BinaryArray) -> pa.StringArray:
    r"""``\x0a0b`` of each value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    plain = pc.fill_null(values, b"") if values.null_count else values
    lengths = pc.multiply(pc.cast(pc.binary_length(plain), pa.int64()), 2)
    data = binascii.hexlify(b"".join(data_of(plain)))
    offsets = offsets_of(lengths)
    buffers = [validity_of(values), offsets.buffers()[1], pa.py_buffer(data)]
    digits = pa.Array.from_buffers(pa.string(), len(values), buffers, values.null_count)
    return pc.binary_join_element_wise("\\x", digits, "")


def _interval_text(values: pa.Array) -> pa.StringArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = _interval_parts(values)
    texts = [pc.cast(pa.array(parts[name]), pa.string()) for name in ("months", "days", "micros")]
    joined = pc.binary_join_element_wise(texts[0], " mons ", texts[1], " days ", texts[2], " us", "")
    return pc.if_else(values.is_valid(), joined, None)


def escape_copy(texts: pa.StringArray) -> pa.StringArray:
    r"""Text for one field of COPY's text format; NULL is ``\N``."""
    import pyarrow.compute as pc

    for raw, escaped in (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        texts = pc.replace_substring(texts, raw, escaped)
    return pc.fill_null(texts, "\\N")
