"""Which column types the file formats hold, and the types as JSON for manifests and file metadata."""

from __future__ import annotations

from typing import Any

from ematix_nb.backends.base import Stored, Verdict
from ematix_nb.declare.data_types import MAX_DECIMAL128, NESTED_KINDS, TEXT, DataType
from ematix_nb.declare.spec import Column

_SIGNED = {
    "utinyint": DataType("smallint"),
    "usmallint": DataType("integer"),
    "uinteger": DataType("bigint"),
    "ubigint": DataType("numeric", precision=20, scale=0),
}
_PARTITION_KINDS = ("text", "string", "date", "boolean", "uuid")


def store(kind: DataType, file_format: str) -> Stored:
    """How a format stores values of a type.

    Parquet holds all kinds but intervals. ORC has no unsigned integers, no times of day and decimals of 38 digits;
    each time is checked to lie in the years that can be read back. CSV and JSONL hold text: numbers, truth values,
    dates and times in ISO form are exact (the manifest keeps the declared types, and our reader restores them); bytes
    become base64.

    Args:
        kind: The column's type.
        file_format: ``parquet``, ``csv``, ``jsonl`` or ``orc``.

    Example:
        >>> store(DataType("array", item=DataType("integer")), "csv").verdict.value
        'refused'
    """
    if kind.native:
        plain = kind.logical if kind.kind != "text" else TEXT
        inner = store(plain, file_format)
        if inner.verdict is Verdict.REFUSED:
            return inner
        return Stored(inner.type, Verdict.WIDENED, f"files have no type `{kind.native}`; kept as {inner.type}")
    if kind.kind == "interval" or (kind.kind == "numeric" and kind.precision is None):
        return Stored(TEXT, Verdict.WIDENED, f"files have no type for {kind}; kept as text")
    if kind.kind in NESTED_KINDS:
        return _nested(kind, file_format)
    if file_format == "orc" and (found := _orc(kind)) is not None:
        return found
    if kind.kind == "bytes" and file_format in ("csv", "jsonl"):
        return Stored(kind, Verdict.WIDENED, "kept as base64 text in the file")
    if kind.kind == "null":
        return Stored(TEXT, Verdict.WIDENED, "a column without a type is kept as text")
    return Stored(kind)


def _orc(kind: DataType) -> Stored | None:
    """The nearest type of ORC for one that it does not have."""
    if kind.kind in _SIGNED:
        return Stored(_SIGNED[kind.kind], Verdict.WIDENED, "ORC has no unsigned integers")
    if kind.kind == "time":
        return Stored(TEXT, Verdict.WIDENED, "ORC has no times of day; kept as text")
    if kind.kind == "numeric" and ((kind.precision or 0) > MAX_DECIMAL128 or (kind.scale or 0) < 0):
        return Stored(TEXT, Verdict.WIDENED, f"ORC has no {kind}; kept as text")
    return None


def _nested(kind: DataType, file_format: str) -> Stored:
    if file_format == "csv":
        return Stored(kind, Verdict.REFUSED, "CSV holds no nested values; make it JSON text, or write parquet or jsonl")
    if file_format == "jsonl" and kind.kind == "map":
        return Stored(kind, Verdict.REFUSED, "JSONL holds no maps with typed keys; write parquet")
    parts = [inner for inner in (kind.item, kind.key, *(field for _, field in kind.fields)) if inner is not None]
    verdicts = [store(part, file_format) for part in parts]
    worse = next((found for found in verdicts if found.verdict is not Verdict.EXACT or found.type != found.type), None)
    if worse is None:
        return Stored(kind)
    if worse.verdict is Verdict.REFUSED or worse.type not in parts:
        return Stored(kind, Verdict.REFUSED, f"inside {kind.kind}: {worse.reason}")
    return Stored(kind, Verdict.WIDENED, worse.reason)


def can_partition(kind: DataType) -> bool:
    """True when values of a type can be folder names."""
    from ematix_nb.declare.data_types import INTEGER_KINDS

    return kind.kind in _PARTITION_KINDS or kind.kind in INTEGER_KINDS


def type_to_json(kind: DataType) -> dict[str, Any]:
    """A type as plain JSON.

    Example:
        >>> type_to_json(DataType("numeric", precision=10, scale=2))
        {'kind': 'numeric', 'precision': 10, 'scale': 2}
    """
    found: dict[str, Any] = {"kind": kind.kind}
    for name in ("length", "precision", "scale"):
        if getattr(kind, name) is not None:
            found[name] = getattr(kind, name)
    for name in ("item", "key"):
        if getattr(kind, name) is not None:
            found[name] = type_to_json(getattr(kind, name))
    if kind.fields:
        found["fields"] = [[name, type_to_json(inner)] for name, inner in kind.fields]
    return found


def type_from_json(data: dict[str, Any]) -> DataType:
    """The opposite of `type_to_json`."""
    return DataType(
        str(data["kind"]),
        data.get("length"),
        data.get("precision"),
        data.get("scale"),
        type_from_json(data["item"]) if data.get("item") else None,
        type_from_json(data["key"]) if data.get("key") else None,
        tuple((str(name), type_from_json(inner)) for name, inner in data.get("fields", ())),
    )


def columns_to_json(columns: tuple[Column, ...]) -> list[dict[str, Any]]:
    """Names, types and nullability as plain JSON."""
    return [{"name": c.name, "type": type_to_json(c.type), "nullable": c.nullable} for c in columns]


def columns_from_json(data: list[dict[str, Any]]) -> tuple[Column, ...]:
    """The opposite of `columns_to_json`."""
    return tuple(Column(str(c["name"]), type_from_json(c["type"]), bool(c.get("nullable", True))) for c in data)
