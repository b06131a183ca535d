"""One measured side of one case, run in a process of its own: ``python -m benchmarks.sides CASE SIDE``.

Prints one JSON line: seconds, CPU seconds, peak memory of the process (MB) and rows. Settings come from the
environment: ``BENCH_SOURCE``, ``BENCH_TARGET`` (PostgreSQL URLs), ``BENCH_DIR`` (a folder), ``BENCH_ROWS``.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.data import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = os.environ.get("BENCH_SOURCE", "")
TARGET = os.environ.get("BENCH_TARGET", "")
FOLDER = Path(os.environ.get("BENCH_DIR", "."))
PARQUET = FOLDER / "lake" / "ready.parquet"
COPY_FILE = FOLDER / "ready.copy"


def _ours(target: str, source: str, sql: str, mode: str, **options: object) -> int:
    from ematix_nb import (
        DeltaLocalConnection,
        ObjectStoreLocalConnection,
        PostgresConnection,
        ematix,
        register_connection,
    )

    register_connection(PostgresConnection(name="source", url=SOURCE))
    register_connection(PostgresConnection(name="target", url=TARGET))
    register_connection(ObjectStoreLocalConnection(name="lake", path=str(FOLDER / "lake"), format="parquet"))

    register_connection(DeltaLocalConnection(name="delta", path=str(FOLDER / "delta")))

    @ematix.pipeline(name="bench", target=target, source_connection=source, mode=mode, **options)
    def bench() -> str:
        return sql

    return bench.sync().counts["rows_read"]


def ours_pg_pg() -> int:
    return _ours("target:public.copied", "source", f"SELECT {COLUMNS} FROM customers", "append")


def ours_pg_parquet() -> int:
    return _ours("lake:out_ours", "source", f"SELECT {COLUMNS} FROM customers", "truncate")


def ours_parquet_pg() -> int:
    return _ours("target:public.loaded", "lake", f'SELECT {COLUMNS} FROM "ready.parquet"', "append")


def ours_parquet_delta() -> int:
    return _ours("delta:ours", "lake", f'SELECT {COLUMNS} FROM "ready.parquet"', "truncate")


def ours_merge() -> int:
    return _ours("target:public.merged", "source", f"SELECT {COLUMNS} FROM changes", "merge", keys=("customer_id",))


def ours_pg_arrow() -> int:
    """Every row as Arrow, and dropped."""
    from ematix_nb import PostgresConnection
    from ematix_nb.backends.registry import open_session

    session = open_session(PostgresConnection(name="source", url=SOURCE), read_only=True)
    query = f"SELECT {COLUMNS} FROM customers"
    rows = sum(batch.num_rows for batch in session.read(query, session.describe(query)))
    session.close()
    return rows


def ours_same_db() -> int:
    return _ours("source:public.inside", "source", f"SELECT {COLUMNS} FROM customers", "append")


def first_scd2() -> int:
    """The versions that the measured load meets; not a measured side."""
    return _ours("target:public.versions", "source", f"SELECT {COLUMNS} FROM customers", "scd2", keys=("customer_id",))


def ours_scd2() -> int:
    return _ours("target:public.versions", "source", f"SELECT {COLUMNS} FROM changes", "scd2", keys=("customer_id",))


def ours_csv_parquet() -> int:
    from ematix_nb import ObjectStoreLocalConnection, ematix, register_connection

    register_connection(ObjectStoreLocalConnection(name="texts", path=str(FOLDER / "texts"), format="csv"))
    register_connection(ObjectStoreLocalConnection(name="lake", path=str(FOLDER / "lake"), format="parquet"))

    @ematix.pipeline(name="bench", target="lake:from_csv", source_connection="texts", mode="truncate")
    def bench() -> str:
        return 'SELECT * FROM "ready.csv"'

    return bench.sync().counts["rows_read"]


def _pipe(query: str, into: str) -> None:
    out = subprocess.Popen(
        ["psql", "-qd", SOURCE, "-c", f"COPY ({query}) TO STDOUT (FORMAT binary)"], stdout=subprocess.PIPE
    )
    subprocess.run(
        ["psql", "-qd", TARGET, "-c", f"COPY {into} FROM STDIN (FORMAT binary)"], stdin=out.stdout, check=True
    )
    if out.wait():
        raise SystemExit(out.returncode)


def limit_pg_pg() -> int:
    _pipe(f"SELECT {COLUMNS} FROM customers", "limit_copied")
    return 0


def limit_pg_parquet() -> int:
    """The rows of a ready Arrow file, written as Parquet, plus the bare COPY that has to deliver them."""
    import pyarrow.parquet as pq

    with (FOLDER / "out.copy").open("wb") as out:
        query = f"COPY (SELECT {COLUMNS} FROM customers) TO STDOUT (FORMAT binary)"
        subprocess.run(["psql", "-qd", SOURCE, "-c", query], stdout=out, check=True)
    source = pq.ParquetFile(PARQUET)
    with pq.ParquetWriter(FOLDER / "out.parquet", source.schema_arrow, compression="zstd") as writer:
        for batch in source.iter_batches():
            writer.write_batch(batch)
    return source.metadata.num_rows


def limit_pg_arrow() -> int:
    """The bytes of COPY BINARY, to nowhere."""
    query = f"COPY (SELECT {COLUMNS} FROM customers) TO STDOUT (FORMAT binary)"
    subprocess.run(["psql", "-qd", SOURCE, "-c", query], stdout=subprocess.DEVNULL, check=True)
    return 0


def limit_same_db() -> int:
    """One INSERT into a table without an index."""
    insert = f"INSERT INTO limit_inside SELECT {COLUMNS} FROM customers"
    subprocess.run(["psql", "-qd", SOURCE, "-v", "ON_ERROR_STOP=1", "-c", insert], check=True)
    return 0


def limit_scd2() -> int:
    """Temp table, close, open, written by hand, for a table with the same columns and indexes; the rows are piped."""
    names = COLUMNS.split(", ")
    differs = " OR ".join(f"t.{name} IS DISTINCT FROM s.{name}" for name in names[1:])
    read = f"COPY (SELECT {COLUMNS} FROM changes) TO STDOUT (FORMAT binary)"
    script = (
        "BEGIN;\nCREATE TEMP TABLE stage (LIKE customers_shape) ON COMMIT DROP;\n"
        f'\\copy stage FROM PROGRAM \'psql -qd "{SOURCE}" -c "{read}"\' WITH (FORMAT binary)\n'
        "ANALYZE stage (customer_id);\n"
        "UPDATE limit_versions t SET valid_to = now(), is_current = false FROM stage s"
        f" WHERE t.customer_id = s.customer_id AND t.is_current AND ({differs});\n"
        f"INSERT INTO limit_versions SELECT {', '.join('s.' + name for name in names)}, now(), NULL, true,"
        f" sha256(convert_to(ROW({', '.join('s.' + name for name in names[1:])})::text, 'UTF8')), now(),"
        " 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' FROM stage s WHERE NOT EXISTS"
        " (SELECT 1 FROM limit_versions t WHERE t.customer_id = s.customer_id AND t.is_current);\n"
        "COMMIT;\n"
    )
    subprocess.run(["psql", "-qd", TARGET, "-v", "ON_ERROR_STOP=1"], input=script.encode(), check=True)
    return 0


def limit_csv_parquet() -> int:
    """DuckDB's own copy, on one thread as ours."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        source, out = FOLDER / "texts" / "ready.csv", FOLDER / "limit.parquet"
        connection.execute(f"COPY (FROM read_csv('{source}')) TO '{out}' (FORMAT parquet, COMPRESSION zstd)")
    return 0


