"""The databases and files that the sides read, and how each is put back before a side is measured."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from typing import TYPE_CHECKING, Any

import psycopg

from benchmarks.data import ADD_LOADED, COLUMNS, LOADED_VALUES, ORDER_LINES, make, make_changes, make_shape
from tests.support import mariadb
from tests.support.postgres import with_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERSIONS = (
    "ALTER TABLE limit_versions ADD valid_from timestamptz DEFAULT '2026-01-01', ADD valid_to timestamptz,"
    " ADD is_current boolean DEFAULT true, ADD row_hash bytea DEFAULT '', ADD _loaded_at timestamptz,"
    " ADD _batch_id uuid"
)
TSV = (
    "customer_id, name, email, note, balance,"
    " to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), active::integer"
)
TSV_LOADED = "'2026-01-01 00:00:00.000000', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"
MARIADB_SHAPE = (
    "CREATE TABLE {name} (customer_id bigint, name longtext, email longtext, note longtext, balance decimal(12,2),"
    " updated_at datetime(6), active tinyint(1){more}) ENGINE=InnoDB CHARSET=utf8mb4"
)
MERGED = {"ours": "merged", "limit": "limit_merged", "wide": "limit_merged_wide"}
"""What each side merges into."""


class World:
    """Two PostgreSQL databases, one of MariaDB where there is a server, and a folder."""

    def __init__(self, source: str, target: str, maria: str | None, folder: Path, rows: int) -> None:
        self.source, self.target, self.maria, self.folder, self.rows = source, target, maria, folder, rows

    @property
    def environment(self) -> dict[str, str]:
        """The settings of the sides."""
        return {
            "BENCH_SOURCE": self.source,
            "BENCH_TARGET": self.target,
            "BENCH_MARIADB": self.maria or "",
            "BENCH_DIR": str(self.folder),
            "HOME": str(self.folder),
        }

    def prepare(self) -> None:
        """Make what every side reads."""
        for name in ("lake", "delta", "texts"):
            (self.folder / name).mkdir()
        with psycopg.connect(self.source, autocommit=True) as source:
            make(source, "customers", 1, self.rows)
            make_changes(source, "changes", self.rows, self.rows // 10, self.rows // 10)
            source.execute(ORDER_LINES.format(rows=self.rows))
            source.execute("VACUUM ANALYZE")
            customers = f"SELECT {COLUMNS} FROM customers"
            wide = f"SELECT {COLUMNS}, {LOADED_VALUES} FROM customers"
            self._copy(source, customers, "(FORMAT binary)", "ready.copy")
            self._copy(source, wide, "(FORMAT binary)", "wide.copy")
            self._copy(source, customers, "(FORMAT csv, HEADER)", "texts/ready.csv")
            self._copy(source, f"SELECT {TSV} FROM customers", "", "ready.tsv")
            self._copy(source, f"SELECT {TSV}, {TSV_LOADED} FROM customers", "", "wide.tsv")
            self._copy(source, f"{customers} LIMIT 1", "(FORMAT csv, HEADER)", "texts/first.csv")
        self._parquet("customers", "ready.parquet")
        self._parquet("(SELECT * FROM customers LIMIT 1) AS c", "first.parquet")
        self._parquet("changes", "changes.parquet")

    def _copy(self, source: psycopg.Connection, query: str, options: str, file: str) -> None:
        statement = f"COPY ({query}) TO STDOUT {options}".encode()
        with (self.folder / file).open("wb") as out, source.cursor() as cursor, cursor.copy(statement) as copy:
            for chunk in copy:
                out.write(chunk)

    def _parquet(self, table: str, file: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from ematix_nb import PostgresConnection
        from ematix_nb.backends.registry import open_session
        from ematix_nb.declare.data_types import to_arrow

        session = open_session(PostgresConnection(name="bench", url=self.source), read_only=True)
        query = f"SELECT {COLUMNS} FROM {table}"
        columns = session.describe(query)
        schema = pa.schema([pa.field(column.name, to_arrow(column.type)) for column in columns])
        with pq.ParquetWriter(self.folder / "lake" / file, schema, compression="zstd") as writer:
            for batch in session.read(query, columns):
                writer.write_batch(batch)
        session.close()

    def reset(self, case: str, side: str) -> None:
        """Put the targets of a case back as they were before any side ran; a large one only for its side."""
        with psycopg.connect(self.target, autocommit=True) as target:
            target.execute("DROP SCHEMA IF EXISTS ematix_flow CASCADE")
            for name in ("copied", "loaded", "merged", "versions"):
                target.execute(f"DROP TABLE IF EXISTS {name}, {name}_first, peer_{name}")
            for name in ("limit_copied", "limit_loaded", "customers_shape"):
                make_shape(target, name)
            make_shape(target, "limit_wide", wide=True)
            getattr(self, f"_reset_{case}", lambda *_: None)(target, side)
            target.execute("CHECKPOINT")

    def _reset_merge(self, target: psycopg.Connection, side: str) -> None:
        target.execute("DROP TABLE IF EXISTS limit_merged, limit_merged_wide")
        if side in MERGED:
            make(target, MERGED[side], 1, self.rows)
        if side == "wide":
            target.execute(f"ALTER TABLE limit_merged_wide {ADD_LOADED}")
        target.execute("DROP SCHEMA IF EXISTS dlt_merged CASCADE")
        target.execute("VACUUM ANALYZE")

    def _reset_scd2(self, target: psycopg.Connection, _: str) -> None:
        target.execute("DROP TABLE IF EXISTS limit_versions")
        make(target, "limit_versions", 1, self.rows)
        target.execute("ALTER TABLE limit_versions DROP CONSTRAINT limit_versions_pkey")
        target.execute(VERSIONS)
        target.execute("ALTER TABLE limit_versions ADD PRIMARY KEY (customer_id, valid_from)")
        target.execute("CREATE UNIQUE INDEX ON limit_versions (customer_id) WHERE is_current")
        target.execute("VACUUM ANALYZE limit_versions")

    def _reset_same_db(self, *_: object) -> None:
        with psycopg.connect(self.source, autocommit=True) as source:
            source.execute("DROP SCHEMA IF EXISTS ematix_flow CASCADE")
            source.execute("DROP TABLE IF EXISTS inside, inside_first")
            make_shape(source, "limit_inside")
            make_shape(source, "limit_inside_wide", wide=True)
            source.execute("CHECKPOINT")

    def _reset_parquet_delta(self, *_: object) -> None:
        for name in ("delta", "ematix_state"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / "delta").mkdir()

    _reset_delta_merge = _reset_parquet_delta

    def _reset_parquet_mariadb(self, *_: object) -> None:
        import pymysql

        with pymysql.connect(**mariadb.arguments(str(self.maria)), autocommit=True) as target:
            cursor = target.cursor()
            cursor.execute("SHOW TABLES")
            for (name,) in cursor.fetchall():
                cursor.execute(f"DROP TABLE `{name}`")
            cursor.execute(MARIADB_SHAPE.format(name="limit_loaded", more=""))
            more = ", _loaded_at datetime(6), _batch_id char(36) CHARACTER SET ascii"
            cursor.execute(MARIADB_SHAPE.format(name="limit_wide", more=more))


@contextlib.contextmanager
def world(server: str, maria: str | None, folder: Path, rows: int) -> Iterator[World]:
    """Fresh databases on the servers, dropped at the end."""
    mark = uuid.uuid4().hex[:8]
    names = (f"bench_source_{mark}", f"bench_target_{mark}")
    with psycopg.connect(server, autocommit=True) as admin, contextlib.ExitStack() as stack:
        for name in names:
            admin.execute(f"CREATE DATABASE {name}")  # names are ours
            stack.callback(admin.execute, f"DROP DATABASE {name} WITH (FORCE)")
        url: Any = stack.enter_context(mariadb.fresh_database(maria)) if maria else None
        source, target = (with_database(server, name) for name in names)
        made = World(source, target, url, folder, rows)
        made.prepare()
        yield made
