"""The limits: the same move written by hand, without any of the engine's promises."""

from __future__ import annotations

import subprocess

from benchmarks.data import COLUMNS, LOADED_VALUES

from . import CHANGES, CSV, FOLDER, MARIADB, PARQUET, SOURCE, TARGET, modules, side

NAMES = COLUMNS.split(", ")
CUSTOMERS = f"SELECT {COLUMNS} FROM customers"
WIDE = f"SELECT {COLUMNS}, {LOADED_VALUES} FROM customers"


def _psql(url: str, sql: str, **streams: object) -> None:
    command = ["psql", "-qd", url, "-v", "ON_ERROR_STOP=1", "-c", sql]
    subprocess.run(command, check=True, **streams)  # type: ignore[call-overload]


def _copy_out(query: str) -> str:
    return f"COPY ({query}) TO STDOUT (FORMAT binary)"


def _pipe(query: str, into: str) -> None:
    out = subprocess.Popen(["psql", "-qd", SOURCE, "-c", _copy_out(query)], stdout=subprocess.PIPE)
    _psql(TARGET, f"COPY {into} FROM STDIN (FORMAT binary)", stdin=out.stdout)
    if out.wait():
        raise SystemExit(out.returncode)


def _load(file: str, into: str) -> None:
    with (FOLDER / file).open("rb") as ready:
        _psql(TARGET, f"COPY {into} FROM STDIN (FORMAT binary)", stdin=ready)


def _script(sql: str) -> None:
    subprocess.run(["psql", "-qd", TARGET, "-v", "ON_ERROR_STOP=1"], input=sql.encode(), check=True)


@side("pg_arrow_numbers", "limit")
def pg_arrow_numbers() -> None:
    """The bytes of COPY BINARY, to nowhere."""
    _psql(SOURCE, _copy_out("SELECT * FROM order_lines"), stdout=subprocess.DEVNULL)


@side("pg_arrow_texts", "limit")
def pg_arrow_texts() -> None:
    _psql(SOURCE, _copy_out(CUSTOMERS), stdout=subprocess.DEVNULL)


@side("pg_pg", "limit")
def pg_pg() -> None:
    """COPY piped into COPY."""
    _pipe(CUSTOMERS, "limit_copied")


@side("pg_pg", "wide")
def pg_pg_wide() -> None:
    _pipe(WIDE, "limit_wide")


@side("same_db", "limit")
def same_db() -> None:
    """One INSERT into a table without an index."""
    _psql(SOURCE, f"INSERT INTO limit_inside {CUSTOMERS}")


@side("same_db", "wide")
def same_db_wide() -> None:
    _psql(SOURCE, f"INSERT INTO limit_inside_wide {WIDE}")


@side("parquet_pg", "limit")
def parquet_pg() -> None:
    """COPY of a ready binary file."""
    _load("ready.copy", "limit_loaded")


@side("parquet_pg", "wide")
def parquet_pg_wide() -> None:
    _load("wide.copy", "limit_wide")


def _staged(then: str) -> None:
    """A temporary table, filled through a pipe, and statements after it, in one transaction."""
    read = _copy_out(f"SELECT {COLUMNS} FROM changes")
    _script(
        "BEGIN;\nCREATE TEMP TABLE stage (LIKE customers_shape) ON COMMIT DROP;\n"
        f'\\copy stage FROM PROGRAM \'psql -qd "{SOURCE}" -c "{read}"\' WITH (FORMAT binary)\n'
        f"{then}COMMIT;\n"
    )


def _upsert(table: str, columns: str, values: str) -> None:
    sets = ", ".join(f"{name} = excluded.{name}" for name in columns.split(", ")[1:])
    differs = " OR ".join(f"t.{name} IS DISTINCT FROM excluded.{name}" for name in NAMES[1:])
    _staged(
        f"INSERT INTO {table} AS t ({columns}) SELECT {values} FROM stage ON CONFLICT (customer_id)"
        f" DO UPDATE SET {sets} WHERE {differs};\n"
    )


@side("merge", "limit")
def merge() -> None:
    """Temporary table and upsert."""
    _upsert("limit_merged", COLUMNS, COLUMNS)


@side("merge", "wide")
def merge_wide() -> None:
    _upsert("limit_merged_wide", f"{COLUMNS}, _loaded_at, _batch_id", f"{COLUMNS}, {LOADED_VALUES}")


@side("scd2", "limit")
def scd2() -> None:
    """Temporary table, close, open, for a table with the same columns and indexes."""
    differs = " OR ".join(f"t.{name} IS DISTINCT FROM s.{name}" for name in NAMES[1:])
    values = ", ".join("s." + name for name in NAMES)
    hashed = ", ".join("s." + name for name in NAMES[1:])
    _staged(
        "ANALYZE stage (customer_id);\n"
        "UPDATE limit_versions t SET valid_to = now(), is_current = false FROM stage s"
        f" WHERE t.customer_id = s.customer_id AND t.is_current AND ({differs});\n"
        f"INSERT INTO limit_versions SELECT {values}, now(), NULL, true,"
        f" sha256(convert_to(ROW({hashed})::text, 'UTF8')), {LOADED_VALUES} FROM stage s WHERE NOT EXISTS"
        " (SELECT 1 FROM limit_versions t WHERE t.customer_id = s.customer_id AND t.is_current);\n"
    )


