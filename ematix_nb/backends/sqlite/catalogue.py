"""SQLite's tables and query columns, as this package names them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import TableInfo
from ematix_nb.declare.data_types import TEXT, DataType
from ematix_nb.declare.spec import Column, TableRef
from ematix_nb.errors import SqlError

from .types import declared, seen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .dialect import SQLiteDialect

    Fetch = Callable[..., list[tuple[Any, ...]]]

STORAGE = ("integer", "real", "text", "blob")
_HIDDEN_GENERATED = (2, 3)


def find(ref: TableRef, dialect: SQLiteDialect, fetch: Fetch) -> tuple[str, str, str] | None:
    """Database, name and kind (``table`` or ``view``) of a table; temporary ones first."""
    database, name = dialect.place(ref)
    for place in [database] if database else ["temp", "main"]:
        rows = fetch(
            f"SELECT name, type FROM {dialect.quote(place)}.sqlite_master "
            "WHERE type IN ('table', 'view') AND name = ? COLLATE NOCASE",
            [name],
        )
        if rows:
            return place, rows[0][0], rows[0][1]
    return None


def names(schema: str | None, dialect: SQLiteDialect, fetch: Fetch) -> list[TableRef]:
    """Tables and views of a database, by name; those whose name begins with ``schema_`` when it is none."""
    database, prefix = ("main", "") if not schema else dialect.place(TableRef(schema, ""))
    rows = fetch(
        f"SELECT name FROM {dialect.quote(database or 'main')}.sqlite_master "
        "WHERE type IN ('table', 'view') AND substr(name, 1, 7) <> 'sqlite_' ORDER BY name"
    )
    found = [row[0] for row in rows if row[0].startswith(prefix)]
    shown = schema if schema and schema.lower() != "main" else None
    return [TableRef(shown, name[len(prefix) :]) for name in found]


def table_info(place: tuple[str, str, str], ref: TableRef, dialect: SQLiteDialect, fetch: Fetch) -> TableInfo:
    """What the catalogue says of a table that exists."""
    database, name, kind = dialect.quote(place[0]), dialect.quote(place[1]), place[2]
    rows = [row for row in fetch(f"PRAGMA {database}.table_xinfo({name})") if row[6] != 1]
    keyed = sorted((row for row in rows if row[5]), key=lambda row: row[5])
    primary = tuple(row[1] for row in keyed)
    is_rowid = len(keyed) == 1 and keyed[0][2].upper() == "INTEGER"
    types = _types(rows, f"{database}.{name}", dialect, fetch)
    keys = [primary] if primary else []
    for index in fetch(f"PRAGMA {database}.index_list({name})"):
        if index[2] and not index[4]:
            parts = tuple(row[2] for row in fetch(f"PRAGMA {database}.index_info({dialect.quote(index[1])})"))
            if None not in parts and parts not in keys:
                keys.append(parts)
    return TableInfo(
        ref=TableRef(ref.schema, ref.name if ref.schema and dialect.place(ref)[0] is None else place[1]),
        columns=tuple(
            Column(row[1], one, nullable=not row[3] and not (is_rowid and row[5]), primary_key=bool(row[5]))
            for row, one in zip(rows, types, strict=True)
        ),
        primary_key=primary,
        unique_keys=tuple(keys),
        generated=frozenset(row[1] for row in rows if row[6] in _HIDDEN_GENERATED),
        defaults=frozenset(row[1] for row in rows if row[4] is not None) | (set(primary) if is_rowid else set()),
        kind=kind,
    )


def _types(rows: Sequence[Any], table: str, dialect: SQLiteDialect, fetch: Fetch) -> list[DataType]:
    """The columns' types; of undeclared ones as the values tell, text when they do not agree."""
    found = [declared(row[2]) for row in rows]
    unknown = [row[1] for row, kind in zip(rows, found, strict=True) if kind is None]
    storage = iter(look(table, [dialect.quote(name) for name in unknown], fetch))
    kinds = [next(storage) if kind is None else kind for kind in found]
    return [TEXT if kind is None or kind.kind == "null" else kind for kind in kinds]


def look(table: str, columns: Sequence[str], fetch: Fetch) -> list[DataType | None]:
    """The types of undeclared columns by the storage classes of all their values, in one pass."""
    if not columns:
        return []
    asked = [f"max(typeof({column}) = '{storage}')" for column in columns for storage in STORAGE]
    answers = fetch(f"SELECT {', '.join(asked)} FROM {table}")[0]
    found: list[DataType | None] = []
    for number in range(len(columns)):
        flags = answers[number * len(STORAGE) : (number + 1) * len(STORAGE)]
        kind = seen({storage for storage, flag in zip(STORAGE, flags, strict=True) if flag})
        found.append(DataType(kind) if kind else None)
    return found


def query_columns(view: str, shown: Sequence[tuple[str, str]], fetch: Fetch) -> tuple[Column, ...]:
    """The columns of a query behind a view whose columns are named ``c0``, ``c1``, ...

    Args:
        view: The view's quoted name.
        shown: Name and declared type of each column.
        fetch: Runs a query.

    Raises:
        SqlError: Two columns have one name, or a column without a declared type mixes kinds of values.
    """
    known = {name for name, _ in shown}
    for name, _ in shown:
        first, colon, number = name.rpartition(":")  # how a view names the second column of one name
        if colon and number.isdigit() and first in known:
            raise SqlError(f"the query returns two columns named `{first}`", hint="give one of them an alias")
    kinds = [declared(text) for _, text in shown]
    unknown = [f"c{number}" for number, kind in enumerate(kinds) if kind is None]
    found = iter(look(view, unknown, fetch))
    columns = []
    for (name, _), kind in zip(shown, kinds, strict=True):
        one = kind if kind is not None else next(found)
        if one is None:
            message = f"column `{name}` has no declared type, and its values are a mix of numbers, text or bytes"
            raise SqlError(message, hint="CAST it to one type in the query")
        columns.append(Column(name, one))
    return tuple(columns)
