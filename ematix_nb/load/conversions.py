"""From the type of a source column to the type of a target column: the verdict, and the cast of a batch.

The verdict is decided before a run, from the types alone. ``EXACT`` with the
reason "each value is checked" means that the run refuses the first value that
does not fit, by column, row and value; no value is ever changed silently.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import Verdict
from ematix_nb.declare.data_types import INTEGER_KINDS, NESTED_KINDS, DataType, to_arrow
from ematix_nb.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

CHECKED = "each value is checked"
INTEGER_RANGE = {
    "tinyint": (-(2**7), 2**7 - 1),
    "smallint": (-(2**15), 2**15 - 1),
    "integer": (-(2**31), 2**31 - 1),
    "bigint": (-(2**63), 2**63 - 1),
    "utinyint": (0, 2**8 - 1),
    "usmallint": (0, 2**16 - 1),
    "uinteger": (0, 2**32 - 1),
    "ubigint": (0, 2**64 - 1),
}
TEXT_LIKE = ("text", "string", "json", "jsonb", "uuid")
FLOATS = ("float", "double")
CHECKED_KINDS = ("timestamp", "timestamptz", "time", "bytes", "array", "struct", "map")
"""Kinds whose types differ by what they hold at most."""
LONGEST_SHOWN = 80
FEW = 8
"""Values that are looked at one by one where not all of them fit."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """What happens to the values of one column."""

    verdict: Verdict
    reason: str = ""


EXACT = Conversion(Verdict.EXACT)
EACH_CHECKED = Conversion(Verdict.EXACT, CHECKED)


def _refused(reason: str) -> Conversion:
    return Conversion(Verdict.REFUSED, reason)


def _lossy(reason: str) -> Conversion:
    return Conversion(Verdict.LOSSY, reason)


def _widened(reason: str) -> Conversion:
    return Conversion(Verdict.WIDENED, reason)


def conversion(source: DataType, target: DataType) -> Conversion:
    """The verdict for values of ``source`` in a column of ``target``.

    Example:
        >>> conversion(DataType("integer"), DataType("bigint")).verdict.value
        'widened'
        >>> conversion(DataType("double"), DataType("numeric", precision=10, scale=2)).verdict.value
        'lossy'
        >>> conversion(DataType("timestamp"), DataType("timestamptz")).verdict.value
        'refused'
    """
    if source == target or (source.logical == target.logical and not target.native):
        return EXACT
    if source.kind == "null":
        return EXACT
    if target.kind in TEXT_LIKE:
        return _to_text(source, target)
    if source.kind in TEXT_LIKE or (source.kind == "numeric" and source.precision is None):
        return _from_text(source, target)
    if source.kind in INTEGER_KINDS:
        return _from_integer(source, target)
    if source.kind in FLOATS:
        return _from_float(source, target)
    if source.kind == "numeric":
        return _from_numeric(source, target)
    return _from_other(source, target)


def _to_text(source: DataType, target: DataType) -> Conversion:
    if source.kind == "bytes":
        return _refused("bytes are not text")
    if target.native and target.native != source.native:
        return EACH_CHECKED
    if target.kind == "string":
        short = source.kind == "string" and source.length is not None and source.length <= (target.length or 0)
        return EXACT if short else EACH_CHECKED
    if target.kind == "uuid" and source.kind != "uuid":
        return EACH_CHECKED
    if target.kind in ("json", "jsonb") and source.kind not in ("json", "jsonb", *NESTED_KINDS):
        return EACH_CHECKED
    if source.kind in TEXT_LIKE:
        return EXACT if target.kind == "text" or {source.kind, target.kind} <= {"json", "jsonb"} else EACH_CHECKED
    return _widened("as text")


def _from_text(source: DataType, target: DataType) -> Conversion:
    if target.kind in ("bytes", *NESTED_KINDS, "interval"):
        return _refused(f"{source} does not become {target} by itself")
    if target.kind == "numeric" and target.precision is None:
        return EACH_CHECKED if source.kind != "numeric" else EXACT
    return EACH_CHECKED


def _from_integer(source: DataType, target: DataType) -> Conversion:
    if target.kind in INTEGER_KINDS:
        low, high = INTEGER_RANGE[source.kind]
        least, most = INTEGER_RANGE[target.kind]
        return _widened("a larger integer") if least <= low and high <= most else EACH_CHECKED
    if target.kind in FLOATS:
        return EACH_CHECKED
    if target.kind == "numeric":
        return _widened("as a number with scale")
    return _refused(f"{source} does not become {target} by itself")


def _from_float(source: DataType, target: DataType) -> Conversion:
    if target.kind == "double":
        return _widened("a larger float")
    if target.kind == "float":
        return _lossy("half the digits")
    if target.kind == "numeric":
        return _lossy("binary fractions are not decimal ones")
    if target.kind in INTEGER_KINDS:
        return EACH_CHECKED
    return _refused(f"{source} does not become {target} by itself")


def _from_numeric(source: DataType, target: DataType) -> Conversion:
    if target.kind == "numeric":
        if target.precision is None:
            return _widened("a number without limits")
        whole = (source.precision or 0) - (source.scale or 0)
        room = (target.precision or 0) - (target.scale or 0)
        fits = whole <= room and (source.scale or 0) <= (target.scale or 0)
        return _widened("a larger number") if fits else EACH_CHECKED
    if target.kind in FLOATS:
        return _lossy("decimal fractions are not binary ones")
    if target.kind in INTEGER_KINDS:
        return EACH_CHECKED
    return _refused(f"{source} does not become {target} by itself")


def _from_other(source: DataType, target: DataType) -> Conversion:
    kinds = (source.kind, target.kind)
    if kinds in (("timestamp", "timestamptz"), ("timestamptz", "timestamp")):
        return _refused("one has a time zone, the other has none; convert it in the SELECT (AT TIME ZONE ...)")
    if source.kind == target.kind and source.kind in CHECKED_KINDS:
        return EACH_CHECKED
    if kinds == ("date", "timestamp"):
        return _widened("midnight of the day")
    if kinds in (("timestamp", "date"), ("timestamptz", "date")):
        return _lossy("the time of day")
    if source.kind == "boolean" and target.kind in INTEGER_KINDS:
        return _widened("0 and 1")
    return _refused(f"{source} does not become {target} by itself")


def caster(name: str, source: DataType, target: DataType) -> Callable[[pa.Array, int], pa.Array]:
    """A function that casts one column of a batch; its second argument is the number of rows before the batch.

    Raises:
        DataError: From the function, for the first value that does not fit: column, row (from 1) and value.
    """
    import pyarrow as pa

    wanted = to_arrow(target)

    def cast(values: pa.Array, before: int) -> pa.Array:
        try:
            result = _cast(values, source, target, wanted)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as exc:
            raise _bad_value(name, values, before, source, target, wanted) from exc
        if target.kind == "string" and target.length:
            _check_length(name, result, before, target.length)
        if target.kind == "uuid" and source.kind != "uuid":
            _check_uuid(name, result, before)
        return result

    return cast


def misfits(name: str, source: DataType, target: DataType) -> Callable[[pa.Array, int], Iterator[tuple[int, str]]]:
    """A function that finds the values of a column that do not fit: their rows in the batch, and why, in no order.

    Its second argument is the number of rows before the batch.
    """
    import pyarrow as pa

    if source.kind in INTEGER_KINDS and target.kind in INTEGER_KINDS:
        return functools.partial(_beyond, name, source, target)
    wanted = to_arrow(target)
    cast = caster(name, source, target)
    checks = target.kind == "uuid" or bool(target.kind == "string" and target.length)

    def fit(values: pa.Array) -> bool:
        try:
            cast(values, 0) if checks else _cast(values, source, target, wanted)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError, DataError):
            return False
        return True

    def find(values: pa.Array, before: int) -> Iterator[tuple[int, str]]:
        left = [(0, len(values))]
        while left:
            start, rows = left.pop()
            if rows > FEW and not fit(values.slice(start, rows)):
                half = rows // 2
                left += [(start + half, rows - half), (start, half)]
            for row in range(start, start + rows) if rows <= FEW else ():
                try:
                    cast(values.slice(row, 1), before + row)
                except DataError as error:
                    yield row, error.what

    return find


def _beyond(name: str, source: DataType, target: DataType, values: pa.Array, before: int) -> Iterator[tuple[int, str]]:
    """The whole numbers beyond the range of a smaller type."""
    import pyarrow.compute as pc

    (low, high), (least, most) = INTEGER_RANGE[source.kind], INTEGER_RANGE[target.kind]
    far = pc.or_(pc.less(values, max(low, least)), pc.greater(values, min(high, most)))
    for row in pc.indices_nonzero(pc.fill_null(far, False)).to_pylist():
        yield row, _misfit(name, values[row], before + row + 1, target)


def nulls(target: DataType) -> Callable[[pa.Array, int], pa.Array]:
    """A function like that of `caster`, for a column that holds no value."""
    import pyarrow as pa

    wanted = to_arrow(target)
    return lambda values, _before: pa.nulls(len(values), wanted)


def _cast(values: pa.Array, source: DataType, target: DataType, wanted: pa.DataType) -> pa.Array:
    import pyarrow as pa
    import pyarrow.types as pt

    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if values.type == wanted:
        return values
    if pt.is_dictionary(values.type):
        values = values.dictionary_decode()
    if source.kind in NESTED_KINDS and target.kind in TEXT_LIKE:
        return _as_json(values)
    if source.kind == "interval" and target.kind in TEXT_LIKE:
        texts = [None if value is None else iso_interval(value) for value in values.to_pylist()]
        return pa.array(texts, pa.string(), from_pandas=False)
    if pt.is_string(values.type) and pt.is_integer(wanted):
        return _whole(values, wanted)
    if pt.is_integer(values.type) and pt.is_decimal(wanted):
        return values.cast(pa.decimal128(38, 0) if wanted.scale == 0 else pa.decimal256(76, wanted.scale)).cast(wanted)
    if pt.is_floating(values.type) and pt.is_floating(wanted) and wanted.bit_width < values.type.bit_width:
        return values.cast(wanted, safe=False)
    if pt.is_timestamp(values.type) and pt.is_date(wanted):
        return values.cast(wanted, safe=False)
    return values.cast(wanted)


def _whole(values: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Texts as whole numbers, when that is all they say: ``007`` would lose its zeros."""
    result = values.cast(wanted)
    if not result.cast(values.type).equals(values):
        message = "a text is not the plain form of a whole number"
        raise ValueError(message)
    return result


