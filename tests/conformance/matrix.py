"""The backends of the suite, one row each: how a test makes, fills and reads tables there by the system's own driver.

A new backend joins the suite with one class and one line in `SYSTEMS`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
from typing import TYPE_CHECKING, Any, ClassVar

from ematix_nb.backends.files import BACKEND as FILES
from ematix_nb.connections.kinds import (
    DeltaLocalConnection,
    DuckDBConnection,
    MySQLConnection,
    ObjectStoreLocalConnection,
    PostgresConnection,
    SQLiteConnection,
)
from ematix_nb.declare.data_types import DataType
from ematix_nb.declare.spec import Column, TableRef
from tests.conformance.type_cases import NATIVE
from tests.conformance.values import native_parameter, to_arrow_table
from tests.support.mariadb import arguments

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pytest

    from ematix_nb.backends.base import TableInfo
    from ematix_nb.connections.base import Connection
    from tests.support.stores import Bucket

ALL_MODES = ("append", "truncate", "merge", "scd2")
Columns = dict[str, DataType]


class System:
    """One backend with a place of its own."""

    name: ClassVar[str] = ""
    modes: ClassVar[tuple[str, ...]] = ALL_MODES
    is_sql: ClassVar[bool] = True
    connection: Connection

    def make(self, table: str, columns: Columns, rows: Sequence[Sequence[Any]]) -> None:
        """Make a table anew, with these rows."""
        raise NotImplementedError

    def add(self, table: str, columns: Columns, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows to a table."""
        raise NotImplementedError

    def rows(self, table: str, names: Sequence[str]) -> list[tuple[Any, ...]]:
        """Some columns of all rows, by the system's own driver; sorted by the text of the row."""
        raise NotImplementedError

    def source(self, table: str) -> str:
        """The table as it stands behind FROM."""
        return self.quote(table)

    def target(self, table: str) -> str:
        """The table as it stands in ``target=``."""
        return '"' + table.replace('"', '""') + '"'

    def quote(self, name: str) -> str:
        """A name as the system's SQL quotes it."""
        return '"' + name.replace('"', '""') + '"'

    def can_name(self, name: str) -> bool:
        """Whether a table or column can have this name there."""
        return bool(name)

    def has(self, table: str) -> bool:
        """Whether the table is there."""
        raise NotImplementedError

    def leftovers(self) -> list[str]:
        """What runs should have taken away again: staging tables, hidden files."""
        raise NotImplementedError

    def everything(self) -> object:
        """All that is there, state and schemas included; equal when nothing changed."""
        raise NotImplementedError


class SqlSystem(System):
    """What the three SQL systems share."""

    @contextlib.contextmanager
    def driver(self) -> Iterator[Any]:
        """A cursor of the system's own driver, committed at the end."""
        raise NotImplementedError

    dialect: Any
    marker: ClassVar[str] = "?"

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; its rows, if it gives any."""
        with self.driver() as cursor:
            cursor.execute(sql, list(parameters)) if parameters else cursor.execute(sql)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def make(self, table: str, columns: Columns, rows: Sequence[Sequence[Any]]) -> None:
        """Make a table anew, with these rows."""
        ref = TableRef(None, table)
        with self.driver() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {self.dialect.table(ref)}")
            cursor.execute(self.dialect.create_table(ref, [Column(name, kind) for name, kind in columns.items()]))
        self.add(table, columns, rows)

    def add(self, table: str, columns: Columns, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows to a table."""
        kinds = list(columns.values())
        places = ", ".join(self._place(kind) for kind in kinds)
        names = self.dialect.columns(list(columns))
        if self.marker == "%s":
            names = names.replace("%", "%%")
        with self.driver() as cursor:
            for row in rows:
                values = [native_parameter(self.name, value, kind) for value, kind in zip(row, kinds, strict=True)]
                cursor.execute(
                    f"INSERT INTO {self.dialect.table(TableRef(None, table))} ({names}) VALUES ({places})", values
                )

    def _place(self, kind: DataType) -> str:
        return f"CAST({self.marker} AS {self.dialect.type_sql(kind)})"

    def rows(self, table: str, names: Sequence[str]) -> list[tuple[Any, ...]]:
        """Some columns of all rows."""
        found = self.execute(f"SELECT {self.dialect.columns(names)} FROM {self.dialect.table(TableRef(None, table))}")
        return sorted(found, key=repr)

    def natives(self) -> list[tuple[str, str]]:
        """``(type, literal)`` of the types that only this system has."""
        return list(NATIVE[self.name])

    def info(self, table: str) -> TableInfo | None:
        """What the engine's catalogue says of a table."""
        from ematix_nb.backends.registry import open_session

        session = open_session(self.connection, read_only=True)
        try:
            found: TableInfo | None = session.table(TableRef(None, table))
            return found
        finally:
            session.close()

    def has(self, table: str) -> bool:
        """Whether the table is there."""
        return self.info(table) is not None


