"""JSONL files: one object a line; nested values stay lists and structs.

What JSON has no form for is text in the file and comes back by the declared type of the manifest: decimals, dates,
times, bytes (base64), and ``"NaN"``, ``"Infinity"``, ``"-Infinity"`` in columns of doubles. Integers are read exactly
or refused by name: beyond 64 bits as decimals, and in columns of doubles only those whose digits a double gives back.
"""

from __future__ import annotations

import io
import itertools
import json
import re
import struct
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import (
    BIGINT,
    BOOLEAN,
    DOUBLE,
    MAX_DECIMAL128,
    NESTED_KINDS,
    TEXT,
    DataType,
    to_arrow,
)
from ematix_nb.errors import DataError

from .capabilities import SAMPLE_ROWS
from .texts import MAX_RECORD_BYTES, from_text, plain, spelled, spelled_type, too_long, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from ematix_nb.declare.spec import Column

    from .config import FileConfig
    from .paths import DataFile

BLOCK_BYTES = 1 << 20
_NULL = DataType("null")
_SPECIAL = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_INT64 = range(-(2**63), 2**63)
_BEYOND_INT64 = DataType("numeric", precision=MAX_DECIMAL128, scale=0)
_EXACT = 2**53
"""Integers up to here are all doubles."""
_LONG_INTEGER = re.compile(rb"[\s:,\[]-?[0-9]{16,}[\s,}\]]")
"""An integer in a JSON text that may lie above."""


def _blocks(file: DataFile) -> Iterator[tuple[int, bytes]]:
    """Whole lines in blocks, each with the number of its first line, from 1."""
    first, rest = 1, bytearray()
    with file.stream() as stream:
        while chunk := _chunk(file, stream):
            cut = chunk.rfind(b"\n") + 1
            if cut == 0:
                rest += chunk
                if len(rest) > MAX_RECORD_BYTES:
                    raise too_long(file, first)
                continue
            block = bytes(rest) + chunk[:cut]
            rest = bytearray(chunk[cut:])
            yield first, block
            first += block.count(b"\n")
    if rest.strip():
        yield first, bytes(rest)


def _chunk(file: DataFile, stream: Any) -> bytes:
    try:
        return bytes(stream.read(BLOCK_BYTES))
    except OSError as exc:
        raise unreadable(file, exc) from exc


def _objects(file: DataFile, first: int, block: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    if first == 1:
        block = block.removeprefix(b"\xef\xbb\xbf")
    for line, raw in enumerate(block.split(b"\n"), first):
        if not raw.strip():
            continue
        try:
            found = json.loads(raw, object_pairs_hook=_pairs)
        except (ValueError, RecursionError) as exc:
            message = f"{file.name}, line {line}: not a JSON object ({str(exc)[:100]})"
            raise DataError(message, "correct the line; a broken last line means that the file was cut off") from exc
        if not isinstance(found, dict):
            message = f"{file.name}, line {line}: expected one JSON object a line, found {type(found).__name__}"
            raise DataError(message, "write one object a line, without an array around them")
        yield line, found


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        message = "a key stands twice"
        raise ValueError(message)
    return found


def infer(file: DataFile, config: FileConfig) -> dict[str, DataType]:
    """Names and types from the first lines of a file; texts stay text, whatever they look like."""
    del config
    columns: dict[str, DataType] = {}
    lines = itertools.chain.from_iterable(_objects(file, first, block) for first, block in _blocks(file))
    for line, found in itertools.islice(lines, SAMPLE_ROWS):
        for name, value in found.items():
            kind = _kind(value)
            common = _common(columns.get(name, _NULL), kind)
            if common is None:
                message = f"{file.name}, line {line}, column `{name}`: {kind} after {columns[name]}"
                raise DataError(message, "make the values of a column one type")
            columns[name] = common
    return {name: _known(kind) for name, kind in columns.items()}


def keys(file: DataFile) -> set[str]:
    """The keys of the first lines."""
    lines = itertools.chain.from_iterable(_objects(file, first, block) for first, block in _blocks(file))
    return {key for _, found in itertools.islice(lines, SAMPLE_ROWS) for key in found}


def _kind(value: Any) -> DataType:
    if value is None:
        return _NULL
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, int):
        return BIGINT if value in _INT64 else _BEYOND_INT64 if abs(value) < 10**MAX_DECIMAL128 else DOUBLE
    if isinstance(value, float):
        return DOUBLE
    if isinstance(value, str):
        return TEXT
    if isinstance(value, list):
        item: DataType | None = _NULL
        for inner in value:
            item = None if item is None else _common(item, _kind(inner))
        return DataType("array", item=item) if item else DataType("json")
    return DataType("struct", fields=tuple((name, _kind(inner)) for name, inner in value.items()))