def _as_json(values: pa.Array) -> pa.Array:
    import pyarrow as pa

    texts = [None if v is None else json.dumps(v, default=plain_text, ensure_ascii=False) for v in values.to_pylist()]
    return pa.array(texts, pa.string(), from_pandas=False)


def plain_text(value: Any) -> str:
    """A value that JSON lacks, as text: bytes as hexadecimal digits, times in ISO-8601."""
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


def iso_interval(value: Any) -> str:
    """A month-day-nano interval as ISO-8601 text (``P1M2DT3.5S``); months and days are never turned into seconds."""
    seconds, nanos = divmod(abs(value.nanoseconds), 10**9)
    sign = "-" if value.nanoseconds < 0 else ""
    fraction = f".{nanos:09d}".rstrip("0") if nanos else ""
    return f"P{value.months}M{value.days}DT{sign}{seconds}{fraction}S"


def _bad_value(
    name: str, values: pa.Array, before: int, source: DataType, target: DataType, wanted: pa.DataType
) -> DataError:
    import pyarrow as pa

    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _cast(values.slice(low, middle - low), source, target, wanted)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError):
            high = middle
        else:
            low = middle
    if not len(values):
        return DataError(f"column `{name}` ({source}) does not go into {target}", "cast it in the SELECT")
    return DataError(
        _misfit(name, values[low], before + low + 1, target),
        "convert it in the SELECT, or declare the column with a type that holds it",
    )


