"""What the catalogue says of tables. Every question sees the open transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import TableInfo
from ematix_nb.declare.spec import Column, TableRef

from .types import LOOKUP_SQL, CatalogueType, catalogue_type, data_type

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Fetch = Callable[[str, Sequence[object]], list[tuple[Any, ...]]]

KINDS = {"r": "table", "p": "partitioned", "v": "view", "m": "view", "f": "foreign"}

TABLES_SQL = """
SELECT n.nspname::text, c.relname::text
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND ($1::text IS NULL OR n.nspname = $1::text)
  AND has_schema_privilege(n.oid, 'USAGE')
ORDER BY n.nspname, c.relname"""

TABLE_SQL = """
SELECT c.oid::bigint, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text,
       c.relhasrules OR EXISTS (SELECT 1 FROM pg_catalog.pg_trigger AS g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal)
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass($1::text) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"""

COLUMNS_SQL = """
SELECT a.attname::text, a.atttypid::bigint, a.atttypmod, a.attnotnull, a.attgenerated::text, a.attidentity::text,
       a.atthasdef
FROM pg_catalog.pg_attribute AS a
WHERE a.attrelid = $1::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum"""

KEYS_SQL = """
SELECT i.indisprimary,
       array(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
             JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
             WHERE k.place <= i.indnkeyatts ORDER BY k.place)
FROM pg_catalog.pg_index AS i
WHERE i.indrelid = $1::bigint::oid AND i.indisunique AND i.indisvalid AND i.indimmediate
  AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY i.indisprimary DESC, i.indexrelid"""


class Catalogue:
    """Asks the catalogue, and remembers types that never change.

    Args:
        fetch: Runs one query.
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._types: dict[tuple[int, int], CatalogueType] = {}

    def lookup(self, oid: int, modifier: int) -> CatalogueType:
        """What ``pg_type`` says of a type."""
        key = (oid, modifier)
        if key not in self._types:
            rows = self._fetch(LOOKUP_SQL, [oid, None if modifier < 0 else modifier])
            self._types[key] = catalogue_type(rows, oid)
        return self._types[key]

    def forget(self) -> None:
        """Forget types: a rolled back transaction may have made some."""
        self._types.clear()

    def tables(self, schema: str | None) -> list[TableRef]:
        """Tables and views outside the system's own schemas; partitions are left out."""
        return [TableRef(*row) for row in self._fetch(TABLES_SQL, [schema])]

    def table(self, quoted: str, ref: TableRef) -> TableInfo | None:
        """One table by its quoted name; None when there is none."""
        found = self._fetch(TABLE_SQL, [quoted])
        if not found:
            return None
        oid, schema, name, kind, persistence, hooks = found[0]
        rows = self._fetch(COLUMNS_SQL, [oid])
        keys = [(primary, tuple(names)) for primary, names in self._fetch(KEYS_SQL, [oid])]
        primary = next((names for is_primary, names in keys if is_primary), ())
        return TableInfo(
            ref=ref if persistence == "t" else TableRef(schema, name),
            columns=tuple(
                Column(
                    row[0], data_type(row[1], row[2], self.lookup), nullable=not row[3], primary_key=row[0] in primary
                )
                for row in rows
            ),
            primary_key=primary,
            unique_keys=tuple(dict.fromkeys(names for _, names in keys)),
            generated=frozenset(row[0] for row in rows if row[4] or row[5] == "a"),
            defaults=frozenset(row[0] for row in rows if row[5] or (row[6] and not row[4])),
            kind=KINDS[kind],
            hooks=hooks,
        )