def polars_csv_parquet() -> int:
    import polars as pl

    lazy = pl.scan_csv(FOLDER / "texts" / "ready.csv", try_parse_dates=True)
    lazy.sink_parquet(FOLDER / "polars.parquet", compression="zstd")
    return 0


def limit_parquet_pg() -> int:
    with COPY_FILE.open("rb") as ready:
        subprocess.run(
            ["psql", "-qd", TARGET, "-c", "COPY limit_loaded FROM STDIN (FORMAT binary)"], stdin=ready, check=True
        )
    return 0


def limit_parquet_delta() -> int:
    """The bare library over the same file."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from deltalake import write_deltalake

    source = pq.ParquetFile(PARQUET)
    rows = pa.RecordBatchReader.from_batches(source.schema_arrow, source.iter_batches())
    write_deltalake(FOLDER / "delta" / "limit", rows, mode="overwrite")
    return source.metadata.num_rows


def limit_merge() -> int:
    """Temp table and upsert, written by hand; the rows come through a pipe."""
    names = COLUMNS.split(", ")
    sets = ", ".join(f"{name} = excluded.{name}" for name in names[1:])
    differs = " OR ".join(f"t.{name} IS DISTINCT FROM excluded.{name}" for name in names[1:])
    read = f"COPY (SELECT {COLUMNS} FROM changes) TO STDOUT (FORMAT binary)"
    upsert = f"INSERT INTO limit_merged AS t SELECT {COLUMNS} FROM stage ON CONFLICT (customer_id) DO UPDATE SET {sets}"
    script = (
        "BEGIN;\nCREATE TEMP TABLE stage (LIKE customers_shape) ON COMMIT DROP;\n"
        f'\\copy stage FROM PROGRAM \'psql -qd "{SOURCE}" -c "{read}"\' WITH (FORMAT binary)\n'
        f"{upsert} WHERE {differs};\n"
        "COMMIT;\n"
    )
    subprocess.run(["psql", "-qd", TARGET, "-v", "ON_ERROR_STOP=1"], input=script.encode(), check=True)
    return 0


def _with_password(url: str) -> str:
    """dlt refuses a URL without a password, also where the server asks for none."""
    head, _, tail = url.partition("@")
    return url if ":" in head.partition("//")[2] else f"{head}:unused@{tail}"


def _dlt(destination: object, dataset: str, query_table: str, disposition: str) -> int:
    import dlt
    from dlt.sources.sql_database import sql_table

    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    url = _with_password(SOURCE).replace("postgresql://", "postgresql+psycopg2://")
    table = sql_table(url, table=query_table, backend="pyarrow")
    if disposition == "merge":
        table.apply_hints(primary_key="customer_id", write_disposition="merge")
    pipeline = dlt.pipeline(
        f"bench_{dataset}", destination=destination, dataset_name=dataset, pipelines_dir=str(FOLDER / "dlt")
    )
    pipeline.run(table, write_disposition=disposition, table_name="t")
    return 0


def dlt_pg_pg() -> int:
    import dlt

    return _dlt(dlt.destinations.postgres(_with_password(TARGET)), "dlt_copied", "customers", "append")


def dlt_pg_parquet() -> int:
    import dlt

    os.environ["DESTINATION__FILESYSTEM__BUCKET_URL"] = (FOLDER / "dlt_out").as_uri()
    return _dlt(dlt.destinations.filesystem(), "dlt_files", "customers", "append")


def dlt_parquet_pg() -> int:
    import dlt
    import pyarrow.parquet as pq

    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    pipeline = dlt.pipeline(
        "bench_load",
        destination=dlt.destinations.postgres(_with_password(TARGET)),
        dataset_name="dlt_loaded",
        pipelines_dir=str(FOLDER / "dlt"),
    )
    batches = pq.ParquetFile(PARQUET).iter_batches(100_000)
    import pyarrow as pa

    pipeline.run((pa.Table.from_batches([batch]) for batch in batches), table_name="t", write_disposition="append")
    return 0


def dlt_first_merge() -> int:
    """The load of the table that dlt then merges into; not a measured side."""
    import dlt

    return _dlt(dlt.destinations.postgres(_with_password(TARGET)), "dlt_merged", "customers", "merge")


def dlt_merge() -> int:
    import dlt

    return _dlt(dlt.destinations.postgres(_with_password(TARGET)), "dlt_merged", "changes", "merge")


SIDES: dict[tuple[str, str], Callable[[], int]] = {
    **{
        (case, side): globals()[f"{side}_{case}"]
        for case in ("pg_pg", "pg_parquet", "parquet_pg", "merge")
        for side in ("ours", "limit", "dlt")
    },
    **{
        (case, side): globals()[f"{side}_{case}"]
        for case in ("parquet_delta", "pg_arrow", "same_db", "scd2", "csv_parquet")
        for side in ("ours", "limit")
    },
    ("csv_parquet", "polars"): polars_csv_parquet,
    ("merge", "dlt_first"): dlt_first_merge,
    ("scd2", "first"): first_scd2,
}


def _peak_mb() -> float:
    """The most memory this process held; ``ru_maxrss`` would carry over the parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def main() -> None:
    function = SIDES[sys.argv[1], sys.argv[2]]
    start = time.perf_counter()
    rows = function()
    seconds = time.perf_counter() - start
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak_mb": _peak_mb(), "rows": rows}))


if __name__ == "__main__":
    main()