def _misfit(name: str, value: pa.Scalar, row: int, target: DataType) -> str:
    return f"column `{name}`, row {row}: {_shown(value)[:LONGEST_SHOWN]!r} does not fit {target}"


def _shown(scalar: pa.Scalar) -> str:
    """A value for a message; times beyond Python's years as their number."""
    try:
        return str(scalar)
    except (OverflowError, ValueError):
        return f"{scalar.value} ({scalar.type} since 1970)"


def _check_length(name: str, values: pa.Array, before: int, length: int) -> None:
    import pyarrow.compute as pc

    too_long = pc.greater(pc.utf8_length(values), length)
    if pc.any(too_long).as_py():
        index = pc.index(too_long, True).as_py()
        message = (
            f"column `{name}`, row {before + index + 1}: a text of {len(values[index].as_py())} characters"
            f" does not fit string({length})"
        )
        raise DataError(message, "make the column longer, or use the normalizer truncate()")


def _check_uuid(name: str, values: pa.Array, before: int) -> None:
    import pyarrow.compute as pc

    good = pc.match_substring_regex(
        values, "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
    )
    bad = pc.invert(good)
    if pc.any(bad).as_py():
        index = pc.index(bad, True).as_py()
        message = f"column `{name}`, row {before + index + 1}: {str(values[index])[:LONGEST_SHOWN]!r} is not a UUID"
        raise DataError(message, "declare the column as Text, or correct the value in the SELECT")
