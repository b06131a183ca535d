"""What a user would pick instead. Has an environment of its own (``benchmarks/peers.txt``)."""

from __future__ import annotations

import os

from benchmarks.data import COLUMNS

from . import FOLDER, PARQUET, SOURCE, TARGET, modules, side

DLT = modules("dlt", "dlt.sources.sql_database", "pyarrow.parquet")
EMATIX_FLOW = modules("ematix_flow", "ematix_flow.source", "ematix_flow.types")


def _with_password(url: str) -> str:
    """dlt refuses a URL without a password, also where the server asks for none."""
    head, _, tail = url.partition("@")
    return url if ":" in head.partition("//")[2] else f"{head}:unused@{tail}"


def _dlt(destination: object, dataset: str, table_name: str, disposition: str) -> None:
    import dlt
    from dlt.sources.sql_database import sql_table

    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    url = _with_password(SOURCE).replace("postgresql://", "postgresql+psycopg2://")
    table = sql_table(url, table=table_name, backend="pyarrow")
    if disposition == "merge":
        table.apply_hints(primary_key="customer_id", write_disposition="merge")
    pipeline = dlt.pipeline(
        f"bench_{dataset}", destination=destination, dataset_name=dataset, pipelines_dir=str(FOLDER / "dlt")
    )
    pipeline.run(table, write_disposition=disposition, table_name="t")


def _dlt_postgres() -> object:
    import dlt

    return dlt.destinations.postgres(_with_password(TARGET))


@side("pg_pg", "dlt", DLT)
def dlt_pg_pg() -> None:
    _dlt(_dlt_postgres(), "dlt_copied", "customers", "append")


@side("pg_parquet", "dlt", DLT)
def dlt_pg_parquet() -> None:
    import dlt

    os.environ["DESTINATION__FILESYSTEM__BUCKET_URL"] = (FOLDER / "dlt_out").as_uri()
    _dlt(dlt.destinations.filesystem(), "dlt_files", "customers", "append")


@side("parquet_pg", "dlt", DLT)
def dlt_parquet_pg() -> None:
    import dlt
    import pyarrow as pa
    import pyarrow.parquet as pq

    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    pipeline = dlt.pipeline(
        "bench_load", destination=_dlt_postgres(), dataset_name="dlt_loaded", pipelines_dir=str(FOLDER / "dlt")
    )
    batches = pq.ParquetFile(PARQUET).iter_batches(100_000)
    pipeline.run((pa.Table.from_batches([batch]) for batch in batches), table_name="t", write_disposition="append")


@side("merge", "dlt_first")
def dlt_first_merge() -> None:
    """The load of the table that dlt then merges into; not a measured side."""
    _dlt(_dlt_postgres(), "dlt_merged", "customers", "merge")


@side("merge", "dlt", DLT)
def dlt_merge() -> None:
    _dlt(_dlt_postgres(), "dlt_merged", "changes", "merge")


def _ematix_flow(table: str, source: str, mode: str) -> None:
    from typing import Annotated

    from ematix_flow import connect, ematix, nullable, pipeline, pk
    from ematix_flow.source import Source
    from ematix_flow.types import BigInt, Boolean, Numeric, Text, TimestampTZ

    kinds = (BigInt, Text, Text, Text, Numeric[12, 2], TimestampTZ, Boolean)
    markers = (pk(), *[nullable()] * 6)
    columns = {
        name: Annotated[kind, marker] for name, kind, marker in zip(COLUMNS.split(", "), kinds, markers, strict=True)
    }
    # made by hand: annotations of a class in a function would be texts, and it does not see the names in them
    customers = ematix.table(schema="public", name=table)(type("Customers", (), {"__annotations__": columns}))
    pipeline.sync(
        target=customers,
        source=Source(connect(url=SOURCE), f"SELECT {COLUMNS} FROM {source}"),
        target_connection=connect(url=TARGET),
        mode=mode,
        force_path="cross_db",
        keys=None if mode == "append" else ("customer_id",),
    )


@side("pg_pg", "ematix_flow", EMATIX_FLOW)
def ematix_flow_pg_pg() -> None:
    _ematix_flow("peer_copied", "customers", "append")


@side("merge", "ematix_flow_first")
def ematix_flow_first_merge() -> None:
    _ematix_flow("peer_merged", "customers", "append")


@side("merge", "ematix_flow", EMATIX_FLOW)
def ematix_flow_merge() -> None:
    _ematix_flow("peer_merged", "changes", "merge")


@side("scd2", "ematix_flow_first")
def ematix_flow_first_scd2() -> None:
    _ematix_flow("peer_versions", "customers", "scd2")


@side("scd2", "ematix_flow", EMATIX_FLOW)
def ematix_flow_scd2() -> None:
    _ematix_flow("peer_versions", "changes", "scd2")
