"""A database of one run's own, in which the change of a Delta table is worked out.

It holds the staged rows of the source and the rows of the table that they may meet, numbered. The statements of the
SQL targets load the one into the other; what they changed is then the difference to a copy, row by row.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.delta.dialect import arrow_schema, physical
from ematix_nb.backends.registry import open_session
from ematix_nb.backends.scratch import scratch_folder
from ematix_nb.connections.kinds import DuckDBConnection
from ematix_nb.declare.data_types import BIGINT, DataType, to_arrow
from ematix_nb.declare.spec import BATCH_ID, IS_CURRENT, VALID_FROM, Column, TableRef
from ematix_nb.errors import DataError, FlowError
from ematix_nb.load.sql_load import STAGE, SqlLoad

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from ematix_nb.load.delta_load import DeltaLoad
    from ematix_nb.load.sql_load import Outcome

TARGET = TableRef(None, "ematix_target")
BEFORE = TableRef(None, "ematix_before")
INCOMING = "ematix_incoming"
ROW = "ematix_row"
OP = "ematix_op"
STAGING_BYTES = 512_000_000
"""Memory of the database while rows of unknown size are staged."""
MEMORY_BYTES = 192_000_000
"""And afterwards, unless the rows are large."""
ROWS_AT_HAND = 2048 * 16
"""Rows that the database may have in its hands at once: vectors of two threads in some steps."""
GONE = DataType("tinyint")


class _Statements(SqlLoad):
    """The load of an SQL target, told by the Delta table's state what it would ask its own database."""

    owner: DeltaLoad

    def _ran_before(self) -> bool:
        return self.owner.ran_before()

    def _upsert_and_count(self) -> tuple[int, int, int]:
        """By two joins: the table is the run's own, so that no index has to guard it."""
        inserted, updated, unchanged = map(int, self.session.fetch(self.statements.count_merge())[0])
        touched = self.session.execute(self.statements.update_from_stage()) if self.plan.update_columns else 0
        self._compare_counts(inserted + updated, touched + self.session.execute(self.statements.insert_new()))
        return inserted, updated, unchanged

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
        path = str(Path(self._folder) / "scratch.duckdb")
        self._session: Any = open_session(DuckDBConnection(name="scratch", path=path))
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
        )
        self._inner = _Statements(inner, load.spec, load.target, load.source, self._session, load.context)
        self._inner.owner = load
        self._inner.batches = load.source_rows()
        self._gone = self._new = self._changed = 0

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
        self._session.execute(self._dialect.create_table(TARGET, self._inner_columns()))
        if self._load.table is not None:
            self._fetch()
        if key:
            self._check_unique(key)
        self._copy()
        self._session.begin()
        self._inner.apply()
        self._session.commit()
        self._count()

    def _limit(self, size: int) -> None:
        self._session.execute(f"SET memory_limit = '{size // 1_000_000}MB'")

    def _inner_columns(self) -> list[Column]:
        return [Column(ROW, BIGINT), *(Column(column.name, physical(column.type)) for column in self.columns)]

    def _fetch(self) -> None:
        """The table's rows, in blocks; of each block what can matter."""
        import pyarrow as pa

        have = {field.name for field in self._load.table.schema().fields}
        wanted = [column for column in self.columns if column.name in have]
        plain = [Column(column.name, physical(column.type)) for column in wanted]
        schema = pa.schema([(column.name, to_arrow(column.type)) for column in plain])
        quote = self._dialect.quote
        names = self._dialect.columns([column.name for column in wanted])
        where = self._matters()
        done = 0
        for block in _blocks(self._load.held([column.name for column in wanted])):
            self._load.context.token.check()
            table = pa.Table.from_batches(block, schema=schema)
            self._session.execute_over(
                f"INSERT INTO {self._dialect.table(TARGET)} ({quote(ROW)}, {names})"
                f" SELECT {done} + row_number() OVER (), {self._dialect.columns([c.name for c in wanted], 't')}"
                f" FROM {INCOMING} AS t{where}",
                INCOMING,
                table,
            )
            done += table.num_rows

    def _matters(self) -> str:
        """Which rows of the table the staged ones may meet."""
        plan, quote = self._load.plan, self._dialect.quote
        if not self._keyed:
            window = plan.window
            if window is None or not window.lower or window.column in plan.hidden:
                return ""
            from ematix_nb.load import window as windows

            kind = next(column.type for column in plan.data if column.name == window.column)
            bound = windows.predicate(self._dialect, window, physical(kind), ">=", window.lower)
            return f" WHERE {bound} OR {quote(window.column)} IS NULL"
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

    def _join(self) -> str:
        row = self._dialect.quote(ROW)
        tables = self._dialect.table(TARGET), self._dialect.table(BEFORE)
        return f"FROM {tables[0]} AS t FULL JOIN {tables[1]} AS b ON t.{row} = b.{row}"

    def _differs(self) -> str:
        quote = self._dialect.quote
        pairs = (f"t.{quote(column.name)} IS DISTINCT FROM b.{quote(column.name)}" for column in self.columns)
        return f"({' OR '.join(pairs)})"

    def _count(self) -> None:
        row = self._dialect.quote(ROW)
        if not self._keyed:
            counted = f"SELECT count(*) FROM {self._dialect.table(TARGET)} WHERE {row} IS NULL"
            self._new = int(self._session.fetch(counted)[0][0])
            return
        kept = f"t.{row} IS NOT NULL AND b.{row} IS NOT NULL"
        self._new, self._changed, left = (
            int(self._session.fetch(f"SELECT count(*) {self._join()} WHERE {where}")[0][0])
            for where in (
                f"t.{row} IS NULL AND b.{row} IS NULL",
                f"{kept} AND {self._differs()}",
                f"t.{row} IS NULL AND b.{row} IS NOT NULL",
            )
        )
        self._gone = left

    def new_rows(self) -> Iterator[pa.RecordBatch]:
        """The rows that were added."""
        plain = self._inner_columns()[1:]
        names = self._dialect.columns([column.name for column in plain])
        sql = f"SELECT {names} FROM {self._dialect.table(TARGET)} WHERE {self._dialect.quote(ROW)} IS NULL"
        yield from self._session.read(sql, plain)

    def changes(self) -> tuple[pa.Table, tuple[str, ...]]:
        """Whole rows that are new, changed or gone (``ematix_op`` 1), and the columns that tell rows apart.

        The rows lie in a file until `close`; the database is closed.
        """
        import pyarrow as pa

        plan, quote, row = self._load.plan, self._dialect.quote, self._dialect.quote(ROW)
        identity = (*plan.keys, VALID_FROM) if plan.mode == "scd2" else plan.keys
        plain = [*self._inner_columns()[1:], Column(OP, GONE)]
        target, before = self._dialect.table(TARGET), self._dialect.table(BEFORE)
        own = self._dialect.columns([column.name for column in self.columns], "t")
        old = self._dialect.columns([column.name for column in self.columns], "b")
        same = " AND ".join(f"x.{quote(name)} = b.{quote(name)}" for name in identity)
        sql = (
            f"SELECT {own}, CAST(0 AS TINYINT) AS {OP} FROM {target} AS t LEFT JOIN {before} AS b ON t.{row} = b.{row}"
            f" WHERE b.{row} IS NULL OR {self._differs()}"
            f" UNION ALL SELECT {old}, CAST(1 AS TINYINT) AS {OP} FROM {before} AS b"
            f" WHERE NOT EXISTS (SELECT 1 FROM {target} AS t WHERE t.{row} = b.{row})"
            f" AND NOT EXISTS (SELECT 1 FROM {target} AS x WHERE {same})"
        )
        schema = arrow_schema([*self.columns, Column(OP, GONE)])
        spilled = Path(self._folder) / "changes.arrow"
        with pa.OSFile(str(spilled), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in self._session.read(sql, plain):
                writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
        self._session.close()  # the commit needs the memory
        return pa.ipc.open_file(pa.memory_map(str(spilled))).read_all(), identity

    def close(self) -> None:
        """Remove the database; may be called twice."""
        with contextlib.suppress(FlowError):
            self._session.close()
        shutil.rmtree(self._folder, ignore_errors=True)


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
