"""dlt: tables through its `sql_database` source, rows as a list; its settings as they come."""

from __future__ import annotations

import os
import pickle
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.peers.sides import Job, NotPossibleError, serve


def load(job: Job) -> None:
    import dlt

    if job.get("event_time"):
        message = "scd2 takes one time for a load (`boundary_timestamp`), none of a row"
        raise NotPossibleError(message)
    # a run that was killed is taken up again from this folder, as on a machine that restarts
    pipeline = dlt.pipeline(
        f"p_{zlib.crc32(job['table'].encode())}",
        destination=dlt.destinations.postgres(with_password(job["target"])),
        dataset_name="public",
        pipelines_dir=str(Path(job["folder"]) / "dlt"),
    )
    mode: Any = {"disposition": "merge", "strategy": "scd2"} if job["mode"] == "scd2" else job["mode"]
    resource = _rows(job) if "rows" in job else _table(job)
    hints: dict[str, Any] = {"primary_key": job["keys"]} if job["mode"] == "merge" else {}
    if job.get("newest"):
        hints["columns"] = {job["newest"]: {"dedup_sort": "desc"}}
    resource.apply_hints(write_disposition=mode, **hints)
    pipeline.run(resource, table_name=job["table"], write_disposition=mode)


def with_password(url: str) -> str:
    """It refuses a URL without a password, also where the server asks for none."""
    parts = urlsplit(url)
    return url if parts.password else url.replace("@", ":unused@", 1)


def _rows(job: Job) -> Any:
    import dlt

    return dlt.resource(job["rows"], name="rows")


def _table(job: Job) -> Any:
    import dlt
    from dlt.sources.sql_database import sql_table

    url = with_password(job["source"]).replace("postgresql://", "postgresql+psycopg2://")
    options = {"lag": float(job["lag"])} if job.get("lag") else {}
    cursor = dlt.sources.incremental(job["cursor"], **options) if job.get("cursor") else None
    return sql_table(url, table=job["from"], incremental=cursor)


def password(job: Job) -> list[str]:
    import traceback

    import dlt
    from dlt.destinations.impl.postgres.configuration import PostgresCredentials

    made, found = dlt.destinations.postgres(job["url"]), PostgresCredentials(job["url"])
    shown = [repr(found), str(vars(found)), pickle.dumps(found).decode("latin-1")]
    try:
        pipeline = dlt.pipeline("closed", destination=made, dataset_name="d", pipelines_dir=job["folder"])
        pipeline.run([{"id": 1}], table_name="t")
    except Exception:  # noqa: BLE001 - whatever it raises is to be looked through
        shown.append(traceback.format_exc())
    return shown


if __name__ == "__main__":
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    serve({"load": load, "password": password}, "dlt", "dlt.sources.sql_database", "psycopg2")