def _common(left: DataType, right: DataType) -> DataType | None:
    if right in (left, _NULL):
        return left
    if left == _NULL:
        return right
    if {left.kind, right.kind} <= {"bigint", "numeric", "double"}:
        return DOUBLE if DOUBLE in (left, right) else _BEYOND_INT64
    if left.kind == right.kind == "array" and left.item and right.item:
        item = _common(left.item, right.item)
        return DataType("array", item=item) if item else None
    if left.kind == right.kind == "struct":
        fields = dict(left.fields)
        for name, kind in right.fields:
            common = _common(fields.get(name, _NULL), kind)
            if common is None:
                return None
            fields[name] = common
        return DataType("struct", fields=tuple(fields.items()))
    return None


def _known(kind: DataType) -> DataType:
    """Columns and parts without any value in the sample are text."""
    if kind == _NULL:
        return TEXT
    if kind.kind == "array" and kind.item:
        return DataType("array", item=_known(kind.item))
    if kind.kind == "struct":
        return DataType("struct", fields=tuple((name, _known(inner)) for name, inner in kind.fields))
    return kind


def read(
    file: DataFile, wanted: Mapping[str, DataType], names: Sequence[str], config: FileConfig
) -> Iterator[pa.RecordBatch]:
    """The wanted columns of a file in batches; keys that a line does not have are NULL.

    Raises:
        DataError: With file and line: broken JSON, a value of another type, a key that the sample did not have.
    """
    import pyarrow as pa
    import pyarrow.json as arrow_json

    del config
    schema = pa.schema([(name, spelled_type(kind, "jsonl")) for name, kind in wanted.items()])
    others = {name: pa.null() for name in names if name not in wanted}
    options = arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore" if others else "error")
    simple = not any(_needs_care(kind) for kind in wanted.values()) and len(schema) > 0
    doubles = [index for index, kind in enumerate(wanted.values()) if _holds_doubles(kind)]
    reading = arrow_json.ReadOptions(use_threads=False, block_size=BLOCK_BYTES * 64)
    for first, block in _blocks(file):
        if not block.strip():
            continue
        parsed = None
        if simple and len(block) < BLOCK_BYTES * 64:
            try:
                parsed = arrow_json.read_json(io.BytesIO(block), read_options=reading, parse_options=options)
            except (pa.ArrowInvalid, UnicodeDecodeError):  # the careful way below finds the line, or reads it
                parsed = None
            if parsed is not None and _may_be_rounded(parsed, doubles, block):
                parsed = None
        if parsed is None:
            parsed = _careful(file, first, block, wanted, set(names))
        for batch in parsed.to_batches():
            arrays = [
                from_text(batch.column(i), kind, f"{file.name}, from line {first}, column `{name}`")
                for i, (name, kind) in enumerate(wanted.items())
            ]
            yield pa.RecordBatch.from_arrays(arrays, names=list(wanted)) if arrays else batch.select([])


def _needs_care(kind: DataType) -> bool:
    """Types whose JSON form the fast parser does not read, or reads in another way than we write it."""
    if kind.kind in NESTED_KINDS:
        parts = (kind.item, *(inner for _, inner in kind.fields))
        return any(part is not None and (_needs_care(part) or spelled_differs(part)) for part in parts)
    return kind.kind in ("float", "null", "interval")


def _holds_doubles(kind: DataType) -> bool:
    parts = (kind.item, *(inner for _, inner in kind.fields))
    return kind == DOUBLE or any(part is not None and _holds_doubles(part) for part in parts)


def _may_be_rounded(parsed: pa.Table, doubles: list[int], block: bytes) -> bool:
    """Whether the fast parser may have rounded an integer: some double is that large, and some integer is that long."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for index in doubles:
        column = parsed.column(index)
        if pa.types.is_nested(column.type) or (pc.max(pc.abs(column)).as_py() or 0) >= _EXACT:
            return _LONG_INTEGER.search(block) is not None
    return False


def spelled_differs(kind: DataType) -> bool:
    """True when the file holds text where the column holds something else."""
    return not spelled_type(kind, "jsonl").equals(to_arrow(kind))


def _careful(file: DataFile, first: int, block: bytes, wanted: Mapping[str, DataType], known: set[str]) -> pa.Table:
    """The slow and exact way: line by line, every value checked."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {name: [] for name in wanted}
    lines = []
    for line, found in _objects(file, first, block):
        lines.append(line)
        extra = next((key for key in found if key not in known), None)
        if extra is not None:
            place = f"{file.name}, line {line}"
            message = f"{place}: key `{extra[:80]}` is not among the columns of the first {SAMPLE_ROWS} lines"
            raise DataError(message, "declare the columns, or put a line with all keys at the start")
        for name, kind in wanted.items():
            value = found.get(name)
            if not _fits(value, kind):
                raise _misfit(f"{file.name}, line {line}, column `{name}`", value, kind)
            columns[name].append(_special(value, kind))
    arrays = [_array(columns[name], kind, file, lines, name) for name, kind in wanted.items()]
    if not arrays:
        return pa.table({"rows": pa.nulls(len(lines))}).select([])
    return pa.Table.from_arrays(arrays, names=list(wanted))


