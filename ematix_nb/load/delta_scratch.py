"""A database of one run's own, in which the change of a Delta table is worked out.

It holds the staged rows of the source and the rows of the table that they may meet, numbered. The statements of the
SQL targets load the one into the other; what they changed is then the difference to a copy, row by row.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ematix_nb.backends.delta.commits import OP, can_replace
from ematix_nb.backends.delta.dialect import arrow_schema, physical
from ematix_nb.backends.delta.places import ROW, ROW_BITS, Upcoming
from ematix_nb.backends.duckdb import open_scratch
from ematix_nb.backends.files.conditions import compared, joined
from ematix_nb.backends.scratch import scratch_folder
from ematix_nb.declare.data_types import BIGINT, DataType, to_arrow
from ematix_nb.declare.spec import BATCH_ID, IS_CURRENT, VALID_FROM, Column, TableRef
from ematix_nb.errors import DataError, FlowError
from ematix_nb.load.sql_load import STAGE, SqlLoad

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from ematix_nb.backends.delta.places import PlacedFile, PlacedRows
    from ematix_nb.backends.files.conditions import Condition
    from ematix_nb.load.delta_load import DeltaLoad
    from ematix_nb.load.sql_load import Outcome

TARGET = TableRef(None, "ematix_target")
BEFORE = TableRef(None, "ematix_before")
INCOMING = "ematix_incoming"
MET = "ematix_met"
CHANGES = "ematix_changes"
STAGING_BYTES = 512_000_000
"""Memory of the database while rows of unknown size are staged."""
MEMORY_BYTES = 192_000_000
"""And afterwards, unless the rows are large."""
ROWS_AT_HAND = 2048 * 16
"""Rows that the database may have in its hands at once: vectors of two threads in some steps."""
GONE = DataType("tinyint")
CUT_KINDS = ("timestamp", "timestamptz")
"""Types whose bounds the log cuts to milliseconds."""


def inner_columns(columns: Sequence[Column]) -> list[Column]:
    """The columns of a table as the database has them: numbered, in the types in which values lie in the table."""
    return [Column(ROW, BIGINT), *(Column(column.name, physical(column.type)) for column in columns)]


class _Statements(SqlLoad):
    """The load of an SQL target, told by the Delta table's state what it would ask its own database."""

    owner: DeltaLoad

    def _ran_before(self) -> bool:
        return self.owner.ran_before()

    def _upsert_and_count(self) -> tuple[int, int, int]:
        """By two joins: the table is the run's own, so that no index has to guard it.

        The updated rows make a new table: an UPDATE holds all that it changes in memory.
        """
        inserted, updated, unchanged = map(int, self.session.fetch(self.statements.count_merge())[0])
        table = self.session.dialect.table
        self.session.execute(f"ALTER TABLE {table(TARGET)} RENAME TO {table(BEFORE)}")
        self.session.execute(self.statements.merged(BEFORE, inner_columns(self.owner.all_columns())))
        self._compare_counts(inserted, self.session.execute(self.statements.insert_new()))
        return inserted, updated, unchanged

    def _release(self) -> None:
        """The quarantine lies beside the Delta table, not in here."""

    def _own_batches(self) -> str:
        if BATCH_ID not in self.plan.meta:
            return ""
        dialect = self.session.dialect
        batch = dialect.quote(BATCH_ID)
        mine = ", ".join(dialect.literal(name) for name in sorted(self.owner.own_batches())) or "''"
        return f" AND ({batch} IS NULL OR {batch} IN ({mine}))"