class Postgres(SqlSystem):
    """A database of the test's own."""

    name = "postgres"
    marker = "%s"

    def __init__(self, url: str, name: str = "pg") -> None:
        from ematix_nb.backends.postgres.dialect import PostgresDialect

        self.url = url
        self.connection = PostgresConnection(name=name, url=url)
        self.dialect = PostgresDialect()

    @contextlib.contextmanager
    def driver(self) -> Iterator[Any]:
        """A psycopg cursor."""
        import psycopg

        with psycopg.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute("SET TimeZone = 'UTC'")
            cursor.execute("SET IntervalStyle = 'iso_8601'")
            yield cursor

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement."""
        return super().execute(sql if not parameters else sql.replace("?", "%s"), parameters)

    def rows(self, table: str, names: Sequence[str]) -> list[tuple[Any, ...]]:
        """Some columns of all rows; what Python's types cannot hold comes as text."""
        info = {column.name: column.type for column in found.columns} if (found := self.info(table)) else {}
        texts = [
            f"CAST({self.dialect.quote(name)} AS text)"
            if info[name].kind in ("interval", "json", "jsonb") or info[name].native
            else self.dialect.quote(name)
            for name in names
        ]
        found_rows = self.execute(f"SELECT {', '.join(texts)} FROM {self.dialect.table(TableRef(None, table))}")
        return sorted(found_rows, key=repr)

    def natives(self) -> list[tuple[str, str]]:
        """All but XML on a server that was built without it."""
        import psycopg

        try:
            self.execute("SELECT CAST('<a/>' AS xml)")
        except psycopg.errors.FeatureNotSupported:
            return [(kind, literal) for kind, literal in NATIVE[self.name] if kind != "xml"]
        return super().natives()

    def leftovers(self) -> list[str]:
        """Staging tables, idle transactions and held locks."""
        tables = self.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'ematix%'")
        open_ones = self.execute(
            "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND state LIKE 'idle in transaction%'"
        )
        return [str(row[0]) for row in (*tables, *open_ones)]

    def everything(self) -> object:
        """Schemas, columns, indexes and rows of the whole database."""
        columns = self.execute(
            "SELECT table_schema, table_name, column_name, data_type, is_nullable FROM information_schema.columns"
            " WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_schema NOT LIKE 'pg_temp%'"
            " ORDER BY 1, 2, ordinal_position"
        )
        indexes = self.execute(
            "SELECT schemaname, indexdef FROM pg_indexes WHERE schemaname <> 'pg_catalog' ORDER BY 2"
        )
        schemas = self.execute("SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg_%' ORDER BY 1")
        rows = {
            (schema, table): sorted(
                map(
                    repr,
                    self.execute(f"SELECT t::text, xmin::text FROM {self.dialect.table(TableRef(schema, table))} t"),
                )
            )
            for schema, table in {(row[0], row[1]) for row in columns}
        }
        return columns, indexes, schemas, rows


