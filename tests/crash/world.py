"""Sources, targets and declarations for crashes, and what is found in a target afterwards, read without the engine."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import sqlite3
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.crash import child
from tests.crash.child import Job, Step
from tests.support.mariadb import arguments

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

SQL_KINDS = ("duckdb", "sqlite", "postgres", "mysql")
PREFIXED = ("sqlite", "mysql")
"""Kinds whose state tables stand beside the data."""
SESSIONS = {
    "postgres": "SELECT pid, state FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND backend_type = 'client backend'",
    "mysql": "SELECT id, command FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()",
}
"""Who else has a session in the database."""
STORES = ("files", "delta")
"""Kinds without SQL: no post-transform runs there."""
KINDS = (*SQL_KINDS, *STORES)
MODES = ("append", "truncate", "merge", "scd2")

FIRST = [
    (1, "one", 1.5, "2026-01-01 10:00:00"),
    (2, "two", 2.5, "2026-01-01 10:05:00"),
    (3, "three", None, "2026-01-01 10:10:00"),
    (4, "four", 4.5, "2026-01-01 10:20:00"),
]
TIE = (5, "tie", 5.5, "2026-01-01 10:20:00")
LATE = (6, "late", 6.5, "2026-01-01 10:15:00")
NEW = (7, "new", 7.5, "2026-01-01 11:00:00")
CHANGED = (2, "two again", 2.75, "2026-01-01 11:01:00")

SESSION_END_S = 5.0
_CREATE = "CREATE TABLE events (id BIGINT, name VARCHAR, amount DOUBLE, ts TIMESTAMP)"
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["tests.crash.child", "duckdb", "psycopg", "pyarrow.parquet", "sqlglot", "ematix_nb.load.run",
     "ematix_nb.load.post", "ematix_nb.backends.duckdb", "ematix_nb.backends.sqlite", "ematix_nb.backends.postgres",
     "ematix_nb.backends.files", "ematix_nb.backends.files.parquet_files", "ematix_nb.backends.postgres.io",
     "ematix_nb.backends.duckdb.io", "ematix_nb.backends.sqlite.io", "ematix_nb.backends.files.io",
     "pymysql", "ematix_nb.backends.mysql.io", "datafusion",
     "deltalake", "ematix_nb.backends.delta.io", "ematix_nb.backends.delta.writing", "ematix_nb.load.delta_load"]
)  # fmt: skip


def second(mode: str) -> list[tuple[Any, ...]]:
    """What the source holds at the second load."""
    if mode in ("append", "truncate"):
        return [*FIRST, TIE, LATE, NEW]
    return [FIRST[0], CHANGED, *FIRST[2:], TIE, LATE, NEW]


def rows_after(mode: str, loads: int) -> list[tuple[Any, ...]]:
    """The right contents of the target, written down by hand; scd2 rows end with `is current`."""
    if loads == 1:
        return sorted((*row, True) for row in FIRST) if mode == "scd2" else sorted(FIRST)
    if mode == "scd2":
        old = (*FIRST[1], False)
        return sorted([old, *((*row, True) for row in second(mode))])
    return sorted(second(mode))


def declaration(mode: str, name: str, table: str, kind: str = "duckdb") -> dict[str, Any]:
    """Options of one pipeline."""
    options: dict[str, Any] = {
        "name": name,
        "target": f"target:{table}",
        "source_connection": "source",
        "sql": "SELECT id, name, amount, ts FROM events",
        "mode": mode,
    }
    if mode in ("merge", "scd2"):
        options["keys"] = ("id",)
    if mode in ("append", "merge"):
        options.update(incremental=True, watermark_column="ts")
    if kind not in STORES:
        options["transforms_post"] = ["DELETE FROM transform_marks WHERE 1 = 0"]
    return options


def make_source(path: Path, kind: str, rows: list[tuple[Any, ...]]) -> str:
    """A new source database of the kind `duckdb` or `sqlite`; its URL."""
    if kind == "sqlite":
        with sqlite3.connect(path) as connection:
            connection.execute(_CREATE)
            connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
        connection.close()
        return f"sqlite:///{path}"
    import duckdb

    with duckdb.connect(str(path)) as database:
        database.execute(_CREATE)
        database.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
    return f"duckdb:///{path}"


def run_child(job: Job, wait: float = 60) -> tuple[int | None, list[dict[str, Any]]]:
    """Do a job in a process of its own; its exit code (negative: the signal) and its reports."""
    process = start_child(job)
    process.join(wait)
    return process.exitcode, reports(job)


def start_child(job: Job) -> ForkServerProcess:
    """Start a job; returns at once."""
    process = _context.Process(target=child.work, args=(job,), daemon=True)
    process.start()
    return process


def reports(job: Job) -> list[dict[str, Any]]:
    """What a job said; nothing when it did not come to its end."""
    path = Path(job.out)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


@dataclass
class World:
    """One target with its pipeline."""

    kind: str
    mode: str
    folder: Path
    url: str
    sources: tuple[str, str]
    name: str = field(default_factory=lambda: f"p_{uuid.uuid4().hex[:8]}")
    changes: dict[str, Any] = field(default_factory=dict)
    """Options of the declaration that differ from the usual ones."""

    @property
    def table(self) -> str:
        """The target table, or folder."""
        return f"t_{self.name}"

    def options(self) -> dict[str, Any]:
        """The declaration."""
        return {**declaration(self.mode, self.name, self.table, self.kind), **self.changes}

    def job(self, *steps: Step, **options: Any) -> Job:
        """A job on this target."""
        out = self.folder / f"report-{uuid.uuid4().hex[:8]}.json"
        return Job(self.url, self.options(), steps, str(out), **options)

    def step(self, load: int, failpoint: str = "", **options: Any) -> Step:
        """The run of the first or the second version of the source."""
        return Step(self.sources[load - 1], failpoint, **options)

    def prepare(self) -> None:
        """Make what the post-transform works on."""
        if self.kind not in STORES:
            self.execute("CREATE TABLE IF NOT EXISTS transform_marks (n INTEGER)")

    # -- reading without the engine ----------------------------------------------------------------------------

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """One statement by the plain driver, committed."""
        if self.kind == "sqlite":
            with sqlite3.connect(self.path) as connection:
                rows = connection.execute(sql).fetchall()
            connection.close()
            return rows
        if self.kind == "duckdb":
            import duckdb

            with duckdb.connect(str(self.path)) as database:
                database.execute("SET TimeZone = 'UTC'")
                return database.execute(sql).fetchall()
        if self.kind == "mysql":
            import pymysql

            with pymysql.connect(**arguments(self.url), autocommit=True) as database, database.cursor() as answers:
                answers.execute(sql)
                return [tuple(row) for row in answers.fetchall()] if answers.description else []
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as server:
            cursor = server.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    @property
    def path(self) -> Path:
        """File or folder of a target that has one."""
        return Path(self.url.partition("://")[2].partition("?")[0])

    def _state(self, table: str) -> str:
        return f"ematix_flow_{table}" if self.kind in PREFIXED else f"ematix_flow.{table}"

    def rows(self) -> list[tuple[Any, ...]]:
        """The target's data, sorted; of scd2 with `is current`."""
        if self.kind == "files":
            return self._file_rows()
        if self.kind == "delta":
            return self._delta_rows()
        if not self.has_table(self.table):
            return []
        extra = ", is_current" if self.mode == "scd2" else ""
        times = "ts" if self.kind in PREFIXED else "CAST(ts AS VARCHAR(19))"
        found = self.execute(f"SELECT id, name, amount, {times}{extra} FROM {self.table}")
        shown = [(*row[:3], str(row[3]).replace("T", " ")[:19], *(bool(value) for value in row[4:])) for row in found]
        return sorted(shown, key=repr)

    def _file_rows(self) -> list[tuple[Any, ...]]:
        import pyarrow.parquet as pq

        rows = []
        for name in self.manifest().get("files", []):
            path = self.path / self.table / name
            shown = path if path.exists() else path.with_name(f".{path.name}.tmp")  # published, and not renamed yet
            found = pq.read_table(shown, partitioning=None).to_pylist()
            rows += [(row["id"], row["name"], row["amount"], str(row["ts"])[:19]) for row in found]
        return sorted(rows, key=repr)

    def delta(self) -> Any:
        """The target as the library's own object; None when it is not there."""
        from deltalake import DeltaTable

        folder = self.path / self.table
        return DeltaTable(folder) if (folder / "_delta_log").exists() else None

    def _delta_rows(self) -> list[tuple[Any, ...]]:
        import pyarrow as pa

        table = self.delta()
        extra = ["is_current"] if self.mode == "scd2" else []
        found = pa.table(table.scan(columns=["id", "name", "amount", "ts", *extra])).to_pylist() if table else []
        rows = [
            (row["id"], row["name"], row["amount"], str(row["ts"])[:19], *(row[name] for name in extra))
            for row in found
        ]
        return sorted(rows, key=repr)

    def manifest(self) -> dict[str, Any]:
        """The newest manifest; empty when there is none."""
        folder = self.path / self.table / "_ematix_flow" / "manifest"
        found = sorted(folder.glob("*.json"), key=lambda path: int(path.stem))
        return dict(json.loads(found[-1].read_text(encoding="utf-8"))) if found else {}

    def _entry(self) -> dict[str, Any]:
        if self.kind == "delta":
            return self._delta_entry()
        return dict(self.manifest().get("state", {}).get("pipelines", {}).get(self.name, {}))

    def _delta_entry(self) -> dict[str, Any]:
        """The state that the newest commit names, with the newest lease and the runs that did not commit."""
        folder = f"_ematix_flow/{self.name}"
        table = self.delta()
        number = (table.transaction_version(f"ematix_flow/run/{self.name}") or 0) if table else 0
        entry: dict[str, Any] = {}
        if number:
            entry = json.loads(self._text(f"{folder}/{number:012d}.json"))["entry"]
        newest = self._files(f"{folder}/lease")[-1:]
        lease = json.loads(self._text(f"{folder}/lease/{newest[0]}"))["entry"] if newest else {}
        known = {row["run_id"] for row in entry.get("runs", [])}
        rows = [*entry.get("runs", []), *(row for row in lease.get("runs", []) if row["run_id"] not in known)]
        return {**entry, "lease": lease.get("lease"), "runs": sorted(rows, key=lambda row: str(row["started_at"]))}

    def _files(self, folder: str) -> list[str]:
        """The JSON files in a folder below the target, in order."""
        return sorted(path.name for path in (self.path / self.table / folder).glob("*.json"))

    def _text(self, name: str) -> str:
        """A file below the target."""
        return (self.path / self.table / name).read_text(encoding="utf-8")

    def has_table(self, name: str) -> bool:
        """Whether a table is there."""
        return any(name == table for table in self.tables())

    def tables(self) -> list[str]:
        """All tables, temporary ones of other sessions included where they can be seen."""
        if self.kind == "sqlite":
            found = self.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        elif self.kind == "duckdb":
            found = self.execute("SELECT table_name FROM information_schema.tables")
        elif self.kind == "mysql":
            found = self.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()")
        else:
            found = self.execute("SELECT relname::text FROM pg_class WHERE relkind = 'r'")
        return [row[0] for row in found]

    def history(self) -> list[tuple[str, str]]:
        """(run id, status) of the loads, oldest first."""
        if self.kind in STORES:
            return [(row["run_id"], row["status"]) for row in self._entry().get("runs", [])]
        if not self.has_table("run_history" if self.kind not in PREFIXED else "ematix_flow_run_history"):
            return []
        text = "CHAR(40)" if self.kind == "mysql" else "VARCHAR(40)"
        found = self.execute(
            f"SELECT CAST(run_id AS {text}), status FROM {self._state('run_history')}"
            f" WHERE pipeline_name = '{self.name}' AND mode <> 'transform' ORDER BY started_at"
        )
        return [(row[0], row[1]) for row in found]

    def statuses(self) -> list[str]:
        """The statuses of the loads, oldest first."""
        return [status for _, status in self.history()]

    def errors(self) -> list[str]:
        """The error texts of the loads, oldest first."""
        if self.kind in STORES:
            return [row["error"] for row in self._entry().get("runs", [])]
        found = self.execute(
            f"SELECT coalesce(error_message, '') FROM {self._state('run_history')}"
            f" WHERE pipeline_name = '{self.name}' AND mode <> 'transform' ORDER BY started_at"
        )
        return [row[0] for row in found]

    def watermark(self) -> str | None:
        """The stored watermark."""
        if self.kind in STORES:
            found = self._entry().get("watermark")
            return str(found["value"]) if found else None
        rows = self.execute(f"SELECT last_value FROM {self._state('watermarks')} WHERE pipeline_name = '{self.name}'")
        return str(rows[0][0]) if rows else None

    def lease(self) -> str:
        """The run that holds the lease; empty when none does."""
        if self.kind in STORES:
            return str((self._entry().get("lease") or {}).get("run_id", ""))
        rows = self.execute(f"SELECT run_id FROM {self._state('lease')} WHERE pipeline_name = '{self.name}'")
        return str(rows[0][0]) if rows else ""

    def leftovers(self) -> list[str]:
        """Staging tables or files, sessions that are still in a transaction, locks."""
        if self.kind in STORES:
            return self._loose_files()
        found = [name for name in self.tables() if name.startswith("ematix_") and "ematix_flow" not in name]
        return found + (self._sessions() if self.kind in SESSIONS else [])

    def _sessions(self) -> list[str]:
        """Sessions that stay: the server needs a moment to notice that a client has gone."""
        deadline = time.monotonic() + SESSION_END_S
        while True:
            sessions = self.execute(SESSIONS[self.kind])
            if not sessions or time.monotonic() > deadline:
                return [f"session {pid} {state}" for pid, state in sessions]
            time.sleep(0.05)

    def _loose_files(self) -> list[str]:
        folder = self.path / self.table
        if self.kind == "delta":
            return self._loose_delta_files(folder)
        listed = {folder / name for name in self.manifest().get("files", [])}
        data = [path for path in folder.rglob("*") if path.is_file() and "_ematix_flow" not in path.parts]
        return sorted(path.name for path in data if path not in listed)

    def _loose_delta_files(self, folder: Path) -> list[str]:
        """Staged files that no version names (replaced ones stay for older versions), and their logs."""
        log = "".join(path.read_text() for path in (folder / "_delta_log").glob("*.json"))
        data = [path for path in folder.rglob("*.parquet") if path.name not in log]
        return sorted([*(path.name for path in data), *(path.parent.name for path in folder.glob("*/_delta_log"))])


def clone(world: World, **changes: Any) -> World:
    """The same with other fields."""
    return dataclasses.replace(world, **changes)
