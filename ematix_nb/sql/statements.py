"""The load modes, written once as statements over a dialect.

``stage`` is a temporary table with the data columns of one run; ``target`` is
the real table. Times and ids of the run are parameters of the builder and are
written as typed literals. Counting statements give one row, in the order that
their docstring names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ematix_nb.declare.data_types import BOOLEAN, BYTES, PLAIN_TEXTS, TIMESTAMPTZ
from ematix_nb.declare.spec import (
    IS_CURRENT,
    LOADED_AT,
    ROW_HASH,
    VALID_FROM,
    VALID_TO,
    Column,
    TableRef,
)

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from ematix_nb.sql.dialect import Dialect

CHAIN = TableRef(None, "ematix_chain")
NEW_VERSIONS = TableRef(None, "ematix_new_versions")


@dataclass(frozen=True)
class LoadStatements:
    """Writes the statements of one load."""

    dialect: Dialect
    target: TableRef
    stage: TableRef
    columns: tuple[Column, ...]
    """The data columns, with the types of the target."""
    meta: tuple[tuple[Column, str], ...]
    """The engine's columns with their value as SQL: ``_loaded_at``, ``_batch_id``."""
    keys: tuple[str, ...] = ()
    update_columns: tuple[str, ...] = ()
    compare_columns: tuple[str, ...] = ()
    now: dt.datetime | None = None
    event_column: str | None = None
    hidden: frozenset[str] = frozenset()
    """Staged columns that the target does not have (event time, watermark, order)."""

    # -- names ------------------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """Data columns that the target has."""
        return tuple(column.name for column in self.columns if column.name not in self.hidden)

    def column(self, name: str) -> Column:
        """A data column by name."""
        return next(column for column in self.columns if column.name == name)

    @property
    def _target(self) -> str:
        return self.dialect.table(self.target)

    @property
    def _stage(self) -> str:
        return self.dialect.table(self.stage)

    def _same_key(self, left: str, right: str) -> str:
        quote = self.dialect.quote
        return " AND ".join(
            self.dialect.equal(f"{left}.{quote(key)}", f"{right}.{quote(key)}", self.column(key).type)
            for key in self.keys
        )

    def _comparable(self, names: Sequence[str]) -> str:
        return ", ".join(self.dialect.comparable(self.dialect.quote(name), self.column(name).type) for name in names)

    def _key_list(self, prefix: str = "") -> str:
        return self.dialect.columns(self.keys, prefix)

    def _differs(self, names: Sequence[str], left: str, right: str) -> str:
        parts = []
        for name in names:
            kind, quoted = self.column(name).type, self.dialect.quote(name)
            parts.append(
                self.dialect.distinct(
                    self.dialect.comparable(f"{left}.{quoted}", kind),
                    self.dialect.comparable(f"{right}.{quoted}", kind),
                )
            )
        return "(" + " OR ".join(parts) + ")" if parts else "(1 = 0)"

    @property
    def _meta_names(self) -> tuple[str, ...]:
        return tuple(column.name for column, _ in self.meta)

    @property
    def _meta_values(self) -> str:
        return "".join(f", {value}" for _, value in self.meta)

    def _insert_columns(self, extra: Sequence[str] = ()) -> str:
        return self.dialect.columns((*self.names, *extra, *self._meta_names))

    # -- any mode ---------------------------------------------------------------------------------------------

    def insert_select(self, query: str) -> str:
        """Append the rows of a query to the target, with the engine's columns."""
        source = self.dialect.wrap(query, "source")
        return (
            f"INSERT INTO {self._target} ({self._insert_columns()})\n"
            f"SELECT {self.dialect.columns(self.names)}{self._meta_values} FROM {source}"
        )

    def stage_select(self, query: str) -> str:
        """Fill the staging table from a query in the same database."""
        names = self.dialect.columns([column.name for column in self.columns])
        return f"INSERT INTO {self._stage} ({names})\nSELECT {names} FROM {self.dialect.wrap(query, 'source')}"

    def append_stage(self, where: str = "") -> str:
        """Append staged rows."""
        tail = f"\nWHERE {where}" if where else ""
        return (
            f"INSERT INTO {self._target} ({self._insert_columns()})\n"
            f"SELECT {self.dialect.columns(self.names)}{self._meta_values} FROM {self._stage}{tail}"
        )

    def append_overlap(self, stage_where: str, target_where: str) -> str:
        """Append the staged rows of the overlap that the target does not hold yet: a difference of multisets.

        Copies are numbered, so a row that is three times in the source and twice in the target is appended once.
        """
        names = [self.dialect.quote(name) for name in self.names]
        compared = [
            self.dialect.comparable(quoted, self.column(name).type)
            for quoted, name in zip(names, self.names, strict=True)
        ]
        restored = [
            quoted if same == quoted else self.dialect.cast(quoted, self.column(name).type)
            for quoted, name, same in zip(names, self.names, compared, strict=True)
        ]
        picked = ", ".join(f"{same} AS {quoted}" for same, quoted in zip(compared, names, strict=True))
        number = f"row_number() OVER (PARTITION BY {', '.join(compared)}) AS ematix_copy"
        return (
            f"INSERT INTO {self._target} ({self._insert_columns()})\n"
            f"SELECT {', '.join(restored)}{self._meta_values} FROM (\n"
            f"  SELECT {picked}, {number} FROM {self._stage} WHERE {stage_where}\n"
            f"  EXCEPT\n"
            f"  SELECT {picked}, {number} FROM {self._target} WHERE {target_where}\n"
            f") AS missing"
        )

    def count_stage(self, where: str = "") -> str:
        """Rows in the staging table."""
        return f"SELECT count(*) FROM {self._stage}" + (f" WHERE {where}" if where else "")

    def maximum(self, column: str, table: TableRef, where: str = "") -> str:
        """The largest value of a column, as text."""
        kind = self.column(column).type
        text = self.dialect.as_text(f"max({self.dialect.ordered(self.dialect.quote(column), kind)})", kind)
        return f"SELECT {text} FROM {self.dialect.table(table)}" + (f" WHERE {where}" if where else "")

    # -- keys -------------------------------------------------------------------------------------------------

    def null_keys(self) -> str:
        """How many staged rows have no key."""
        quote = self.dialect.quote
        missing = " OR ".join(f"{quote(key)} IS NULL" for key in self.keys)
        return f"SELECT count(*) FROM {self._stage} WHERE {missing}"

    def doubtful_keys(self, extra: Sequence[str] = ()) -> str:
        """A row when a staged key is NULL or there twice."""
        names = (*self.keys, *extra)
        return self.dialect.doubtful_keys(self._stage, [self._comparable((name,)) for name in names])

    def duplicate_keys(self, extra: Sequence[str] = (), limit: int = 3) -> str:
        """Samples of keys that are staged more than once (key columns as text, then how often)."""
        quote = self.dialect.quote
        names = (*self.keys, *extra)
        texts = ", ".join(self.dialect.as_text(quote(name), self.column(name).type) for name in names)
        listed = self._comparable(names)
        return f"SELECT {texts}, count(*) FROM {self._stage} GROUP BY {listed} HAVING count(*) > 1 LIMIT {limit}"

    def keep_last(self, order_by: Sequence[str] = (), extra: Sequence[str] = ()) -> tuple[str, ...]:
        """Remove all but the last staged row of each key: by columns, then by arrival; the last statement counts.

        Of several columns the first decides, then the next; a row with NULL in one of them comes before all others.
        """
        missing = " OR ".join(f"{self.dialect.quote(name)} IS NULL" for name in order_by)
        items = [f"CASE WHEN {missing} THEN 1 ELSE 0 END"] if len(order_by) > 1 else []
        order = "".join(f"{item}, " for item in (*items, *(self._largest_first(name) for name in order_by)))
        place = self.dialect.row_order
        return self.dialect.delete_places(
            self.stage,
            f"SELECT ematix_place FROM (\n"
            f"  SELECT {place} AS ematix_place, row_number() OVER (PARTITION BY {self._comparable((*self.keys, *extra))}"
            f" ORDER BY {order}{place} DESC) AS ematix_rank FROM {self._stage}\n"
            f") AS ranked WHERE ematix_rank > 1",
        )

    def _largest_first(self, column: str) -> str:
        """An item of an ORDER BY; texts by code point, like everywhere else that rows are compared by them."""
        kind, quoted = self.column(column).type, self.dialect.quote(column)
        # other values are staged in one form, which sorts as it is
        return self.dialect.last_nulls(
            self.dialect.ordered(quoted, kind) if kind.kind in PLAIN_TEXTS else quoted, "DESC"
        )

    def changed_later(self, since: dt.datetime, limit: int) -> str:
        """Samples of staged keys whose row in the target was written after a moment (key columns as text)."""
        quote = self.dialect.quote
        texts = ", ".join(self.dialect.as_text(f"s.{quote(key)}", self.column(key).type) for key in self.keys)
        written = self.dialect.ordered(f"t.{quote(LOADED_AT)}", TIMESTAMPTZ)
        moment = self.dialect.ordered(self.dialect.literal(since, TIMESTAMPTZ), TIMESTAMPTZ)
        return (
            f"SELECT {texts} FROM {self._stage} AS s JOIN {self._target} AS t ON {self._same_key('s', 't')}"
            f" WHERE {written} > {moment} LIMIT {limit}"
        )

    # -- merge ------------------------------------------------------------------------------------------------

    def drop_overtaken(self, columns: Sequence[str]) -> str:
        """Remove the staged rows whose key the target holds with larger values of some columns, compared in order."""
        larger = " AND ".join(
            [self._larger(columns), *(f"t.{self.dialect.quote(name)} IS NOT NULL" for name in columns[1:])]
        )
        return (
            f"{self.dialect.delete_from(self.stage, 's')} WHERE EXISTS"
            f" (SELECT 1 FROM {self._target} AS t WHERE {self._same_key('s', 't')} AND {larger})"
        )

    def _larger(self, columns: Sequence[str]) -> str:
        """Whether a row of the target is larger than a staged one by some columns."""
        kind, quoted = self.column(columns[0]).type, self.dialect.quote(columns[0])
        target, staged = (self.dialect.ordered(f"{alias}.{quoted}", kind) for alias in "ts")
        if len(columns) == 1:
            return f"{target} > {staged}"
        return f"({target} > {staged} OR ({target} = {staged} AND {self._larger(columns[1:])}))"

    @property
    def _decides(self) -> tuple[str, ...]:
        return self.compare_columns or self.update_columns

    def count_merge(self) -> str:
        """Rows of the stage that are new, changed, unchanged: three numbers by a join, writing nothing."""
        key = self.dialect.quote(self.keys[0])
        changed = self._differs(self._decides, "t", "s")
        return (
            f"SELECT COALESCE(sum(CASE WHEN t.{key} IS NULL THEN 1 ELSE 0 END), 0),"
            f" COALESCE(sum(CASE WHEN t.{key} IS NOT NULL AND {changed} THEN 1 ELSE 0 END), 0),"
            f" COALESCE(sum(CASE WHEN t.{key} IS NOT NULL AND NOT {changed} THEN 1 ELSE 0 END), 0)\n"
            f"FROM {self._stage} AS s LEFT JOIN {self._target} AS t ON {self._same_key('s', 't')}"
        )

    def upserts(self) -> tuple[str, ...]:
        """The statements that insert new keys and update changed ones; together they touch each such row once."""
        if self.dialect.upserts_on_conflict:
            return (self.upsert(),)
        return (*((self.update_changed(),) if self.update_columns else ()), self.insert_new())

    def update_changed(self) -> str:
        """Update the target's rows that differ from the staged row with their key."""
        quote = self.dialect.quote
        sets = [f"t.{quote(name)} = s.{quote(name)}" for name in self.update_columns]
        sets += [f"t.{quote(column.name)} = {value}" for column, value in self.meta]
        return (
            f"UPDATE {self._target} AS t JOIN {self._stage} AS s ON {self._same_key('s', 't')}\n"
            f"SET {', '.join(sets)}\nWHERE {self._differs(self._decides, 't', 's')}"
        )

    def insert_new(self) -> str:
        """Insert the staged rows whose key the target does not hold."""
        return (
            f"INSERT INTO {self._target} ({self._insert_columns()})\n"
            f"SELECT {self.dialect.columns(self.names, 's')}{self._meta_values} FROM {self._stage} AS s\n"
            f"WHERE NOT EXISTS (SELECT 1 FROM {self._target} AS t WHERE {self._same_key('s', 't')})"
        )

    def upsert(self) -> str:
        """Insert new keys, update changed ones; unchanged rows are not touched at all."""
        quote = self.dialect.quote
        insert = (
            f"INSERT INTO {self._target} AS t ({self._insert_columns()})\n"
            f"SELECT {self.dialect.columns(self.names)}{self._meta_values} FROM {self._stage} WHERE 1 = 1\n"
            f"ON CONFLICT ({self._key_list()}) DO "
        )
        if not self.update_columns:
            return insert + "NOTHING"
        sets = ", ".join(
            f"{quote(name)} = excluded.{quote(name)}" for name in (*self.update_columns, *self._meta_names)
        )
        return insert + f"UPDATE SET {sets}\nWHERE {self._differs(self._decides, 't', 'excluded')}"

    def merged(self, before: TableRef, columns: Sequence[Column]) -> str:
        """Make the target of the rows of another table, as the staged ones update them."""
        quote = self.dialect.quote
        new = {name: f"s.{quote(name)}" for name in self.update_columns}
        if new:
            new |= {column.name: value for column, value in self.meta}
        found = f"s.{quote(self.keys[0])} IS NOT NULL AND {self._differs(self._decides, 't', 's')}"
        values = (
            f"CASE WHEN {found} THEN {self.dialect.cast(new[name], column.type)} ELSE t.{quote(name)} END AS {quote(name)}"
            if (name := column.name) in new
            else f"t.{quote(name)}"
            for column in columns
        )
        return (
            f"CREATE TABLE {self._target} AS SELECT {', '.join(values)}\n"
            f"FROM {self.dialect.table(before)} AS t LEFT JOIN {self._stage} AS s ON {self._same_key('s', 't')}"
        )

    def counted_upsert(self) -> str:
        """The upsert of a plain table in a system that tells what became of each row: inserted, touched in all."""
        returning = f"{self.upsert()}\nRETURNING {self.dialect.tells_inserted} AS inserted"
        return (
            f"WITH touched AS (\n{returning}\n)\n"
            "SELECT COALESCE(sum(CASE WHEN inserted THEN 1 ELSE 0 END), 0), count(*) FROM touched"
        )

    def delete_missing(self) -> str:
        """Delete target rows whose key is not in the source."""
        return (
            f"{self.dialect.delete_from(self.target, 't')} WHERE NOT EXISTS"
            f" (SELECT 1 FROM {self._stage} AS s WHERE {self._same_key('s', 't')})"
        )

    def count_missing(self, where: str = "") -> str:
        """How many target rows have a key that is not in the source."""
        return (
            f"SELECT count(*) FROM {self._target} AS t WHERE {where + ' AND ' if where else ''}NOT EXISTS"
            f" (SELECT 1 FROM {self._stage} AS s WHERE {self._same_key('s', 't')})"
        )

    # -- scd2 -------------------------------------------------------------------------------------------------

    @property
    def moment(self) -> str:
        """The time of the run, as SQL."""
        return self.dialect.literal(self.now, TIMESTAMPTZ)

    @property
    def _true(self) -> str:
        return self.dialect.literal(True, BOOLEAN)

    @property
    def _false(self) -> str:
        return self.dialect.literal(False, BOOLEAN)

    @property
    def _current(self) -> str:
        return f"t.{self.dialect.quote(IS_CURRENT)} = {self._true}"

    def _hash(self, prefix: str) -> str:
        return self.dialect.row_hash([self.column(name) for name in self.compare_columns], prefix)

    def count_versions(self) -> str:
        """Keys of the stage without a current version, with a changed one, with an equal one: three numbers."""
        key = self.dialect.quote(self.keys[0])
        changed = self._differs(self.compare_columns, "t", "s")
        return (
            f"SELECT COALESCE(sum(CASE WHEN t.{key} IS NULL THEN 1 ELSE 0 END), 0),"
            f" COALESCE(sum(CASE WHEN t.{key} IS NOT NULL AND {changed} THEN 1 ELSE 0 END), 0),"
            f" COALESCE(sum(CASE WHEN t.{key} IS NOT NULL AND NOT {changed} THEN 1 ELSE 0 END), 0)\n"
            f"FROM {self._stage} AS s LEFT JOIN {self._target} AS t ON {self._same_key('s', 't')} AND {self._current}"
        )

    def count_later(self) -> str:
        """How many versions that have to be closed began after this run: clocks that differ."""
        quote = self.dialect.quote
        return (
            f"SELECT count(*) FROM {self._target} AS t WHERE {self._current} AND t.{quote(VALID_FROM)} >= {self.moment}"
            f" AND EXISTS (SELECT 1 FROM {self._stage} AS s WHERE {self._same_key('s', 't')}"
            f" AND {self._differs(self.compare_columns, 't', 's')})"
        )

    def close_changed(self) -> str:
        """Close the current versions of the keys whose compare columns changed."""
        quote = self.dialect.quote
        return (
            f"UPDATE {self._target} AS t SET {quote(VALID_TO)} = {self.moment}, {quote(IS_CURRENT)} = {self._false}\n"
            f"WHERE {self._current} AND EXISTS (SELECT 1 FROM {self._stage} AS s WHERE {self._same_key('s', 't')}"
            f" AND {self._differs(self.compare_columns, 't', 's')})"
        )

    def counted_close(self) -> str:
        """`close_changed` in a system that tells what became of each row: closed, and how many of those began later."""
        began = f"{self.dialect.quote(VALID_FROM)} >= {self.moment}"
        return (
            f"WITH closed AS (\n{self.close_changed()}\nRETURNING t.{began} AS later\n)\n"
            "SELECT count(*), COALESCE(sum(CASE WHEN later THEN 1 ELSE 0 END), 0) FROM closed"
        )

    def insert_versions(self) -> str:
        """Open a version for each staged key that has no current one (after :meth:`close_changed`)."""
        extra = (VALID_FROM, VALID_TO, IS_CURRENT, ROW_HASH)
        return (
            f"INSERT INTO {self._target} ({self._insert_columns(extra)})\n"
            f"SELECT {self.dialect.columns(self.names, 's')}, {self.moment}, {self._null_time}, {self._true},"
            f" {self._hash('s')}{self._meta_values} FROM {self._stage} AS s\n"
            f"WHERE NOT EXISTS (SELECT 1 FROM {self._target} AS t WHERE {self._same_key('s', 't')} AND {self._current})"
        )

    @property
    def _null_time(self) -> str:
        return self.dialect.cast("NULL", self.dialect.store(TIMESTAMPTZ).type)

    def close_missing(self) -> str:
        """Soft delete: close the current versions of keys that are not in the source."""
        return self._close(f"NOT EXISTS (SELECT 1 FROM {self._stage} AS s WHERE {self._same_key('s', 't')})")

    def close_expired(self, before: dt.datetime) -> str:
        """Time to live: close current versions that began before a time and whose key is not in this run's source."""
        limit = self.dialect.literal(before, TIMESTAMPTZ)
        return self._close(
            f"t.{self.dialect.quote(VALID_FROM)} < {limit}"
            f" AND NOT EXISTS (SELECT 1 FROM {self._stage} AS s WHERE {self._same_key('s', 't')})"
        )

    def _close(self, condition: str) -> str:
        quote = self.dialect.quote
        return (
            f"UPDATE {self._target} AS t SET {quote(VALID_TO)} = {self.moment}, {quote(IS_CURRENT)} = {self._false}\n"
            f"WHERE {self._current} AND {condition}"
        )

    # scd2 with event times: the chain of each touched key is worked out anew from its old and staged versions

    def chain_columns(self) -> tuple[Column, ...]:
        """Columns of the working table: key, begin, end where a gap follows, hash, whether it is staged, its place."""

        def stored(column: Column) -> Column:
            return Column(column.name, self.dialect.store(column.type).type)

        return (
            *(Column(f"k{index}", self.column(key).type) for index, key in enumerate(self.keys)),
            stored(Column("begins", TIMESTAMPTZ)),
            stored(Column("ends", TIMESTAMPTZ)),
            stored(Column("hash", BYTES)),
            stored(Column("staged", BOOLEAN)),
        )

    def chain_index(self) -> tuple[str, ...]:
        """The columns that the working tables are searched by."""
        return (*(f"k{index}" for index in range(len(self.keys))), "begins")

    def _chain_keys(self, prefix: str = "") -> str:
        head = f"{prefix}." if prefix else ""
        return ", ".join(f"{head}k{index}" for index in range(len(self.keys)))

    def _chain_match(self, chain: str, other: str) -> str:
        quote, equal = self.dialect.quote, self.dialect.equal
        return " AND ".join(
            equal(f"{chain}.k{index}", f"{other}.{quote(key)}", self.column(key).type)
            for index, key in enumerate(self.keys)
        )

    @property
    def _event(self) -> str:
        name = self.event_column or ""
        return self.dialect.moment(f"s.{self.dialect.quote(name)}", self.column(name).type)

    def fill_chain(self) -> tuple[str, str]:
        """Collect the versions of every touched key: the target's, then the staged ones.

        A staged version at the very time of an existing one with the same content is not collected (nothing new);
        with other content it takes the place of the existing one (a correction).
        """
        quote, chain = self.dialect.quote, self.dialect.table(CHAIN)
        touched = f"EXISTS (SELECT 1 FROM {self._stage} AS s WHERE {self._same_key('s', 't')})"
        key_match = self._same_key("x", "t")
        # an end at which the next version begins is no gap: it moves with the chain
        gap = (
            f"CASE WHEN EXISTS (SELECT 1 FROM {self._target} AS x WHERE {key_match}"
            f" AND x.{quote(VALID_FROM)} = t.{quote(VALID_TO)}) THEN {self._null_time} ELSE t.{quote(VALID_TO)} END"
        )
        old = (
            f"INSERT INTO {chain} SELECT {self._key_list('t')}, t.{quote(VALID_FROM)}, {gap},"
            f" {self._hash('t')}, {self._false} FROM {self._target} AS t WHERE {touched}"
        )
        new = (
            f"INSERT INTO {chain} SELECT {self._key_list('s')}, {self._event}, {self._null_time}, {self._hash('s')}, {self._true}"
            f" FROM {self._stage} AS s"
        )
        return old, new

    def resolve_chain(self) -> str:
        """Decide which versions stay and when each ends: fills the second working table.

        Neighbours with equal content become one version that begins with the first; a version ends when the next
        begins, or where it had ended already (a gap after a soft delete stays a gap). Old neighbours that are equal
        today differed in a column that the source does not have any more, or that is not compared any more: both stay.
        """
        keys, chain = self._chain_keys(), self.dialect.table(CHAIN)
        order = f"PARTITION BY {keys} ORDER BY begins"
        is_old = f"staged = {self._false}"
        stays = (
            "prior_hash IS NULL OR hash <> prior_hash OR (prior_end IS NOT NULL AND prior_end <= begins)"
            f" OR hash = CASE WHEN {is_old} THEN old_hash ELSE twin_hash END"
        )
        return (
            f"INSERT INTO {self.dialect.table(NEW_VERSIONS)}\n"
            f"SELECT {keys}, begins, CASE WHEN next_begins IS NULL OR (own_end IS NOT NULL AND own_end < next_begins)"
            f" THEN own_end ELSE next_begins END, hash, staged FROM (\n"
            f"  SELECT kept.*, lead(begins) OVER ({order}) AS next_begins FROM (\n"
            # what became one version ends where the last part of it had ended
            f"    SELECT {keys}, begins, hash, staged, stays, min(own_end) OVER (PARTITION BY {keys}, part) AS own_end FROM (\n"
            f"      SELECT told.*, sum(stays) OVER ({order} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS part FROM (\n"
            f"        SELECT {keys}, begins, hash, staged, own_end, CASE WHEN {stays} THEN 1 ELSE 0 END AS stays FROM (\n"
            f"      SELECT ended.*, lag(hash) OVER ({order}) AS prior_hash, lag(own_end) OVER ({order}) AS prior_end FROM (\n"
            f"        SELECT w.*, CASE WHEN known_end > begins THEN known_end ELSE NULL END AS own_end FROM (\n"
            # `island` counts the old versions so far, so each old version and the staged ones behind it are one
            f"          SELECT c.*, max(CASE WHEN {is_old} THEN ends ELSE NULL END) OVER (PARTITION BY {keys}, island)"
            f" AS known_end, row_number() OVER (PARTITION BY {keys}, begins ORDER BY staged DESC) AS choice,"
            f" lag(CASE WHEN hash = old_hash THEN hash ELSE NULL END) OVER (PARTITION BY {keys}, begins ORDER BY staged) AS twin_hash FROM (\n"
            f"            SELECT {keys}, begins, ends, hash, staged, sum(CASE WHEN {is_old} THEN 1 ELSE 0 END)"
            f" OVER ({order}, staged ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS island,"
            # of an old version the one before it; of a staged one that is there already (its twin) it is looked up above
            f" CASE WHEN {is_old} THEN lag(hash) OVER (PARTITION BY {keys}, staged ORDER BY begins) ELSE NULL END AS old_hash FROM {chain}\n"
            f"          ) AS c\n"
            f"        ) AS w WHERE choice = 1\n"
            f"      ) AS ended\n"
            f"    ) AS seen) AS told) AS parted\n"
            f"  ) AS kept WHERE stays = 1\n"
            f") AS final"
        )

    def drop_replaced(self) -> str:
        """Delete the old versions that the new chain does not hold, or holds with other content."""
        quote = self.dialect.quote
        return (
            f"{self.dialect.delete_from(self.target, 't')} WHERE EXISTS (SELECT 1 FROM {self._stage} AS s WHERE {self._same_key('s', 't')})"
            f" AND NOT EXISTS (SELECT 1 FROM {self.dialect.table(NEW_VERSIONS)} AS n WHERE {self._chain_match('n', 't')}"
            f" AND n.begins = t.{quote(VALID_FROM)} AND n.hash = {self._hash('t')})"
        )

    def move_ends(self) -> str:
        """Give old versions that stay their new end."""
        quote, table = self.dialect.quote, self.dialect.table(NEW_VERSIONS)
        same = f"{self._chain_match('n', 't')} AND n.begins = t.{quote(VALID_FROM)}"
        end = f"(SELECT n.ends FROM {table} AS n WHERE {same})"
        return (
            f"UPDATE {self._target} AS t SET {quote(VALID_TO)} = {end},"
            f" {quote(IS_CURRENT)} = CASE WHEN {end} IS NULL THEN {self._true} ELSE {self._false} END\n"
            f"WHERE EXISTS (SELECT 1 FROM {table} AS n WHERE {same}"
            f" AND {self.dialect.distinct('n.ends', f't.{quote(VALID_TO)}')})"
        )

    def insert_chain(self) -> str:
        """Insert the versions that are new."""
        quote = self.dialect.quote
        extra = (VALID_FROM, VALID_TO, IS_CURRENT, ROW_HASH)
        return (
            f"INSERT INTO {self._target} ({self._insert_columns(extra)})\n"
            f"SELECT {self.dialect.columns(self.names, 's')}, n.begins, n.ends,"
            f" CASE WHEN n.ends IS NULL THEN {self._true} ELSE {self._false} END, n.hash{self._meta_values}\n"
            f"FROM {self.dialect.table(NEW_VERSIONS)} AS n JOIN {self._stage} AS s"
            f" ON {self._chain_match('n', 's')} AND n.begins = {self._event}\n"
            f"WHERE n.staged = {self._true} AND NOT EXISTS (SELECT 1 FROM {self._target} AS t"
            f" WHERE {self._chain_match('n', 't')} AND t.{quote(VALID_FROM)} = n.begins)"
        )

    def reopen(self) -> str:
        """After soft deletes: a staged key without a current version begins one now, with its latest content.

        Its event time lies before the gap, so the chain alone would leave a key closed that the source has again.
        """
        event = self.dialect.quote(self.event_column or "")
        later = f"SELECT 1 FROM {self._stage} AS x WHERE {self._same_key('s', 'x')} AND x.{event} > s.{event}"
        return f"{self.insert_versions()} AND NOT EXISTS ({later})"
