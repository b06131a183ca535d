"""How DataFusion spells things.

Unquoted names are folded to lower case: a column ``Order`` is reached as ``"Order"`` only. A number with a point in
the user's text is a double; an exact one is written ``CAST('0.1' AS DECIMAL(10, 2))``.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re
from typing import TYPE_CHECKING, ClassVar

from ematix_nb.backends.base import Stored
from ematix_nb.declare.data_types import INTEGER_KINDS, MAX_DECIMAL128, NANOSECONDS, DataType
from ematix_nb.sql.dialect import Dialect

if TYPE_CHECKING:
    from ematix_nb.declare.spec import Column

_PLAIN = re.compile(r"\w+(\.\w+)?")
"""A table, or one in a folder."""


class DataFusionDialect(Dialect):
    """Quoting, literals and types of the engine for sources without an SQL of their own."""

    name: ClassVar[str] = "datafusion"
    limit_keeps_order: ClassVar[bool] = False
    """An outer LIMIT drops the ORDER BY inside, and reads whichever file is listed first."""
    type_names: ClassVar[dict[str, str]] = {
        "tinyint": "TINYINT",
        "smallint": "SMALLINT",
        "integer": "INTEGER",
        "bigint": "BIGINT",
        "utinyint": "TINYINT UNSIGNED",
        "usmallint": "SMALLINT UNSIGNED",
        "uinteger": "INTEGER UNSIGNED",
        "ubigint": "BIGINT UNSIGNED",
        "float": "REAL",
        "double": "DOUBLE",
        "numeric": "DECIMAL",
        "boolean": "BOOLEAN",
        "text": "VARCHAR",
        "string": "VARCHAR",
        "json": "VARCHAR",
        "jsonb": "VARCHAR",
        "uuid": "VARCHAR",
        "bytes": "BYTEA",
        "date": "DATE",
        "time": "TIME",
        "timestamp": "TIMESTAMP(6)",
        "timestamptz": "TIMESTAMP(6) WITH TIME ZONE",
        "interval": "INTERVAL",
    }
    _arrow_names: ClassVar[dict[str, str]] = {
        "timestamp": "Timestamp({unit}, None)",
        "timestamptz": 'Timestamp({unit}, Some("UTC"))',
        "time": "Time64({unit})",
    }

    def named(self, thing: str) -> str:
        """Also a path or a pattern: ``orders/*.parquet``, ``a.b.csv``."""
        return super().named(thing) if _PLAIN.fullmatch(thing) or thing.startswith('"') else self.quote(thing)

    def store(self, kind: DataType) -> Stored:
        """Everything travels as Arrow; unconstrained numbers as text."""
        if kind.native or (kind.kind == "numeric" and kind.precision is None):
            return Stored(DataType("text"))
        return Stored(kind)

    def type_sql(self, kind: DataType) -> str:
        """The type's name in a cast."""
        if kind.kind == "string":
            return self.type_names["string"]
        return super().type_sql(kind)

    def literal(self, value: object, kind: DataType | None = None) -> str:
        """A value as SQL text with exactly the Arrow type of its column, so that a comparison reaches the scan."""
        if value is None or kind is None:
            return self._literal_text(value)
        if kind.kind in self._arrow_names:
            unit = "Nanosecond" if (kind.precision or 0) >= NANOSECONDS else "Microsecond"
            text = value.isoformat() if isinstance(value, (dt.datetime, dt.time)) else str(value)
            if isinstance(value, dt.datetime) and value.tzinfo is not None:
                text = value.astimezone(dt.UTC).isoformat()
            arrow = self._arrow_names[kind.kind].format(unit=unit)
            return f"arrow_cast({self._literal_text(text)}, '{arrow}')"
        if kind.kind == "numeric" and kind.precision is not None:
            wide = "Decimal128" if kind.precision <= MAX_DECIMAL128 else "Decimal256"
            digits = format(value, "f") if isinstance(value, decimal.Decimal) else str(value)
            return f"arrow_cast({self._literal_text(digits)}, '{wide}({kind.precision}, {kind.scale or 0})')"
        if kind.kind in INTEGER_KINDS:
            return f"CAST('{value}' AS {self.type_sql(kind)})"
        if isinstance(value, (bytes, bytearray)):
            return f"decode('{bytes(value).hex()}', 'hex')"
        return super().literal(value, kind)

    def _literal_text(self, value: object) -> str:
        if isinstance(value, float) and not math.isfinite(value):
            return f"CAST('{'NaN' if math.isnan(value) else 'inf' if value > 0 else '-inf'}' AS DOUBLE)"
        return super()._literal_text(value)

    def is_nan(self, expression: str, kind: DataType) -> str:  # noqa: ARG002 - as the base class
        """True for NaN, which is equal to nothing here."""
        return f"isnan({expression})"

    def as_text(self, expression: str, kind: DataType) -> str:
        """The value as text, for hashes and samples."""
        if kind.kind == "bytes":
            return f"encode({expression}, 'hex')"
        return f"CAST({expression} AS VARCHAR)"

    def row_hash(self, columns: object, prefix: str = "") -> str:
        """SHA-256 over the length-prefixed texts; lengths in characters."""
        named: tuple[Column, ...] = tuple(columns)  # type: ignore[arg-type]  # the base says Sequence[Column]
        return super().row_hash(named, prefix).replace("length(", "character_length(")

    def sha256(self, text: str) -> str:
        """SHA-256 of a text expression (UTF-8), as bytes."""
        return f"sha256({text})"