def _misfit(place: str, value: Any, kind: DataType) -> DataError:
    shown = json.dumps(value, ensure_ascii=False)[:80]
    if isinstance(value, int) and kind.kind in ("float", "double") and not isinstance(value, bool):
        message = f"{place}: {shown} would be rounded, because the column is {kind}"
        return DataError(message, "write integers of this size as text, or only integers in this column")
    message = f"{place}: {shown} is not {kind}"
    return DataError(message, f"the types come from the first {SAMPLE_ROWS} lines: declare the column, or correct it")


def _keeps(value: int, kind: DataType) -> bool:
    """Whether a floating-point number holds an integer: exactly, or as the shortest digits that stand for it.

    Example:
        >>> [_keeps(value, DOUBLE) for value in (2**53 + 1, 2**60, 1152921504606847000, 10**400)]
        [False, True, True, False]
    """
    try:
        found = float(value)
        if kind.kind == "float":
            return int(struct.unpack("f", struct.pack("f", found))[0]) == value
    except OverflowError:
        return False
    return int(found) == value or Decimal(repr(found)) == value


def _fits(value: Any, kind: DataType) -> bool:
    """Whether a JSON value is one of a type, as the file holds it."""
    if value is None:
        return True
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if kind.kind in ("float", "double"):
        other = isinstance(value, float) or (isinstance(value, str) and value in _SPECIAL)
        return other or (is_integer and _keeps(value, kind))
    if kind.kind == "boolean":
        return isinstance(value, bool)
    if kind.kind == "array" and kind.item:
        return isinstance(value, list) and all(_fits(inner, kind.item) for inner in value)
    if kind.kind == "struct":
        fields = dict(kind.fields)
        known = isinstance(value, dict) and all(key in fields for key in value)
        return known and all(_fits(inner, fields[key]) for key, inner in value.items())
    if kind.kind.endswith(("int", "integer")):
        return is_integer
    return isinstance(value, str) or (is_integer and kind.kind == "numeric")


def _special(value: Any, kind: DataType) -> Any:
    """Texts that stand for doubles and, inside nested values, for everything that JSON has no form for."""
    if value is None:
        return None
    if kind.kind in ("float", "double"):
        return float(_SPECIAL.get(value, value)) if isinstance(value, str) else float(value)
    if kind.kind == "numeric":
        return str(value)
    if kind.kind == "array" and kind.item:
        return [_nested(inner, kind.item) for inner in value]
    if kind.kind == "struct":
        return {name: _nested(value.get(name), inner) for name, inner in kind.fields}
    return value


def _nested(value: Any, kind: DataType) -> Any:
    import pyarrow as pa

    if value is None or kind.kind in NESTED_KINDS or not spelled_differs(kind):
        return _special(value, kind)
    return from_text(pa.array([_special(value, kind)], pa.string()), kind, "a nested value")[0].as_py()


def _array(values: list[Any], kind: DataType, file: DataFile, lines: list[int], name: str) -> pa.Array:
    import pyarrow as pa

    wanted = to_arrow(kind) if kind.kind in NESTED_KINDS else spelled_type(kind, "jsonl")
    try:
        return pa.array(values, wanted)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, ValueError) as exc:
        for line, value in zip(lines, values, strict=True):
            try:
                pa.array([value], wanted)
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, ValueError):
                message = f"{file.name}, line {line}, column `{name}`: {str(value)[:80]} does not fit {kind}"
                raise DataError(message, "correct the line, or declare a wider column") from exc
        raise


class Writer:
    """Writes batches to one JSONL file."""

    def __init__(self, sink: Any, columns: Sequence[Column], config: FileConfig) -> None:
        del config
        self._sink = sink
        self._columns = columns

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch."""
        import pyarrow as pa

        if batch.num_rows == 0:
            return
        arrays = [spelled(batch.column(i), column.type, "jsonl") for i, column in enumerate(self._columns)]
        table = pa.Table.from_arrays(arrays, names=[column.name for column in self._columns])
        if self._is_simple(table):
            import polars as pl

            buffer = io.BytesIO()
            frame = pl.from_arrow(table)
            assert isinstance(frame, pl.DataFrame)  # noqa: S101 - narrows the type: a table gives a frame
            frame.write_ndjson(buffer)
            self._sink.write(buffer.getvalue())
            return
        rows = (
            json.dumps(plain(row), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            for row in table.to_pylist()
        )
        self._sink.write("".join(f"{row}\n" for row in rows).encode())

    def _is_simple(self, table: pa.Table) -> bool:
        """True when the fast writer spells every value exactly: plain types, and doubles that are finite."""
        import pyarrow.compute as pc
        import pyarrow.types as pt

        for column in table.columns:
            if pt.is_float64(column.type):
                if pc.all(pc.is_finite(column)).as_py() is False:
                    return False
            elif not (pt.is_integer(column.type) or pt.is_string(column.type) or pt.is_boolean(column.type)):
                return False
        return True

    def close(self) -> None:
        """Nothing is buffered; the sink stays open."""