class MySQL(SqlSystem):
    """A database of the test's own."""

    name = "mysql"
    marker = "%s"

    def __init__(self, url: str, name: str = "my") -> None:
        from ematix_nb.backends.mysql.dialect import DIALECT

        self.url = url
        self.connection = MySQLConnection(name=name, url=url)
        self.dialect = DIALECT

    @contextlib.contextmanager
    def driver(self) -> Iterator[Any]:
        """A PyMySQL cursor."""
        import pymysql

        with pymysql.connect(**arguments(self.url)) as connection, connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES'")
            yield cursor
            connection.commit()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement."""
        return super().execute(sql if not parameters else sql.replace("?", "%s"), parameters)

    def quote(self, name: str) -> str:
        """Backticks."""
        return str(self.dialect.quote(name))

    def can_name(self, name: str) -> bool:
        """Names hold no character beyond the first 65,536 of Unicode."""
        return all(ord(character) < 2**16 for character in name)

    def _place(self, kind: DataType) -> str:  # noqa: ARG002  the column says what a value becomes
        return "%s"

    def rows(self, table: str, names: Sequence[str]) -> list[tuple[Any, ...]]:
        """Some columns of all rows; times of day are no durations."""
        return sorted((tuple(_time_of_day(value) for value in row) for row in super().rows(table, names)), key=repr)

    def leftovers(self) -> list[str]:
        """Staging tables, and transactions that are open."""
        tables = self.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
            " AND table_name LIKE 'ematix%' AND table_name NOT LIKE 'ematix_flow_%'"
        )
        open_ones = self.execute(
            "SELECT p.id FROM information_schema.innodb_trx AS t JOIN information_schema.processlist AS p"
            " ON p.id = t.trx_mysql_thread_id WHERE p.db = DATABASE() AND p.id <> CONNECTION_ID()"
        )
        return [str(row[0]) for row in (*tables, *open_ones)]

    def everything(self) -> object:
        """Columns, indexes and rows of the whole database."""
        columns = self.execute(
            "SELECT table_name, column_name, column_type, is_nullable, column_comment FROM information_schema.columns"
            " WHERE table_schema = DATABASE() ORDER BY table_name, ordinal_position"
        )
        indexes = self.execute(
            "SELECT table_name, index_name, column_name FROM information_schema.statistics"
            " WHERE table_schema = DATABASE() ORDER BY table_name, index_name, seq_in_index"
        )
        schemas = self.execute(
            "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE 'new_place%'"
        )
        rows = {}
        with self.driver() as cursor:  # a connection for each table would take most of the time
            for table in {row[0] for row in columns}:
                cursor.execute(f"SELECT * FROM {self.quote(table)}")
                rows[table] = sorted(map(repr, cursor.fetchall()))
        return columns, indexes, schemas, rows


def _time_of_day(value: Any) -> Any:
    return (dt.datetime(1, 1, 1, tzinfo=dt.UTC) + value).time() if isinstance(value, dt.timedelta) else value


class DuckDB(SqlSystem):
    """A database file."""

    name = "duckdb"

    def __init__(self, path: Path, name: str = "duck") -> None:
        from ematix_nb.backends.duckdb.dialect import DIALECT

        self.path = path
        self.connection = DuckDBConnection(name=name, path=str(path))
        self.dialect = DIALECT

    @contextlib.contextmanager
    def driver(self) -> Iterator[Any]:
        """A DuckDB connection, closed again: the engine opens the file with settings of its own."""
        import duckdb

        with duckdb.connect(str(self.path)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            yield connection

    def rows(self, table: str, names: Sequence[str]) -> list[tuple[Any, ...]]:
        """Some columns of all rows, as the driver gives them to Arrow."""
        query = f"SELECT {self.dialect.columns(names)} FROM {self.dialect.table(TableRef(None, table))}"
        with self.driver() as connection:
            found = connection.sql(query).to_arrow_table()
        columns = [found.column(index).to_pylist() for index in range(len(names))]
        return sorted(zip(*columns, strict=True), key=repr)

    def leftovers(self) -> list[str]:
        """Staging tables and write-ahead logs."""
        tables = self.execute(
            "SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'ematix_%' AND schema_name = 'main'"
        )
        return [str(row[0]) for row in tables]

    def everything(self) -> object:
        """All files of the folder by their bytes."""
        return file_hashes(self.path.parent)


class SQLite(SqlSystem):
    """A database file."""

    name = "sqlite"

    def __init__(self, path: Path, name: str = "lite") -> None:
        from ematix_nb.backends.sqlite.dialect import DIALECT

        self.path = path
        self.connection = SQLiteConnection(name=name, path=str(path))
        self.dialect = DIALECT

    @contextlib.contextmanager
    def driver(self) -> Iterator[Any]:
        """A sqlite3 cursor."""
        import sqlite3

        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            yield connection.cursor()
            connection.commit()

    def _place(self, kind: DataType) -> str:  # noqa: ARG002  values are stored as they are given
        return "?"

    def leftovers(self) -> list[str]:
        """Staging tables and journals."""
        tables = self.execute(
            "SELECT name FROM sqlite_master WHERE name LIKE 'ematix_%' AND name NOT LIKE 'ematix_flow_%'"
        )
        journals = [path.name for path in self.path.parent.glob(f"{self.path.name}-*")]
        return [str(row[0]) for row in tables if row[0] != "ematix_stage_guard"] + journals

    def everything(self) -> object:
        """All files of the folder by their bytes."""
        return file_hashes(self.path.parent)


class Files(System):
    """A folder of files in one format."""

    modes = ("append", "truncate")
    is_sql = False
    format: ClassVar[str] = ""

    def __init__(self, folder: Path, name: str = "lake") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.connection = ObjectStoreLocalConnection(name=name, path=str(folder), format=self.format)

    def make(self, table: str, columns: Columns, rows: Sequence[Sequence[Any]]) -> None:
        """Make a folder anew, with one file."""
        for path in sorted((self.folder / table).rglob("*")) if (self.folder / table).exists() else ():
            if path.is_file():
                path.unlink()
        self.add(table, columns, rows)

    def add(self, table: str, columns: Columns, rows: Sequence[Sequence[Any]]) -> None:
        """Add a file."""
        folder = self.folder / table
        folder.mkdir(exist_ok=True)
        data = to_arrow_table(columns, rows)
        self.write(folder / f"data-{len(list(folder.iterdir()))}.{self.format}", data)

    def write(self, path: Path, data: Any) -> None:
        """Write one file as a foreign program would."""
        raise NotImplementedError

    def source(self, table: str) -> str:
        """All files of the folder."""
        return '"' + f"{table}/*.{self.format}".replace('"', '""') + '"'

    def target(self, table: str) -> str:
        """The folder, as it is."""
        return table

    def rows(self, table: str, names: Sequence[str]) -> list[tuple[Any, ...]]:
        """Some columns of all rows of the files that the newest manifest names, read as the format's library does."""
        import pyarrow as pa

        tables = [self.read(self.fetched(name)) for name in self.live(table)]
        found = pa.concat_tables(tables, promote_options="permissive") if tables else None
        if found is None:
            return []
        columns = [found.column(name).to_pylist() for name in names]
        return sorted(zip(*columns, strict=True), key=repr)

    def read(self, path: Path) -> Any:
        """One file as an Arrow table."""
        raise NotImplementedError

    def fetched(self, name: str) -> Path:
        """A file where its library can read it."""
        return self.folder / name

    def live(self, table: str) -> list[str]:
        """The files of the newest manifest."""
        session = FILES.open(self.connection, read_only=True)
        try:
            manifest = session.manifest(table)
        finally:
            session.close()
        return [f"{table}/{name}" for name in manifest.files] if manifest else []

    def has(self, table: str) -> bool:
        """Whether the folder is there."""
        return bool(self.live(table))

    def leftovers(self) -> list[str]:
        """Hidden files, and files that no manifest names (of folders that have one)."""
        found = []
        for folder in [path for path in self.folder.iterdir() if (path / "_ematix_flow").is_dir()]:
            named = {self.folder / name for name in self.live(folder.name)}
            found += [
                str(path)
                for path in folder.rglob("*")
                if path.is_file() and "_ematix_flow" not in path.parts and path not in named
            ]
        return found

    def everything(self) -> object:
        """All files by their bytes."""
        return file_hashes(self.folder)


