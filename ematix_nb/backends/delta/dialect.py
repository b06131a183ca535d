"""Which column types Delta tables hold, and how a schema keeps the types that Delta has no word for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import Stored, Verdict
from ematix_nb.backends.files.dialect import type_from_json, type_to_json
from ematix_nb.backends.files.widen import restored
from ematix_nb.declare.data_types import MAX_DECIMAL128, NESTED_KINDS, TEXT, DataType, from_arrow, to_arrow
from ematix_nb.declare.spec import Column
from ematix_nb.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

KEY = b"ematix_nb.type"
"""The field metadata that holds the column type, as in Parquet files."""
MICROSECOND_DIGITS = 6
NO_NANOSECONDS = "Delta keeps microseconds: a value with more digits is refused"
WIDER = {
    "utinyint": DataType("smallint"),
    "usmallint": DataType("integer"),
    "uinteger": DataType("bigint"),
    "ubigint": DataType("numeric", precision=20, scale=0),
}
AS_TEXT = {"time": "Delta has no time of day", "interval": "Delta has no interval", "null": "only NULLs were seen"}


def store(kind: DataType) -> Stored:
    """How Delta stores values of a type.

    Example:
        >>> str(store(DataType("ubigint")).type), store(DataType("interval")).verdict.value
        ('numeric(20,0)', 'widened')
    """
    if kind.native:
        stored = store(kind.logical)
        reason = stored.reason or f"`{kind.native}` of {kind.system} is kept as {stored.type}"
        verdict = stored.verdict if stored.verdict is Verdict.REFUSED else Verdict.WIDENED
        return Stored(stored.type, verdict, reason)
    if kind.kind in WIDER:
        wider = WIDER[kind.kind]
        return Stored(wider, Verdict.WIDENED, f"Delta has no {kind.kind}; {wider} holds every value")
    if kind.kind in AS_TEXT:
        return Stored(TEXT, Verdict.WIDENED, f"{AS_TEXT[kind.kind]}: kept as text")
    if kind.kind in ("timestamp", "timestamptz"):
        if (kind.precision or 0) > MICROSECOND_DIGITS:
            return Stored(DataType(kind.kind), Verdict.EXACT, NO_NANOSECONDS)
        return Stored(DataType(kind.kind))
    if kind.kind == "numeric":
        return _numeric(kind)
    if kind.kind in NESTED_KINDS:
        return _nested(kind)
    return Stored(kind)


def _numeric(kind: DataType) -> Stored:
    if kind.precision is None:
        return Stored(TEXT, Verdict.WIDENED, "a Delta decimal needs a precision: kept as text")
    scale = kind.scale or 0
    precision = max(kind.precision - min(scale, 0), scale)
    if precision > MAX_DECIMAL128:
        return Stored(TEXT, Verdict.WIDENED, f"a Delta decimal has at most {MAX_DECIMAL128} digits: kept as text")
    stored = DataType("numeric", precision=precision, scale=max(scale, 0))
    same = precision == kind.precision and scale >= 0
    return Stored(stored) if same else Stored(stored, Verdict.WIDENED, f"kept as {stored}")


def _nested(kind: DataType) -> Stored:
    if kind.kind == "struct" and not kind.fields:
        return Stored(kind, Verdict.REFUSED, "Delta has no struct without fields")
    parts = [part for part in (kind.item, kind.key, *(inner for _, inner in kind.fields)) if part is not None]
    for part in parts:
        found = store(part)
        if found.verdict is Verdict.REFUSED or to_arrow(found.type) != to_arrow(part):
            reason = found.reason or f"{part} is kept as {found.type}"
            return Stored(kind, Verdict.REFUSED, f"inside {kind.kind}: {reason}")
    names = [name.lower() for name, _ in kind.fields]
    if len(set(names)) < len(names):
        return Stored(kind, Verdict.REFUSED, "fields of a Delta struct may not differ only by case")
    return Stored(kind)


def physical(kind: DataType) -> DataType:
    """The type as which values lie in the table: what Delta has no word for is text there."""
    return from_arrow(to_arrow(kind))


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """The schema of a table with these columns, each with its column type beside it."""
    import pyarrow as pa

    return pa.schema([_field(column) for column in columns])


def _field(column: Column) -> Any:
    import pyarrow as pa

    metadata = {KEY: json.dumps(type_to_json(column.type)).encode()}
    return pa.field(column.name, to_arrow(column.type), metadata=metadata)


def columns_of(schema: pa.Schema, thing: str) -> tuple[Column, ...]:
    """The columns of a table's schema.

    Raises:
        DataError: When a column has a type that no column type holds exactly.
    """
    columns = []
    for field in schema:
        try:
            arrow = to_arrow(from_arrow(field.type))
        except (ValueError, KeyError) as exc:
            message = f"column `{field.name}` of `{thing}` has the type {field.type}, which cannot be read exactly"
            raise DataError(message, "leave it out of the table, or write it as another type") from exc
        declared = (field.metadata or {}).get(KEY)
        kind = restored(type_from_json(json.loads(declared)), arrow) if declared else from_arrow(arrow)
        columns.append(Column(field.name, kind, field.nullable))
    return tuple(columns)