class Scratch:
    """The working database of one load."""

    def __init__(self, load: DeltaLoad) -> None:
        self._load = load
        self._folder = scratch_folder("delta")
        self._session: Any = open_scratch(str(Path(self._folder) / "spilled"))
        load.session.adopt(self.close, self._session.interrupt)
        self._limit(STAGING_BYTES)
        self._dialect = self._session.dialect
        plan = load.plan
        self.columns = load.all_columns()
        """The columns of the table after the load."""
        self._keyed = plan.mode in ("merge", "scd2")
        inner = load.inner_plan(
            ref=TARGET,
            data=tuple(Column(column.name, physical(column.type)) for column in plan.data),
            schema_changes=(),
            staged=True,
            quarantine=None,
        )
        self._inner = _Statements(inner, load.spec, load.target, load.source, self._session, load.context)
        self._inner.owner = load
        self._inner.batches = load.source_rows()
        self._gone = self._new = self._changed = 0
        self._placed: PlacedRows | None = None
        self.replaced: tuple[PlacedFile, ...] = ()
        """The data files in whose place the commit puts others."""

    @property
    def outcome(self) -> Outcome:
        """What the load did."""
        return self._inner.outcome

    @property
    def only_new(self) -> bool:
        """Whether the change has new rows and no others, so that their files need only be added."""
        return not self._gone and not self._changed

    @property
    def nothing(self) -> bool:
        """Whether there is no change at all, not even of the columns."""
        return self.only_new and not self._new and not self._load.plan.schema_changes

    # -- the steps --------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Stage the source's rows."""
        self._inner.prepare()

    def apply(self) -> None:
        """Fetch the rows of the table that the staged ones may meet, and load the staged ones into them."""
        read = self._load.source_rows()
        self._limit(max(MEMORY_BYTES, ROWS_AT_HAND * read.bytes // max(read.rows, 1)))
        key = self._load.plan.keys if self._load.plan.mode == "merge" else ()
        self._session.execute(self._dialect.create_table(TARGET, inner_columns(self.columns)))
        if self._load.table is not None and self._meets_any:
            self._fetch()
        if key:
            self._check_unique(key)
        else:
            self._copy()
        self._session.begin()
        self._inner.apply()
        if self.outcome.kept_empty:
            self._session.rollback()
            self._session.begin()
        if self._load.checks:
            self._inner.check()
        self._session.commit()
        self._count()

    def _limit(self, size: int) -> None:
        self._session.execute(f"SET memory_limit = '{size // 1_000_000}MB'")

    def _fetch(self) -> None:
        """The rows of the table that can matter, numbered: by their places where those can be known."""
        have = {field.name for field in self._load.table.schema().fields}
        names = [column.name for column in self.columns if column.name in have]
        where = self._matters()
        keys = self._bounded_keys()
        placed = self._load.placed(self.columns, [key.name for key in keys]) if self._keyed else None
        if placed is not None and placed.narrow(self._within(keys)):
            self._placed = placed
            self._fetch_placed(placed, names, where)
        else:
            self._fetch_scanned(names, where)

    def _fetch_placed(self, placed: PlacedRows, names: list[str], where: str) -> None:
        """First the keys, to find the places; then whole rows at those places."""
        plan, target = self._load.plan, self._dialect.table(TARGET)
        listed = self._dialect.columns([ROW, *names])
        places = None
        if where:
            looked_at = [*plan.keys, *([IS_CURRENT] if plan.mode == "scd2" else [])]
            find = f"CREATE TABLE {MET} AS SELECT {ROW} FROM {INCOMING} AS t{where}"
            self._insert(find, placed.schema(looked_at), placed.rows(looked_at))
            query = f"SELECT {ROW} FROM {MET} ORDER BY {ROW}"
            places = Upcoming(list(self._session.read(query, [Column(ROW, BIGINT)])))
        insert = f"INSERT INTO {target} ({listed}) SELECT {listed} FROM {INCOMING}"
        self._insert(insert, placed.schema(names), placed.rows(names, places))

    def _insert(self, sql: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        """Run a statement over rows as they come; what goes wrong while they are made is raised as it is."""
        import pyarrow as pa

        failures: list[BaseException] = []

        def kept() -> Iterator[pa.RecordBatch]:
            try:
                yield from batches
            except BaseException as exc:
                failures.append(exc)
                raise

        self._load.context.token.check()
        try:
            self._session.execute_over(sql, INCOMING, pa.RecordBatchReader.from_batches(schema, kept()))
        except FlowError as exc:
            raise failures[0] if failures else exc from None
        self._load.context.token.check()

    def _fetch_scanned(self, names: list[str], where: str) -> None:
        """The table's rows as the library reads them, in blocks; of each block what can matter."""
        import pyarrow as pa

        kinds = {column.name: physical(column.type) for column in self.columns}
        schema = pa.schema([(name, to_arrow(kinds[name])) for name in names])
        done = 0
        for block in _blocks(self._load.held(names)):
            self._load.context.token.check()
            table = pa.Table.from_batches(block, schema=schema)
            self._session.execute_over(
                f"INSERT INTO {self._dialect.table(TARGET)} ({ROW}, {self._dialect.columns(names)})"
                f" SELECT {done} + row_number() OVER (), {self._dialect.columns(names, 't')}"
                f" FROM {INCOMING} AS t{where}",
                INCOMING,
                table,
            )
            done += table.num_rows

    @property
    def _meets_any(self) -> bool:
        """Whether rows of the table matter at all; rows that are only added, or put in its place, meet none."""
        mode, load = self._load.plan.mode, self._load
        if mode == "truncate":
            return not load.source_rows().rows
        return mode != "append" or load.plan.window is not None or load.checks_table

    @property
    def _is_met(self) -> bool:
        """Whether only rows matter whose key is staged."""
        if self._load.checks_table:
            return False
        if self._load.plan.mode == "merge":
            return not self._load.target.handle_deletes
        return not self._load.target.handle_deletes and self._load.target.ttl is None

    def _bounded_keys(self) -> list[Column]:
        """The keys whose bounds tell which files matter: where only rows do whose key is staged."""
        kinds = {column.name: physical(column.type) for column in self._load.plan.data}
        keys = self._load.plan.keys if self._is_met else ()
        return [Column(key, kinds[key]) for key in keys if kinds[key].kind not in CUT_KINDS]

    def _within(self, keys: Sequence[Column]) -> Condition | None:
        """The bounds of the staged keys."""
        if not keys:
            return None
        quote = self._dialect.quote
        ends = ", ".join(f"min({quote(key.name)}), max({quote(key.name)})" for key in keys)
        columns = [Column(f"{key.name} {end}", key.type) for key in keys for end in ("min", "max")]
        found = next(iter(self._session.read(f"SELECT {ends} FROM {self._dialect.table(STAGE)}", columns)))
        parts = [
            compared(key.name, word, found.column(2 * number + place)[0])
            for number, key in enumerate(keys)
            for place, word in enumerate((">=", "<="))
        ]
        return joined("AND", tuple(parts))

    def _matters(self) -> str:
        """Which rows of the table the staged ones may meet."""
        plan, quote = self._load.plan, self._dialect.quote
        if self._load.checks_table:
            return ""
        if not self._keyed:
            window = plan.window
            if window is None or not window.lower or plan.hidden.intersection(window.columns):
                return ""
            from ematix_nb.load import window as windows

            kinds = {column.name: physical(column.type) for column in plan.data}
            return f" WHERE {windows.wanted(self._dialect, window, [kinds[name] for name in window.columns])}"
        match = " AND ".join(f"s.{quote(key)} = t.{quote(key)}" for key in plan.keys)
        met = f"EXISTS (SELECT 1 FROM {self._dialect.table(STAGE)} AS s WHERE {match})"
        if plan.mode == "merge":
            return "" if self._load.target.handle_deletes else f" WHERE {met}"
        if self._load.target.handle_deletes or self._load.target.ttl is not None:
            return f" WHERE t.{quote(IS_CURRENT)} OR {met}"
        return f" WHERE {met}"

    def _check_unique(self, key: tuple[str, ...]) -> None:
        """Refuse a table that holds a key of this run twice."""
        names = self._dialect.columns(key)
        twice = f"SELECT {names} FROM {self._dialect.table(TARGET)} GROUP BY {names} HAVING count(*) > 1 LIMIT 1"
        if self._session.fetch(twice):
            message = (
                f"the keys of table `{self._load.thing}` are not unique: it holds rows with the same {', '.join(key)}"
            )
            raise DataError(message, "correct the table, or choose other keys")

    def _copy(self) -> None:
        table = self._dialect.table
        self._session.execute(f"CREATE TABLE {table(BEFORE)} AS SELECT * FROM {table(TARGET)}")

    # -- the change -------------------------------------------------------------------------------------------

    def _differs(self) -> str:
        quote = self._dialect.quote
        pairs = (f"t.{quote(column.name)} IS DISTINCT FROM b.{quote(column.name)}" for column in self.columns)
        return f"({' OR '.join(pairs)})"

    def _count(self) -> None:
        """Keep the rows that were changed or went, and count them and the new ones."""
        row = self._dialect.quote(ROW)
        new = f"SELECT count(*) FROM {self._dialect.table(TARGET)} WHERE {row} IS NULL"
        self._new = int(self._session.fetch(new)[0][0])
        if self._keyed:
            self._session.execute(f"CREATE TABLE {CHANGES} AS {self._changed_and_gone()}")
            counted = f"SELECT count(*) FILTER ({OP} = 0), count(*) FILTER ({OP} = 1) FROM {CHANGES}"
            self._changed, self._gone = map(int, self._session.fetch(counted)[0])

    def _changed_and_gone(self) -> str:
        """Whole rows with their numbers: those that differ from before as they are, those that went as they were."""
        row, target, before = self._dialect.quote(ROW), self._dialect.table(TARGET), self._dialect.table(BEFORE)
        own, old = (self._dialect.columns([column.name for column in self.columns], each) for each in "tb")
        return (
            f"SELECT {own}, CAST(0 AS TINYINT) AS {OP}, t.{row} FROM {target} AS t JOIN {before} AS b"
            f" ON t.{row} = b.{row} WHERE {self._differs()}"
            f" UNION ALL SELECT {old}, CAST(1 AS TINYINT) AS {OP}, b.{row} FROM {before} AS b"
            f" WHERE NOT EXISTS (SELECT 1 FROM {target} AS t WHERE t.{row} = b.{row})"
        )

    def rows_to_write(self) -> Iterator[pa.RecordBatch] | None:
        """The rows of the files that the commit adds; None where the library has to work them out."""
        plain = inner_columns(self.columns)[1:]
        if self.only_new:
            return cast("Iterator[pa.RecordBatch]", self._session.read(self._new_rows(), plain))
        if self._placed is None:
            return None
        touched = f"SELECT DISTINCT {ROW} >> {ROW_BITS} FROM {CHANGES}"
        numbers = {int(number) for (number,) in self._session.fetch(touched)}
        if not can_replace(self._load.table, self.columns, len(numbers)):
            return None
        self.replaced = tuple(file for file in self._placed.files if file.number in numbers)
        number = Column(ROW, BIGINT)
        changes = self._spill((f"SELECT * FROM {CHANGES} ORDER BY {ROW}", self._new_rows(OP, ROW)), number)
        return self._placed.rewritten(self.replaced, Upcoming(_read(changes)))

    def _new_rows(self, *more: str) -> str:
        """The rows that were added, with more columns that say nothing."""
        names = self._dialect.columns([column.name for column in self.columns])
        nulls = {OP: f", CAST(0 AS TINYINT) AS {OP}", ROW: f", CAST(NULL AS BIGINT) AS {ROW}"}
        tail = "".join(nulls[name] for name in more)
        return f"SELECT {names}{tail} FROM {self._dialect.table(TARGET)} WHERE {self._dialect.quote(ROW)} IS NULL"

    def changes(self) -> tuple[pa.Table, tuple[str, ...]]:
        """Whole rows that are new, changed or gone (``ematix_op`` 1), and the columns that tell rows apart.

        The rows lie in a file until `close`; the database is closed.
        """
        import pyarrow as pa

        plan, quote = self._load.plan, self._dialect.quote
        identity = (*plan.keys, VALID_FROM) if plan.mode == "scd2" else plan.keys
        names = self._dialect.columns([*(column.name for column in self.columns), OP])
        same = " AND ".join(f"x.{quote(name)} = c.{quote(name)}" for name in identity)
        changed = (
            f"SELECT {names} FROM {CHANGES} AS c WHERE {OP} = 0"
            f" OR NOT EXISTS (SELECT 1 FROM {self._dialect.table(TARGET)} AS x WHERE {same})"
        )
        path = self._spill((changed, self._new_rows(OP)))
        return pa.ipc.open_stream(pa.memory_map(path)).read_all(), identity

    def _spill(self, queries: Sequence[str], *more: Column) -> str:
        """Write the rows of queries to a file, and close the database: what comes next needs its memory."""
        import pyarrow as pa

        path = str(Path(self._folder) / "changes.arrow")
        schema = arrow_schema([*self.columns, Column(OP, GONE), *more])
        plain = [*inner_columns(self.columns)[1:], Column(OP, GONE), *more]
        with pa.OSFile(path, "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            for batch in (batch for query in queries for batch in self._session.read(query, plain)):
                writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
        self._session.close()
        return path

    def close(self) -> None:
        """Remove the database; may be called twice."""
        with contextlib.suppress(FlowError):
            self._session.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _read(path: str) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    with pa.OSFile(path) as file, pa.ipc.open_stream(file) as reader:
        yield from reader


BLOCK_ROWS = 262_144
BLOCK_BYTES = 64 << 20


def _blocks(batches: Iterator[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Batches in groups that are worth a statement."""
    group: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        group.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
        if rows >= BLOCK_ROWS or size >= BLOCK_BYTES:
            yield group
            group, rows, size = [], 0, 0
    if group:
        yield group
