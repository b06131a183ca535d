"""Arrow values as the text that the server reads: checked first, because the server would round or cut some of them."""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import INTEGER_KINDS, TEXT_KINDS, to_arrow
from ematix_nb.errors import DataError

from .dialect import MICROSECOND_DIGITS
from .errors import shorten
from .types import items_of

if TYPE_CHECKING:
    import pyarrow as pa

    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import Column

_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
_DAY_US = 86_400_000_000
_YEARS = (1901, 2155)
NULL = "\\N"
QUOTED = (*TEXT_KINDS, "date", "time", "timestamp", "timestamptz")


@dataclass(frozen=True)
class Sink:
    """One column of the table, and what is done to its values."""

    column: Column

    @property
    def kind(self) -> DataType:
        """The type that values are checked against."""
        return self.column.type

    @property
    def is_bytes(self) -> bool:
        """Whether values travel in hexadecimal."""
        return self.kind.kind == "bytes"

    @property
    def is_bit(self) -> bool:
        """Whether values travel as numbers into a BIT column."""
        return self.kind.native.startswith("bit")

    def texts(self, values: pa.Array, done: int) -> pa.Array:
        """The values as strings, NULL staying NULL; ``done`` rows came before, for the message.

        Raises:
            DataError: A value cannot be kept exactly; names column, row and value.
        """
        import pyarrow as pa

        expected = to_arrow(self.kind)
        if values.type != expected:
            try:
                values = values.cast(expected)
            except pa.ArrowException as exc:
                message = f"column `{self.column.name}` arrived as {values.type}, expected {expected}: {exc}"
                raise DataError(message) from exc
        self._check(values, done)
        return self._as_text(values)

    def _check(self, values: pa.Array, done: int) -> None:
        import pyarrow.compute as pc

        kind = self.kind
        if kind.kind in ("float", "double"):
            self._refuse(values, pc.invert(pc.is_finite(values)), done, "the server holds neither NaN nor infinity")
        elif kind.kind in ("date", "timestamp", "timestamptz"):
            self._check_calendar(values, done)
        if kind.kind in ("time", "timestamp", "timestamptz"):
            self._check_digits(values, done)
        if kind.kind == "bytes" and kind.length:
            long = pc.greater(pc.binary_length(values), kind.length)
            self._refuse(values, long, done, f"longer than {kind.length} bytes")
        if kind.kind in TEXT_KINDS:
            self._check_text(values, done)
        if kind.native == "year":
            outside = pc.or_(pc.less(values, _YEARS[0]), pc.greater(values, _YEARS[1]))
            outside = pc.and_(outside, pc.not_equal(values, 0))
            self._refuse(values, outside, done, "YEAR holds 0 and 1901 to 2155")

    def _check_calendar(self, values: pa.Array, done: int) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.types as pt

        if pt.is_date(values.type):
            plain, first, last = values.view(pa.int32()), _FIRST_DAY, _LAST_DAY
        else:
            plain, first, last = values.view(pa.int64()), _FIRST_DAY * _DAY_US, (_LAST_DAY + 1) * _DAY_US - 1
        bad = pc.or_(pc.less(plain, pa.scalar(first, plain.type)), pc.greater(plain, pa.scalar(last, plain.type)))
        self._refuse(values, bad, done, "the server holds the years 0001 to 9999")

    def _check_digits(self, values: pa.Array, done: int) -> None:
        """The server rounds silently to the digits that the column has."""
        import pyarrow as pa
        import pyarrow.compute as pc

        digits = MICROSECOND_DIGITS if self.kind.precision is None else self.kind.precision
        if digits >= MICROSECOND_DIGITS:
            return
        step = 10 ** (MICROSECOND_DIGITS - digits)
        plain = values.view(pa.int64())
        rest = pc.subtract(plain, pc.multiply(pc.divide(plain, step), step))
        why = f"the column keeps {digits} digits of a second"
        self._refuse(values, pc.not_equal(rest, 0), done, why)

    def _check_text(self, values: pa.Array, done: int) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        native = self.kind.native
        if self.kind.kind == "string" and self.kind.length:
            long = pc.greater(pc.utf8_length(values), self.kind.length)
            self._refuse(values, long, done, f"longer than {self.kind.length} characters")
        if native.startswith("char"):
            self._refuse(values, pc.ends_with(values, " "), done, "a CHAR column drops blanks at the end")
        elif native.startswith("enum"):
            known = pc.is_in(values, pa.array(items_of(native), pa.string()))
            bad = pc.and_(pc.invert(known), pc.is_valid(values))
            self._refuse(values, bad, done, "not one of the column's values, letter for letter")
        elif native.startswith("set"):
            items = items_of(native)
            bad_ones = [text for text in pc.unique(values).to_pylist() if text is not None and not _is_set(text, items)]
            bad = pc.is_in(values, pa.array(bad_ones, pa.string()))
            self._refuse(values, bad, done, "not values of the SET in its own order")

    def _refuse(self, values: pa.Array, bad: pa.Array, done: int, why: str) -> None:
        """Refuse the first value for which ``bad`` is true."""
        import pyarrow.compute as pc

        row = pc.index(bad, True).as_py()
        if row >= 0:
            message = f"column `{self.column.name}`, row {done + row + 1}: `{_shown(values[row])}`: {why}"
            raise DataError(message, "convert it in the SELECT, or widen the column")

    def _as_text(self, values: pa.Array) -> pa.Array:
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = self.kind.kind
        if kind == "boolean":
            return values.cast(pa.int8()).cast(pa.string())
        if self.kind.native == "year":
            return pc.utf8_lpad(values.cast(pa.string()), 4, "0")  # as texts, 0 is the year 2000 and 0000 is 0
        if kind == "bytes":
            return to_hex(values)
        if kind == "timestamptz":
            return values.cast(pa.timestamp("us")).cast(pa.string())
        if kind == "uuid":
            return pc.ascii_lower(values)
        if kind == "numeric" and self.kind.precision is not None:
            return _plain_decimals(values.cast(pa.string()))
        if kind == "null":
            return values.cast(pa.string())
        return values if kind in (*TEXT_KINDS, "numeric") else values.cast(pa.string())


