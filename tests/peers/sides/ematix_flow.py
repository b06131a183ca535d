"""ematix-flow: `pipeline.sync` between two PostgreSQL databases, and its commands."""

from __future__ import annotations

import datetime as dt
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

from tests.peers.sides import Job, NotPossibleError, serve

ROW_KEY = ", gen_random_uuid() AS row_key"
"""It wants a primary key in every table; where a case has none, each row gets a random one."""


def load(job: Job) -> None:
    from ematix_flow import connect, pipeline
    from ematix_flow.source import Source

    if "rows" in job:
        message = "a batch load reads a database"
        raise NotPossibleError(message)
    if job.get("newest") or job.get("lag"):
        message = "no such option"
        raise NotPossibleError(message)
    options = {
        "incremental_column": job.get("cursor"),
        "event_timestamp_column": job.get("event_time"),
        "handle_deletes": job.get("deletes"),
        "keys": tuple(job["keys"]) if job.get("keys") else None,
    }
    declared = job.get("declared") or job.get("keys")
    pipeline.sync(
        target=_table(job, declared),
        source=Source(connect(url=job["source"]), job["sql"] if declared else _with_row_key(job["sql"])),
        target_connection=connect(url=job["target"]),
        mode=job["mode"],
        **{name: value for name, value in options.items() if value},
    )


def _with_row_key(sql: str) -> str:
    return sql.replace(" FROM ", f"{ROW_KEY} FROM ", 1)


def _table(job: Job, declared: list[str] | None) -> Any:
    """A declaration with the types of the source's table; the event time is not a column of it, which it refuses."""
    from ematix_flow import ematix, nullable, pk
    from ematix_flow.types import UUID

    columns = {
        name: Annotated[kind, pk() if name in (declared or ()) else nullable()]
        for name, kind in _types(job)
        if name != job.get("event_time")
    }
    if not declared:
        columns["row_key"] = Annotated[UUID, pk()]
    return ematix.table(schema="public", name=job["table"])(type("Declared", (), {"__annotations__": columns}))


def _types(job: Job) -> list[tuple[str, Any]]:
    import psycopg2
    from ematix_flow import types

    kinds = {
        "integer": types.Integer, "text": types.Text, "timestamp with time zone": types.TimestampTZ, "date": types.Date,
        "double precision": types.Double, "jsonb": types.JSONB, "uuid": types.UUID, "bytea": types.Bytes,
    }  # fmt: skip
    with psycopg2.connect(job["source"]) as session, session.cursor() as cursor:
        cursor.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            [job["from"]],
        )
        found = cursor.fetchall()
    return [(name, kinds.get(kind) or _numeric(kind)) for name, kind in found]


def _numeric(kind: str) -> Any:
    from ematix_flow import types

    digits = re.findall(r"\d+", kind)
    if not digits:
        message = "a `numeric` without digits cannot be declared"
        raise NotPossibleError(message)
    return types.Numeric[int(digits[0]), int(digits[1])]


MODULE = """\
from typing import Annotated

from ematix_flow import ematix, nullable, pk
from ematix_flow.types import UUID, Integer


@ematix.table(schema="public", name={table!r})
class Loaded:
    row_key: Annotated[UUID, pk()]
    id: Annotated[Integer, nullable()]


@ematix.pipeline(
    target=Loaded, schedule="* * * * *", mode="append", source_connection="source", target_connection="target"
)
def p(source, target):
    return {sql!r}
"""


def command(job: Job) -> dict[str, Any]:
    """A command of its program over a module with one pipeline."""
    folder = Path(job["folder"])
    (folder / "shop.py").write_text(MODULE.format(table=job["table"], sql=_with_row_key(job["sql"])))
    environ = {
        **os.environ,
        "EMATIX_FLOW_DSN_SOURCE": job["source"],
        "EMATIX_FLOW_DSN_TARGET": job["target"],
        "PYTHONPATH": str(folder),
    }
    flow = [str(Path(sys.executable).with_name("flow")), *job["words"]]
    done = subprocess.run(flow, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    return {"code": done.returncode, "out": done.stdout, "err": done.stderr}


def cron(job: Job) -> list[str]:
    from ematix_flow.pipeline import is_due

    start, minute = dt.datetime.fromisoformat(job["since"]), dt.timedelta(minutes=1)
    times = [start + number * minute for number in range(job["minutes"])]
    return [f"{time:%H:%M}" for time in times if is_due(job["schedule"], time, 60, tz=job["timezone"])]


def password(job: Job) -> list[str]:
    import traceback

    import ematix_flow

    found = ematix_flow.PostgresConnection(name="closed", url=job["url"])
    shown = [repr(found), str(vars(found)), pickle.dumps(found).decode("latin-1")]
    try:
        ematix_flow.connect(url=job["url"]).ping()
    except Exception:  # noqa: BLE001 - whatever it raises is to be looked through
        shown.append(traceback.format_exc())
    return shown


if __name__ == "__main__":
    serve({"load": load, "command": command, "cron": cron, "password": password}, "ematix_flow", "psycopg2")