class Parquet(Files):
    """A folder of Parquet files."""

    name = "parquet"
    format = "parquet"

    def write(self, path: Path, data: Any) -> None:
        """Write one file."""
        import pyarrow.parquet as pq

        pq.write_table(data, path)

    def read(self, path: Path) -> Any:
        """Read one file."""
        import pyarrow.parquet as pq

        return pq.ParquetFile(path).read()


class Csv(Files):
    """A folder of CSV files."""

    name = "csv"
    format = "csv"

    def write(self, path: Path, data: Any) -> None:
        """Write one file: NULL is nothing, an empty text is two quotes."""
        import pyarrow.csv as pc

        pc.write_csv(data, path)

    def read(self, path: Path) -> Any:
        """Read one file."""
        import pyarrow.csv as pc

        options = pc.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
        return pc.read_csv(path, parse_options=pc.ParseOptions(newlines_in_values=True), convert_options=options)


class Jsonl(Files):
    """A folder of files with one JSON object a line."""

    name = "jsonl"
    format = "jsonl"

    def write(self, path: Path, data: Any) -> None:
        """Write one file."""
        with path.open("w", encoding="utf-8") as out:
            for row in data.to_pylist():
                out.write(json.dumps(row, default=str, ensure_ascii=False) + "\n")

    def read(self, path: Path) -> Any:
        """Read one file."""
        import pyarrow as pa

        with path.open(encoding="utf-8") as lines:
            return pa.Table.from_pylist([json.loads(line) for line in lines])


