"""DuckDB's types and statements.

How the kinds of `DataType` are stored: every integer kind, float, double, boolean, bytes, date, time, interval,
uuid, arrays, structs and maps have a type of their own. ``string(n)`` and text are ``VARCHAR`` (DuckDB ignores a
length); json and jsonb are ``JSON``; ``numeric`` up to 38 digits is ``DECIMAL``, beyond that or without a precision
it is text; times of nine digits are ``TIMESTAMP_NS`` and ``TIMESTAMPTZ_NS``. What has no kind (``HUGEINT``, ``ENUM``,
``BIT``, ``TIME WITH TIME ZONE``, ``TIME_NS``, fixed arrays, ...) keeps its spelling on the way from DuckDB to DuckDB.
"""

from __future__ import annotations

import datetime as dt
import decimal
from typing import TYPE_CHECKING, ClassVar

from ematix_nb.backends.base import Stored, Verdict
from ematix_nb.declare.data_types import MAX_DECIMAL128, NANOSECONDS, TEXT, DataType
from ematix_nb.sql.dialect import Dialect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ematix_nb.declare.spec import TableRef

ONE_WAY = ("UNION", "VARIANT")
"""Types whose values can be read as text or JSON but not be made from it again."""


class DuckDBDialect(Dialect):
    """How DuckDB spells things."""

    name: ClassVar[str] = "duckdb"
    type_names: ClassVar[dict[str, str]] = {
        "tinyint": "TINYINT",
        "smallint": "SMALLINT",
        "integer": "INTEGER",
        "bigint": "BIGINT",
        "utinyint": "UTINYINT",
        "usmallint": "USMALLINT",
        "uinteger": "UINTEGER",
        "ubigint": "UBIGINT",
        "float": "FLOAT",
        "double": "DOUBLE",
        "numeric": "DECIMAL",
        "boolean": "BOOLEAN",
        "text": "VARCHAR",
        "string": "VARCHAR",
        "json": "JSON",
        "jsonb": "JSON",
        "uuid": "UUID",
        "bytes": "BLOB",
        "date": "DATE",
        "time": "TIME",
        "timestamp": "TIMESTAMP",
        "timestamptz": "TIMESTAMP WITH TIME ZONE",
        "interval": "INTERVAL",
        "null": "VARCHAR",
    }

    now_seconds: ClassVar[str] = "epoch(get_current_timestamp())"

    def store(self, kind: DataType) -> Stored:
        """DuckDB's own spellings stay; others travel as what their kind says."""
        if kind.native and kind.system == self.name:
            return self._store_own(kind)
        if kind.native:
            stored = self.store(kind.logical)
            reason = stored.reason or f"`{kind.native}` of {kind.system} is kept as {stored.type}"
            return Stored(stored.type, Verdict.WIDENED, reason)
        if kind.kind == "numeric":
            return self._store_numeric(kind)
        if kind.kind in ("timestamp", "timestamptz"):
            digits = NANOSECONDS if (kind.precision or 0) >= NANOSECONDS else None
            return Stored(DataType(kind.kind, precision=digits))
        if kind.kind in ("string", "null"):
            reason = "VARCHAR has no length" if kind.kind == "string" else "only NULLs were seen"
            return Stored(TEXT, Verdict.WIDENED, reason)
        if kind.kind == "jsonb":
            return Stored(DataType("json"))
        if kind.kind in ("array", "map", "struct"):
            return self._store_nested(kind)
        return Stored(DataType(kind.kind))

    def _store_own(self, kind: DataType) -> Stored:
        if kind.native.startswith(ONE_WAY):
            return Stored(kind.logical, Verdict.WIDENED, f"`{kind.native}` is kept as {kind.logical}")
        return Stored(kind)

    def _store_numeric(self, kind: DataType) -> Stored:
        if kind.precision is None:
            return Stored(TEXT, Verdict.WIDENED, "DECIMAL needs a precision: kept as text")
        scale = kind.scale or 0
        precision = max(kind.precision - min(scale, 0), scale)
        if precision > MAX_DECIMAL128:
            return Stored(TEXT, Verdict.WIDENED, f"DECIMAL has at most {MAX_DECIMAL128} digits: kept as text")
        stored = DataType("numeric", precision=precision, scale=max(scale, 0))
        return Stored(stored) if precision == kind.precision else Stored(stored, Verdict.WIDENED, f"kept as {stored}")

    def _store_nested(self, kind: DataType) -> Stored:
        parts = [part for part in (kind.key, kind.item) if part is not None]
        stored = {id(part): self.store(part) for part in (*parts, *(inner for _, inner in kind.fields))}
        worst = next((one for one in stored.values() if one.verdict is not Verdict.EXACT), None)
        made = DataType(
            kind.kind,
            item=stored[id(kind.item)].type if kind.item is not None else None,
            key=stored[id(kind.key)].type if kind.key is not None else None,
            fields=tuple((name, stored[id(inner)].type) for name, inner in kind.fields),
        )
        return Stored(made) if worst is None else Stored(made, worst.verdict, worst.reason)

    def type_sql(self, kind: DataType) -> str:
        """The type's name in a definition."""
        if kind.native and kind.system == self.name:
            return kind.native
        if kind.kind == "timestamp" and (kind.precision or 0) >= NANOSECONDS:
            return "TIMESTAMP_NS"
        if kind.kind == "timestamptz" and (kind.precision or 0) >= NANOSECONDS:
            return "TIMESTAMPTZ_NS"
        if kind.kind == "string":
            return self.type_names["text"]
        if kind.kind == "numeric" and kind.precision is None:
            return self.type_names["text"]
        if kind.kind == "struct":
            return (
                "STRUCT(" + ", ".join(f"{self.quote(name)} {self.type_sql(part)}" for name, part in kind.fields) + ")"
            )
        if kind.kind == "map" and kind.key is not None and kind.item is not None:
            return f"MAP({self.type_sql(kind.key)}, {self.type_sql(kind.item)})"
        return super().type_sql(kind)

    def _literal_text(self, value: object) -> str:
        if isinstance(value, bytes):
            return f"unhex('{value.hex()}')"
        if isinstance(value, decimal.Decimal):
            return f"'{value:f}'"
        if isinstance(value, dt.timedelta):
            return f"to_microseconds({value // dt.timedelta(microseconds=1)})"
        return super()._literal_text(value)

    def by_code_point(self, expression: str) -> str:
        """Without the collation of the column, and without the session's own."""
        return f'({expression} COLLATE "C")'

    def comparable(self, expression: str, kind: DataType) -> str:
        """Intervals as text: DuckDB holds one month and 30 days for equal."""
        return self.as_text(expression, kind) if kind.kind == "interval" else expression

    def as_text(self, expression: str, kind: DataType) -> str:
        """The value as text; bytes in hexadecimal."""
        return f"hex({expression})" if kind.kind == "bytes" else super().as_text(expression, kind)

    def sha256(self, text: str) -> str:
        """SHA-256 of a text expression (UTF-8), as bytes."""
        return f"unhex(sha256({text}))"

    def unique_index(self, ref: TableRef, name: str, columns: Sequence[str], where: str = "") -> str:
        """Make a unique index; empty when it would be partial: DuckDB has none of those."""
        return "" if where else super().unique_index(ref, name, columns)


DIALECT = DuckDBDialect()