@side("pg_parquet", "limit", modules("pyarrow.parquet"))
def pg_parquet() -> None:
    """The rows of a ready file, written as Parquet, after the bare COPY that has to deliver them."""
    import pyarrow.parquet as pq

    with (FOLDER / "out.copy").open("wb") as out:
        _psql(SOURCE, _copy_out(CUSTOMERS), stdout=out)
    source = pq.ParquetFile(PARQUET)
    with pq.ParquetWriter(FOLDER / "out.parquet", source.schema_arrow, compression="zstd") as writer:
        for batch in source.iter_batches():
            writer.write_batch(batch)


@side("csv_parquet", "duckdb", modules("duckdb"))
def csv_duckdb() -> None:
    import duckdb

    with duckdb.connect() as connection:
        out = FOLDER / "duckdb.parquet"
        connection.execute(f"COPY (FROM read_csv('{CSV}')) TO '{out}' (FORMAT parquet, COMPRESSION zstd)")


@side("csv_parquet", "polars", modules("polars"))
def csv_polars() -> None:
    import polars as pl

    pl.scan_csv(CSV, try_parse_dates=True).sink_parquet(FOLDER / "polars.parquet", compression="zstd")


@side("csv_parquet", "pyarrow", modules("pyarrow.csv", "pyarrow.parquet"))
def csv_pyarrow() -> None:
    import pyarrow.csv as pcsv
    import pyarrow.parquet as pq

    with (
        pcsv.open_csv(CSV) as reader,
        pq.ParquetWriter(FOLDER / "arrow.parquet", reader.schema, compression="zstd") as writer,
    ):
        for batch in reader:
            writer.write_batch(batch)


@side("parquet_delta", "limit", modules("deltalake", "pyarrow.parquet"))
def parquet_delta() -> None:
    """The bare library over the same file."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from deltalake import write_deltalake

    source = pq.ParquetFile(PARQUET)
    rows = pa.RecordBatchReader.from_batches(source.schema_arrow, source.iter_batches())
    write_deltalake(FOLDER / "delta" / "limit", rows, mode="overwrite")


@side("parquet_delta", "wide", modules("deltalake", "pyarrow.parquet"))
def parquet_delta_wide() -> None:
    """The same with the engine's two columns."""
    import datetime as dt

    import pyarrow as pa
    import pyarrow.parquet as pq
    from deltalake import write_deltalake

    source = pq.ParquetFile(PARQUET)
    now = pa.scalar(dt.datetime.now(tz=dt.UTC), pa.timestamp("us", tz="UTC"))
    run = pa.scalar("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")
    schema = source.schema_arrow.append(pa.field("_loaded_at", now.type)).append(pa.field("_batch_id", run.type))
    wide = (
        pa.record_batch([*batch.columns, pa.repeat(now, batch.num_rows), pa.repeat(run, batch.num_rows)], schema=schema)
        for batch in source.iter_batches()
    )
    write_deltalake(FOLDER / "delta" / "wide", pa.RecordBatchReader.from_batches(schema, wide), mode="overwrite")


@side("delta_merge", "first")
def delta_merge_first() -> None:
    """The two tables that the measured merges meet."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from deltalake import write_deltalake

    for name in ("merged", "limit_merged"):
        source = pq.ParquetFile(PARQUET)
        rows = pa.RecordBatchReader.from_batches(source.schema_arrow, source.iter_batches())
        write_deltalake(FOLDER / "delta" / name, rows, mode="overwrite")


@side("delta_merge", "limit", modules("deltalake", "pyarrow.parquet"))
def delta_merge() -> None:
    """The bare library's merge."""
    import pyarrow.parquet as pq
    from deltalake import DeltaTable

    table = DeltaTable(FOLDER / "delta" / "limit_merged")
    differs = " OR ".join(f"(t.{name} IS DISTINCT FROM s.{name})" for name in NAMES[1:])
    merger = table.merge(pq.read_table(CHANGES), "t.customer_id = s.customer_id", source_alias="s", target_alias="t")
    merger.when_matched_update_all(differs).when_not_matched_insert_all().execute()


def _load_data(file: str, into: str) -> None:
    from tests.support.mariadb import arguments

    url = arguments(MARIADB)
    where = [f"--host={url['host']}", f"--port={url['port']}", f"--user={url['user']}"]
    sql = f"LOAD DATA LOCAL INFILE '{FOLDER / file}' INTO TABLE {into} CHARACTER SET utf8mb4"
    command = ["mariadb", "--local-infile=1", *where, f"--password={url.get('password') or ''}", url["database"]]
    subprocess.run([*command, "-e", f"SET time_zone = '+00:00'; {sql}"], check=True)


@side("parquet_mariadb", "limit")
def parquet_mariadb() -> None:
    """LOAD DATA of a ready file."""
    _load_data("ready.tsv", "limit_loaded")


@side("parquet_mariadb", "wide")
def parquet_mariadb_wide() -> None:
    _load_data("wide.tsv", "limit_wide")


@side("overhead", "limit")
def overhead() -> None:
    _pipe(f"{CUSTOMERS} WHERE customer_id = 1", "limit_copied")