class Orc(Files):
    """A folder of ORC files."""

    name = "orc"
    format = "orc"

    def write(self, path: Path, data: Any) -> None:
        """Write one file."""
        import pyarrow.orc as po

        po.write_table(data, path)

    def read(self, path: Path) -> Any:
        """Read one file."""
        import pyarrow.orc as po

        return po.ORCFile(str(path)).read()


class Delta(System):
    """Delta tables below a folder."""

    name = "delta"
    is_sql = False

    def __init__(self, folder: Path, name: str = "delta") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.connection: Connection = DeltaLocalConnection(name=name, path=str(folder))

    def uri(self, table: str) -> str:
        """Where a table lies."""
        return str(self.folder / table)

    def storage(self) -> dict[str, str] | None:
        """Options of the library for the place."""
        return None

    def make(self, table: str, columns: Columns, rows: Sequence[Sequence[Any]]) -> None:
        """Make a table anew, as a foreign program would."""
        self._write(table, columns, rows, mode="overwrite", schema_mode="overwrite")

    def add(self, table: str, columns: Columns, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows by one commit."""
        self._write(table, columns, rows, mode="append", schema_mode="merge")

    def _write(self, table: str, columns: Columns, rows: Sequence[Sequence[Any]], **options: Any) -> None:
        from deltalake import write_deltalake

        write_deltalake(self.uri(table), to_arrow_table(columns, rows), storage_options=self.storage(), **options)

    def delta(self, table: str) -> Any:
        """The newest version, as the library's own object; None when there is none."""
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        try:
            return DeltaTable(self.uri(table), storage_options=self.storage())
        except TableNotFoundError:
            return None

    def target(self, table: str) -> str:
        """The folder, as it is."""
        return table

    def rows(self, table: str, names: Sequence[str]) -> list[tuple[Any, ...]]:
        """Some columns of all rows, as the library gives them to Arrow."""
        import pyarrow as pa

        found = pa.table(self.delta(table).scan(columns=list(names)))
        columns = [found.column(name).to_pylist() for name in names]
        return sorted(zip(*columns, strict=True), key=repr)

    def has(self, table: str) -> bool:
        """Whether the table is there."""
        return self.delta(table) is not None

    def tables(self) -> list[str]:
        """The tables that are here."""
        return [path.parent.name for path in self.folder.glob("*/_delta_log")]

    def leftovers(self) -> list[str]:
        """Files that no version names, of tables that were made by runs alone; logs of staged files; scratch files."""
        found = [str(path) for path in self.folder.glob("*/*/_delta_log")]
        for folder in [path for path in self.folder.iterdir() if (path / "_ematix_flow").is_dir()]:
            log = "".join(path.read_text() for path in (folder / "_delta_log").glob("*.json"))
            mine = [path for path in folder.rglob("*.parquet") if "_delta_log" not in path.parts]
            found += [str(path) for path in mine if path.name not in log]
        return found

    def everything(self) -> object:
        """All files by their bytes."""
        return file_hashes(self.folder)


def file_hashes(folder: Path) -> dict[str, str]:
    """Every file below a folder by its SHA-256, and every folder by its name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


class BucketFiles(Files):
    """Files below a prefix of a bucket; the store's own client makes and reads them."""

    store: ClassVar[str] = ""
    prefix: ClassVar[str] = "some/where"

    def __init__(self, folder: Path, bucket: Bucket, name: str = "lake") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.bucket = bucket
        self.connection = bucket.connection(self.format, name=name, prefix=self.prefix)

    def make(self, table: str, columns: Columns, rows: Sequence[Sequence[Any]]) -> None:
        """Make a folder anew, with one object."""
        self.bucket.remove(self.bucket.keys(f"{self.prefix}/{table}"))
        self.add(table, columns, rows)

    def add(self, table: str, columns: Columns, rows: Sequence[Sequence[Any]]) -> None:
        """Add an object."""
        path = self.folder / f"made.{self.format}"
        self.write(path, to_arrow_table(columns, rows))
        number = len(self.bucket.keys(f"{self.prefix}/{table}"))
        self.bucket.put(f"{self.prefix}/{table}/data-{number}.{self.format}", path.read_bytes())

    def fetched(self, name: str) -> Path:
        """A copy of an object."""
        path = self.folder / f"fetched.{self.format}"
        path.write_bytes(self.bucket.get(f"{self.prefix}/{name}"))
        return path

    def leftovers(self) -> list[str]:
        """Hidden objects, and objects that no manifest names (of folders that have one)."""
        keys = [key.removeprefix(f"{self.prefix}/") for key in self.bucket.keys("")]
        tables = sorted({key.partition("/_ematix_flow/")[0] for key in keys if "/_ematix_flow/" in key})
        named = {name for table in tables for name in self.live(table)}
        data = [key for key in keys if "/_ematix_flow/" not in key and key.partition("/")[0] in tables]
        return [key for key in data if key not in named]

    def everything(self) -> object:
        """All objects by their bytes."""
        return {key: hashlib.sha256(self.bucket.get(key)).hexdigest() for key in self.bucket.keys("")}


class S3Parquet(BucketFiles, Parquet):
    """Parquet in S3."""

    name = store = "s3"


class AzureParquet(BucketFiles, Parquet):
    """Parquet in Azure Blob Storage."""

    name = store = "azure"


class GcsParquet(BucketFiles, Parquet):
    """Parquet in Google Cloud Storage."""

    name = store = "gcs"


class S3Csv(BucketFiles, Csv):
    """CSV in S3."""

    name = "s3-csv"
    store = "s3"


class AzureJsonl(BucketFiles, Jsonl):
    """JSONL in Azure Blob Storage."""

    name = "azure-jsonl"
    store = "azure"


class GcsOrc(BucketFiles, Orc):
    """ORC in Google Cloud Storage."""

    name = "gcs-orc"
    store = "gcs"


SYSTEMS: dict[str, type[System]] = {
    system.name: system
    for system in (
        Postgres, MySQL, DuckDB, SQLite, Parquet, Csv, Jsonl, Orc, Delta,
        S3Parquet, S3Csv, AzureParquet, AzureJsonl, GcsParquet, GcsOrc,
    )
}  # fmt: skip
SERVERS = {"postgres": ("pg_url", "pg_url2"), "mysql": ("mysql_url", "mysql_url2")}
"""The fixtures that give a system that is a server two databases."""
BUCKETS = {name: system.store for name, system in SYSTEMS.items() if issubclass(system, BucketFiles)}
"""Systems that lie in an object store, and which one."""
SQL_SYSTEMS = tuple(name for name, system in SYSTEMS.items() if system.is_sql)


def url_of(name: str, request: pytest.FixtureRequest, *, second: bool = False) -> str | None:
    """The URL of an empty database for a system that is a server; None for the others."""
    return str(request.getfixturevalue(SERVERS[name][second])) if name in SERVERS else None


def open_system(name: str, folder: Path, url: str | None, *, label: str = "", bucket: Bucket | None = None) -> System:
    """A system with a place of its own below a folder (a server: the given database; stores: the given bucket)."""
    if name in SERVERS:
        assert url is not None
        return Postgres(url, label or "pg") if name == "postgres" else MySQL(url, label or "my")
    folder.mkdir(parents=True, exist_ok=True)
    if name == "duckdb":
        return DuckDB(folder / "data.duckdb", label or "duck")
    if name == "sqlite":
        return SQLite(folder / "data.sqlite", label or "lite")
    if name == "delta":
        return Delta(folder / "tables", label or "delta")
    kind = SYSTEMS[name]
    if issubclass(kind, BucketFiles):
        assert bucket is not None
        return kind(folder, bucket, label or name.replace("-", "_"))
    assert issubclass(kind, Files)
    return kind(folder / "files", label or name)
