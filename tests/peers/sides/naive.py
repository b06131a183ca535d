"""No tool: the loop that one writes by hand, so that what asks the tools is tested without any."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from tests.peers.sides import NotPossibleError, serve

if TYPE_CHECKING:
    from tests.peers.sides import Job


def load(job: Job) -> None:
    if job["mode"] != "append":
        message = "it only appends"
        raise NotPossibleError(message)
    with psycopg.connect(job["source"]) as source, psycopg.connect(job["target"]) as target:
        target.execute(f"CREATE TABLE IF NOT EXISTS {job['table']} (id int, note text, ts timestamptz)".encode())
        target.commit()
        query, values = f"SELECT id, note, {'ts' if 'ts' in job['sql'] else 'NULL'} FROM {job['from']}", []
        if job.get("cursor"):
            (last,) = target.execute(f"SELECT max({job['cursor']}) FROM {job['table']}".encode()).fetchone() or (None,)
            if last is not None:
                query, values = f"{query} WHERE {job['cursor']} > %s", [last]
        rows = source.execute(query.encode(), values)
        target.cursor().executemany(f"INSERT INTO {job['table']} VALUES (%s, %s, %s)".encode(), rows.fetchall())


if __name__ == "__main__":
    serve({"load": load})
