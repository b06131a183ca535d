"""``make bench``: every case, sides in turn, three rounds; medians and ratios, also in ``benchmarks/results.json``.

Needs ``psql`` and a PostgreSQL server in ``EMATIX_TEST_PG_URL`` on which databases may be created; dlt is measured
when it is installed (``pip install 'dlt[postgres,sql_database,parquet]' psycopg2-binary``).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.data import COLUMNS, make, make_changes
from benchmarks.sides import SIDES
from benchmarks.startup import startup

CASES = ("pg_pg", "pg_parquet", "parquet_pg", "parquet_delta", "merge", "pg_arrow", "same_db", "scd2", "csv_parquet")
PEERS = {"csv_parquet": "polars"}
"""What else is measured beside the limit; dlt where nothing is named."""
TITLES = {
    "pg_pg": "PostgreSQL to PostgreSQL, two databases",
    "pg_parquet": "PostgreSQL to Parquet",
    "parquet_pg": "Parquet to PostgreSQL",
    "parquet_delta": "Parquet to Delta",
    "merge": "merge of 200,000 rows (half changed, half new)",
    "pg_arrow": "PostgreSQL to Arrow, dropped",
    "same_db": "inside one PostgreSQL database",
    "scd2": "scd2: 200,000 rows (half changed, half new)",
    "csv_parquet": "CSV to Parquet, one thread",
}
ROUNDS = 3
VERSIONS = (
    "ALTER TABLE limit_versions ADD valid_from timestamptz DEFAULT '2026-01-01', ADD valid_to timestamptz,"
    " ADD is_current boolean DEFAULT true, ADD row_hash bytea DEFAULT '', ADD _loaded_at timestamptz,"
    " ADD _batch_id uuid"
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", choices=(*CASES, "startup"), action="append")
    parser.add_argument("--no-dlt", action="store_true")
    arguments = parser.parse_args()
    server = os.environ.get("EMATIX_TEST_PG_URL", "postgresql://postgres@127.0.0.1/postgres")
    wanted = arguments.only or [*CASES, "startup"]
    results: dict[str, Any] = {}
    moves = [case for case in CASES if case in wanted]
    if moves:
        results.update(_moves(server, moves, arguments))
    if "startup" in wanted:
        results["startup"] = startup()
    _show(results)
    kept = Path("benchmarks/results.json")
    before = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    kept.write_text(json.dumps({**before, **results}, indent=1) + "\n", encoding="utf-8")
    return 0


def _moves(server: str, cases: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    mark = uuid.uuid4().hex[:8]
    names = (f"bench_source_{mark}", f"bench_target_{mark}")
    with psycopg.connect(server, autocommit=True) as admin, tempfile.TemporaryDirectory() as folder:
        for name in names:
            admin.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]  # names are ours
        try:
            urls = [_database(server, name) for name in names]
            environment = {
                **os.environ,
                "BENCH_SOURCE": urls[0],
                "BENCH_TARGET": urls[1],
                "BENCH_DIR": folder,
                "HOME": folder,
                "PYTHONWARNINGS": "ignore",
            }
            _prepare(urls, Path(folder), arguments.rows)
            return {case: _case(case, urls, environment, arguments) for case in cases}
        finally:
            for name in names:
                admin.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]


def _database(server: str, name: str) -> str:
    from tests.support.postgres import with_database

    return with_database(server, name)


def _prepare(urls: list[str], folder: Path, rows: int) -> None:
    (folder / "lake").mkdir()
    (folder / "delta").mkdir()
    with psycopg.connect(urls[0], autocommit=True) as source:
        make(source, "customers", 1, rows)
        make_changes(source, "changes", rows, rows // 10, rows // 10)
        source.execute("VACUUM ANALYZE")
        copy_sql = f"COPY (SELECT {COLUMNS} FROM customers) TO STDOUT (FORMAT binary)".encode()
        with (folder / "ready.copy").open("wb") as out, source.cursor() as cursor, cursor.copy(copy_sql) as copy:
            for chunk in copy:
                out.write(chunk)
    _write_parquet(urls[0], folder / "lake" / "ready.parquet")
    (folder / "texts").mkdir()
    with (
        psycopg.connect(urls[0]) as source,
        (folder / "texts" / "ready.csv").open("wb") as out,
        source.cursor() as cursor,
        cursor.copy(f"COPY (SELECT {COLUMNS} FROM customers) TO STDOUT (FORMAT csv, HEADER)".encode()) as copy,
    ):
        for chunk in copy:
            out.write(chunk)


def _write_parquet(url: str, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from ematix_nb import PostgresConnection
    from ematix_nb.backends.registry import open_session
    from ematix_nb.declare.data_types import to_arrow

    session = open_session(PostgresConnection(name="bench", url=url), read_only=True)
    query = f"SELECT {COLUMNS} FROM customers"
    columns = session.describe(query)
    schema = pa.schema([pa.field(column.name, to_arrow(column.type)) for column in columns])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in session.read(query, columns):
            writer.write_batch(batch)
    session.close()


def _case(case: str, urls: list[str], environment: dict[str, str], arguments: argparse.Namespace) -> dict[str, Any]:
    sides = ["limit", "ours"]
    if case in PEERS:
        sides.append(PEERS[case])
    elif (case, "dlt") in SIDES and not arguments.no_dlt and importlib.util.find_spec("dlt") is not None:
        sides.append("dlt")
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for number in range(arguments.rounds):
        for side in sides if number == 0 else [side for side in sides if side != "dlt"]:
            _reset(case, urls, arguments.rows)
            if (case, side) == ("merge", "dlt"):
                _side(case, "dlt_first", environment)
            if (case, side) == ("scd2", "ours"):
                _side(case, "first", environment)
            if figures := _side(case, side, environment):
                runs[side].append(figures)
    return {side: _median(found) for side, found in runs.items() if found}


def _side(case: str, side: str, environment: dict[str, str]) -> dict[str, float]:
    """The figures of one side in a process of its own; none when it failed."""
    command = [sys.executable, "-m", "benchmarks.sides", case, side]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{case} {side} failed: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return {}
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def _reset(case: str, urls: list[str], rows: int) -> None:
    with psycopg.connect(urls[1], autocommit=True) as target:
        target.execute("DROP SCHEMA IF EXISTS ematix_flow CASCADE")
        for name in ("copied", "loaded", "limit_copied", "limit_loaded", "customers_shape"):
            target.execute(f"DROP TABLE IF EXISTS {name}")  # type: ignore[arg-type]
        for name in ("limit_copied", "limit_loaded", "customers_shape"):
            make(target, name, 1, 0)
            target.execute(f"ALTER TABLE {name} DROP CONSTRAINT {name}_pkey")  # type: ignore[arg-type]
        if case == "scd2":
            target.execute("DROP TABLE IF EXISTS versions, limit_versions")
            make(target, "limit_versions", 1, rows)
            target.execute("ALTER TABLE limit_versions DROP CONSTRAINT limit_versions_pkey")
            target.execute(VERSIONS)
            target.execute("ALTER TABLE limit_versions ADD PRIMARY KEY (customer_id, valid_from)")
            target.execute("CREATE UNIQUE INDEX ON limit_versions (customer_id) WHERE is_current")
            target.execute("VACUUM ANALYZE limit_versions")
        if case == "merge":
            for name in ("merged", "limit_merged"):
                make(target, name, 1, rows)
            target.execute("DROP SCHEMA IF EXISTS dlt_merged CASCADE")
            target.execute("VACUUM ANALYZE")
        target.execute("CHECKPOINT")
    if case == "same_db":
        with psycopg.connect(urls[0], autocommit=True) as source:
            source.execute("DROP SCHEMA IF EXISTS ematix_flow CASCADE")
            source.execute("DROP TABLE IF EXISTS inside")
            make(source, "limit_inside", 1, 0)
            source.execute("ALTER TABLE limit_inside DROP CONSTRAINT limit_inside_pkey")
            source.execute("CHECKPOINT")


def _median(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in ("seconds", "cpu", "peak_mb")}


def _show(results: dict[str, Any]) -> None:
    for case in CASES:
        if case not in results:
            continue
        print(TITLES[case])
        limit = results[case].get("limit", {}).get("seconds")
        for side, figures in results[case].items():
            ratio = f"{figures['seconds'] / limit:5.2f} x limit" if limit else ""
            times = f"{figures['seconds']:8.2f} s {figures['cpu']:8.2f} s CPU"
            print(f"  {side:6}{times} {figures['peak_mb']:7.0f} MB  {ratio}")
    for name, figures in results.get("startup", {}).items():
        print(f"{name:40}{figures['wall_ms']:8.0f} ms wall {figures['cpu_ms']:8.0f} ms CPU")


if __name__ == "__main__":
    raise SystemExit(main())
