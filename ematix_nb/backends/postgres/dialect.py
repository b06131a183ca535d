"""How PostgreSQL spells things."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ematix_nb.backends.base import Stored, Verdict
from ematix_nb.declare.data_types import MAX_DECIMAL256, TEXT, DataType
from ematix_nb.sql.dialect import Dialect

from .capabilities import MAX_IDENTIFIER_BYTES
from .types import MICROSECOND_DIGITS, SYSTEM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ematix_nb.declare.spec import Column, TableRef

MAX_VARCHAR = 10_485_760
SETUP_LOCK_KEY = 0x656D_6174_6978
"""Advisory lock of the state tables: "ematix" in ASCII."""
NANOSECONDS_REFUSED = "times are kept to the microsecond; a value with more digits is refused"
WIDER = {
    "tinyint": DataType("smallint"),
    "utinyint": DataType("smallint"),
    "usmallint": DataType("integer"),
    "uinteger": DataType("bigint"),
    "ubigint": DataType("numeric", precision=20, scale=0),
}


class PostgresDialect(Dialect):
    """PostgreSQL 13 and newer.

    Args:
        encoding: Of the database.
    """

    name: ClassVar[str] = SYSTEM
    max_identifier_bytes: ClassVar[int | None] = MAX_IDENTIFIER_BYTES
    row_order: ClassVar[str] = "ctid"
    tells_inserted: ClassVar[str] = "(t.xmax = 0)"
    now_seconds: ClassVar[str] = "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"
    type_names: ClassVar[dict[str, str]] = {
        "smallint": "smallint",
        "integer": "integer",
        "bigint": "bigint",
        "float": "real",
        "double": "double precision",
        "numeric": "numeric",
        "boolean": "boolean",
        "text": "text",
        "string": "varchar",
        "json": "json",
        "jsonb": "jsonb",
        "uuid": "uuid",
        "bytes": "bytea",
        "date": "date",
        "time": "time",
        "timestamp": "timestamp",
        "timestamptz": "timestamptz",
        "interval": "interval",
    }

    def __init__(self, encoding: str = "UTF8") -> None:
        self._encoding = encoding

    @property
    def text_encoding(self) -> str:
        """The encoding of the database."""
        return self._encoding

    def parameter(self, index: int) -> str:
        """``$1``, ``$2``, ..."""
        return f"${index}"

    def store(self, kind: DataType) -> Stored:
        """How PostgreSQL stores values of a type, with the verdict."""
        if kind.native and kind.system == self.name:
            return Stored(kind)
        if kind.native:
            stored = self.store(kind.logical)
            reason = stored.reason or f"`{kind.native}` of {kind.system} is kept as {stored.type}"
            return Stored(stored.type, _worse(stored.verdict, Verdict.WIDENED), reason)
        if kind.kind in WIDER:
            wider = WIDER[kind.kind]
            return Stored(wider, Verdict.WIDENED, f"PostgreSQL has no {kind.kind}; {wider} holds every value")
        if kind.kind in ("time", "timestamp", "timestamptz") and (kind.precision or 0) > MICROSECOND_DIGITS:
            return Stored(DataType(kind.kind), Verdict.EXACT, NANOSECONDS_REFUSED)
        if kind.kind in ("struct", "map"):
            return Stored(DataType("jsonb"), Verdict.WIDENED, f"a {kind.kind} is kept as JSON")
        if kind.kind == "null":
            return Stored(TEXT, Verdict.WIDENED, "a column that is always NULL is kept as text")
        return self._parametrised(kind)

    def _parametrised(self, kind: DataType) -> Stored:
        if kind.kind == "string" and not 1 <= (kind.length or 0) <= MAX_VARCHAR:
            return Stored(TEXT, Verdict.WIDENED if kind.length else Verdict.EXACT, "text without a limit")
        if kind.kind == "numeric" and kind.precision is not None:
            return _numeric(kind.precision, kind.scale or 0)
        if kind.kind == "array":
            return self._array(kind)
        return Stored(kind)

    def _array(self, kind: DataType) -> Stored:
        item = kind.item or TEXT
        if item.kind in ("array", "struct", "map"):
            return Stored(DataType("jsonb"), Verdict.WIDENED, f"an array of {item.kind} is kept as JSON")
        if item.kind == "interval":
            item = DataType("text", native="interval", system=self.name)
        stored = self.store(item)
        return Stored(DataType("array", item=stored.type), stored.verdict, stored.reason)

    def type_sql(self, kind: DataType) -> str:
        """The type's name; times carry their precision."""
        if kind.kind in ("time", "timestamp", "timestamptz") and kind.precision is not None and not kind.native:
            if kind.precision >= MICROSECOND_DIGITS:
                return self.type_names[kind.kind]
            zone = " with time zone" if kind.kind == "timestamptz" else ""
            return f"{kind.kind.removesuffix('tz')}({kind.precision}){zone}"
        return super().type_sql(kind)

    def literal(self, value: object, kind: DataType | None = None) -> str:
        """A value as SQL text; bytes as hex."""
        if isinstance(value, (bytes, bytearray, memoryview)):
            return f"CAST('\\x{bytes(value).hex()}' AS bytea)"
        return super().literal(value, kind)

    def by_code_point(self, expression: str) -> str:
        """The collation `C` compares the bytes of UTF-8."""
        return f'({expression} COLLATE "C")'

    def comparable(self, expression: str, kind: DataType) -> str:
        """Types without equality (json, xml, points) and native spellings are compared as text."""
        item = kind.item if kind.kind == "array" and kind.item is not None else kind
        if item.kind == "json" or (item.kind == "text" and item.native):
            return f"CAST({expression} AS text)"
        return expression

    def doubtful_keys(self, rows: str, keys: Sequence[str]) -> str:
        """For one key by sorting: a third of the time that a table of as many groups takes."""
        if len(keys) > 1:
            return super().doubtful_keys(rows, keys)
        return f"SELECT 1 FROM {rows} HAVING count(*) > count(DISTINCT {keys[0]})"

    def as_text(self, expression: str, kind: DataType) -> str:
        """The value as text; the same under every setting of the session."""
        if kind.kind == "bytes":
            return f"encode({expression}, 'hex')"
        if kind.kind == "numeric" and kind.precision is None and not kind.native:
            return f"CAST(trim_scale({expression}) AS text)"
        if kind.kind in ("date", "timestamp"):
            return f"replace(to_jsonb({expression}) #>> '{{}}', 'T', ' ')"
        if kind.kind == "timestamptz":
            moment = f"replace(to_jsonb({expression} AT TIME ZONE 'UTC') #>> '{{}}', 'T', ' ')"
            return f"{moment} || CASE WHEN isfinite({expression}) THEN '+00' ELSE '' END"
        if kind.kind == "interval":
            months = f"extract(year FROM {expression}) * 12 + extract(month FROM {expression})"
            seconds = (
                f"extract(hour FROM {expression}) * 3600 + extract(minute FROM {expression}) * 60"
                f" + extract(second FROM {expression})"
            )
            parts = f"{months}, 'mons', extract(day FROM {expression}), 'days', {seconds}, 's'"
            return f"CASE WHEN {expression} IS NOT NULL THEN concat_ws(' ', {parts}) END"
        return super().as_text(expression, kind)

    def row_hash(self, columns: Sequence[Column], prefix: str = "") -> str:
        """SHA-256 over the text of a record: it tells NULL from empty and each value from its neighbours.

        Each value is turned into text once; lengths before the values, as other systems have them, need it twice.
        """
        head = f"{prefix}." if prefix else ""
        texts = [self.as_text(head + self.quote(column.name), column.type) for column in columns]
        return self.sha256(f"CAST(ROW({', '.join(texts)}) AS text)")

    def sha256(self, text: str) -> str:
        """SHA-256 of the UTF-8 bytes."""
        return f"sha256(convert_to({text}, 'UTF8'))"

    def analyze(self, ref: TableRef, names: Sequence[str]) -> str:
        """Tell the planner the size of a fresh staging table and the spread of the columns that it is joined by."""
        return f"ANALYZE {self.table(ref)}" + (f" ({self.columns(names)})" if names else "")

    def truncate(self, ref: TableRef) -> str:
        """Remove all rows at once; rolls back like anything else."""
        return f"TRUNCATE TABLE {self.table(ref)}"

    def setup_lock(self) -> str:
        """Two first runs that race on CREATE ... IF NOT EXISTS fail; this makes one wait until the other commits."""
        return f"SELECT pg_advisory_xact_lock({SETUP_LOCK_KEY})"

    def try_liveness_lock(self, key: int) -> str:
        """An advisory lock of the session (1 got it, 0 somebody else has it)."""
        return f"SELECT CASE WHEN pg_try_advisory_lock({int(key)}) THEN 1 ELSE 0 END"


def _numeric(precision: int, scale: int) -> Stored:
    """Scales outside 0..precision exist only since PostgreSQL 15; wider types without them exist everywhere."""
    if 0 <= scale <= precision:
        return Stored(DataType("numeric", precision=precision, scale=scale))
    wide = precision - scale if scale < 0 else scale
    if wide > MAX_DECIMAL256:
        return Stored(DataType("numeric"), Verdict.WIDENED, "a number without limits holds every value")
    stored = DataType("numeric", precision=wide, scale=max(scale, 0))
    return Stored(stored, Verdict.WIDENED, f"{stored} holds every value")


def _worse(one: Verdict, other: Verdict) -> Verdict:
    order = list(Verdict)
    return max(one, other, key=order.index)