def _shown(scalar: pa.Scalar) -> str:
    try:
        return shorten(str(scalar))
    except (OverflowError, ValueError):
        return f"{scalar.value} ({scalar.type} since 1970)"


def _is_set(text: str, items: tuple[str, ...]) -> bool:
    parts = text.split(",") if text else []
    return parts == [item for item in items if item in parts]


def _plain_decimals(texts: pa.Array) -> pa.Array:
    """Decimals without an exponent."""
    import decimal

    import pyarrow as pa
    import pyarrow.compute as pc

    if not pc.any(pc.match_substring(texts, "E")).as_py():
        return texts
    plain = [f"{decimal.Decimal(text):f}" if text and "E" in text else text for text in texts.to_pylist()]
    return pa.array(plain, pa.string())


def to_hex(values: pa.Array) -> pa.Array:
    """Bytes in hexadecimal, the whole array in one step."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not len(values):
        return pa.array([], pa.string())
    filled = pc.fill_null(values, b"")
    text = binascii.hexlify(b"".join(data_of(filled)))
    lengths = pc.multiply(pc.cast(pc.binary_length(filled), pa.int64()), 2)
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cast(pc.cumulative_sum(lengths), pa.int32())])
    made = pa.Array.from_buffers(pa.string(), len(values), [None, offsets.buffers()[1], pa.py_buffer(text)])
    return made if not values.null_count else pc.if_else(pc.is_valid(values), made, pa.scalar(None, pa.string()))


def data_of(values: pa.Array) -> list[Any]:
    """The characters of a string or binary array without nulls, whatever slice it is."""
    import struct

    _, offsets, data = values.buffers()
    if data is None or not len(values):
        return []
    view = memoryview(offsets)
    first = struct.unpack_from("=i", view, values.offset * 4)[0]
    last = struct.unpack_from("=i", view, (values.offset + len(values)) * 4)[0]
    return [memoryview(data)[first:last]]


_ESCAPES = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\0", "\\0"))


def as_field(texts: pa.Array, kind: DataType) -> pa.Array:
    r"""Strings as fields of ``LOAD DATA``: NULL is ``\N``, what ends fields and lines is escaped."""
    import pyarrow.compute as pc

    if kind.kind in TEXT_KINDS or kind.kind == "numeric":
        for plain, escaped in _ESCAPES:
            if pc.any(pc.match_substring(texts, plain)).as_py():
                texts = pc.replace_substring(texts, plain, escaped)
    return pc.fill_null(texts, NULL) if texts.null_count else texts


def as_value(texts: pa.Array, kind: DataType) -> pa.Array:
    """Strings as values of an INSERT; backslashes escape, as the session's ``sql_mode`` has it."""
    import pyarrow.compute as pc

    if kind.kind == "bytes":
        texts = pc.binary_join_element_wise("X'", texts, "'", "")
    elif kind.kind in QUOTED or (kind.kind == "numeric" and kind.precision is None):
        for plain, escaped in (("\\", "\\\\"), ("'", "\\'"), ("\0", "\\0")):
            if pc.any(pc.match_substring(texts, plain)).as_py():
                texts = pc.replace_substring(texts, plain, escaped)
        texts = pc.binary_join_element_wise("'", texts, "'", "")
    elif kind.kind not in (*INTEGER_KINDS, "boolean", "numeric", "float", "double", "null"):
        message = f"no value of {kind} can be written into a statement"
        raise DataError(message)
    return pc.fill_null(texts, "NULL") if texts.null_count else texts
