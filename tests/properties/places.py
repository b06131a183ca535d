"""Where the state machine works: a source and a target table on each backend, cheap to make anew and to read.

Nothing here asks the engine what is in a target: the system's own driver reads it.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, ClassVar

from ematix_nb.declare.data_types import BIGINT, TEXT, TIMESTAMPTZ
from ematix_nb.declare.spec import Column, TableRef
from tests.conformance.matrix import Delta, DuckDB, Postgres, SQLite, SqlSystem
from tests.conformance.values import canon, native_parameter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.properties.oracle import Row

SOURCE, TARGET = "src", "tgt"
KINDS = {"id": BIGINT, "v": TEXT, "at": TIMESTAMPTZ, "more": TEXT}
TIMES = ("at", "_loaded_at", "valid_from", "valid_to")
UNSEEN = ("_batch_id", "row_hash")
"""Columns that differ from run to run, or that no oracle can know."""


def plain(row: dict[str, Any]) -> Row:
    """A row in the form of the oracle: columns that are NULL are not there."""
    found: Row = {}
    for name, value in row.items():
        if value is None or name in UNSEEN:
            continue
        found[name] = canon(value, TIMESTAMPTZ) if name in TIMES else bool(value) if name == "is_current" else value
    return found


class Tables:
    """The tables of one database that hold a source or a target."""

    LIST: ClassVar[dict[str, str]] = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
        "duckdb": "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main'",
        "postgres": "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
    }

    def __init__(self, system: SqlSystem) -> None:
        self.system = system

    def named(self, cursor: Any) -> list[str]:
        """The tables that are there, but for those of the state."""
        cursor.execute(self.LIST[self.system.name])
        return [row[0] for row in cursor.fetchall() if not row[0].startswith(("ematix_flow_", "ematix_stage_guard"))]

    def give(self, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """The source holds exactly these rows, in this order."""
        system, ref = self.system, TableRef(None, SOURCE)
        made = system.dialect.create_table(ref, [Column(name, KINDS[name]) for name in columns])
        places = ", ".join(system._place(KINDS[name]) for name in columns)
        values = [[native_parameter(system.name, row.get(name), KINDS[name]) for name in columns] for row in rows]
        with system.driver() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {SOURCE}")
            cursor.execute(made)
            if values:
                cursor.executemany(f"INSERT INTO {SOURCE} VALUES ({places})", values)


class Place:
    """A source and a target."""

    name: str
    target_url: str
    source_url: str
    tables: Tables
    """Of the source."""
    pace: ClassVar[int] = 2
    """How many changes of the source come before a run, at least: where runs take long, more."""

    overtaken: ClassVar[bool] = False
    """Whether the state can be changed from here while a run is at work."""

    def fresh(self) -> None:
        """No target, no state, no source."""
        raise NotImplementedError

    def rows(self) -> list[Row]:
        """The target's rows; none when it is not there."""
        raise NotImplementedError

    def rest(self) -> list[str]:
        """What no run may leave behind: open history rows, leases, staging tables."""
        raise NotImplementedError

    def everything(self) -> object:
        """All that is there; equal when nothing was written."""
        raise NotImplementedError

    def watermark(self) -> str | None:
        """What is stored."""
        raise NotImplementedError

    def expire_lease(self) -> None:
        """Make the lease of a run look as if its process had hung for long, where runs can be overtaken."""


class SqlPlace(Place):
    """Source and target in one database."""

    overtaken = True

    def __init__(self, system: SqlSystem, url: str) -> None:
        self.system = system
        self.name = system.name
        self.tables = Tables(system)
        self.target_url = self.source_url = url

    def _state(self, table: str) -> str:
        return str(self.system.dialect.table(self.system.dialect.state_table(table)))

    def _has_state(self, cursor: Any) -> bool:
        where = {"sqlite": "sqlite_master WHERE name = 'ematix_flow_lease'"}
        catalogue = "information_schema.tables WHERE table_schema = 'ematix_flow' AND table_name = 'lease'"
        cursor.execute(f"SELECT 1 FROM {where.get(self.name, catalogue)}")
        return bool(cursor.fetchall())

    def fresh(self) -> None:
        """Drop the tables, empty those of the state."""
        with self.system.driver() as cursor:
            for table in self.tables.named(cursor):
                cursor.execute(f'DROP TABLE "{table}"')
            if self._has_state(cursor):
                for table in ("lease", "run_history", "watermarks"):
                    cursor.execute(f"DELETE FROM {self._state(table)}")

    def rows(self) -> list[Row]:
        """By the system's own driver."""
        with self.system.driver() as cursor:
            return list(map(plain, self._all(cursor, TARGET))) if TARGET in self.tables.named(cursor) else []

    def _all(self, cursor: Any, table: str) -> list[dict[str, Any]]:
        cursor.execute(f"SELECT * FROM {table}")
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def rest(self) -> list[str]:
        """Asked of the state tables."""
        with self.system.driver() as cursor:
            found = [name for name in self.tables.named(cursor) if name.startswith("ematix_")]
            if self._has_state(cursor):
                cursor.execute(
                    f"SELECT 'run is ' || status FROM {self._state('run_history')} WHERE status = 'running'"
                    f" UNION ALL SELECT 'leased by ' || run_id FROM {self._state('lease')} WHERE run_id <> ''"
                )
                found += [row[0] for row in cursor.fetchall()]
            return found

    def everything(self) -> object:
        """Rows, columns and state."""
        with self.system.driver() as cursor:
            names = self.tables.named(cursor)
            tables = [TARGET] if TARGET in names else []
            if self._has_state(cursor):
                tables += [self._state(name) for name in ("run_history", "watermarks", "lease")]
            return names, [sorted(map(repr, self._all(cursor, table))) for table in tables]

    def watermark(self) -> str | None:
        """Of the one pipeline."""
        with self.system.driver() as cursor:
            cursor.execute(f"SELECT last_value FROM {self._state('watermarks')}")
            rows = cursor.fetchall()
            return str(rows[0][0]) if rows else None

    def expire_lease(self) -> None:
        """It ran out in 1970."""
        with self.system.driver() as cursor:
            cursor.execute(f"UPDATE {self._state('lease')} SET expires_at = 1")


class DuckPlace(SqlPlace):
    """Times come by Arrow, which needs no further package. The driver cannot open a file that the engine has open."""

    overtaken = False
    pace = 6

    def _all(self, cursor: Any, table: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = cursor.sql(f"SELECT * FROM {table}").to_arrow_table().to_pylist()
        return found


class DeltaPlace(Place):
    """A Delta table; the source is a SQLite database."""

    name = "delta"
    pace = 6

    def __init__(self, folder: Path) -> None:
        self.system = Delta(folder / "lake")
        self.tables = Tables(SQLite(folder / "source.sqlite"))
        self.target_url = f"delta:///{folder}/lake"
        self.source_url = f"sqlite:///{folder}/source.sqlite"

    @property
    def _state(self) -> Path:
        return self.system.folder / TARGET / "_ematix_flow" / "load"

    def fresh(self) -> None:
        """Remove the folder of the table."""
        shutil.rmtree(self.system.folder / TARGET, ignore_errors=True)

    def rows(self) -> list[Row]:
        """By the Delta library."""
        import pyarrow as pa

        table = self.system.delta(TARGET)
        return [plain(row) for row in pa.table(table.scan()).to_pylist()] if table else []

    def rest(self) -> list[str]:
        """Asked of the newest lease file; staged files by their names."""
        found = list(self.system.leftovers())
        newest = sorted(self._state.glob("lease/*.json"))[-1:]
        entry = json.loads(newest[0].read_text())["entry"] if newest else {}
        if holder := (entry.get("lease") or {}).get("run_id"):
            found.append(f"leased by {holder}")
        return found + [f"run is {run['status']}" for run in entry.get("runs", []) if run["status"] == "running"]

    def everything(self) -> object:
        """All files by their bytes."""
        return self.system.everything()

    def watermark(self) -> str | None:
        """Of the state file that the newest commit names."""
        number = self.system.delta(TARGET).transaction_version("ematix_flow/run/load") or 0
        entry = json.loads((self._state / f"{number:012d}.json").read_text())["entry"] if number else {}
        found = entry.get("watermark")
        return str(found["value"]) if found else None


def open_place(name: str, folder: Path, url: str | None) -> Place:
    """A place on one of the backends, below a folder (PostgreSQL: in an empty database)."""
    if name == "delta":
        return DeltaPlace(folder)
    if name == "postgres":
        assert url is not None
        return SqlPlace(Postgres(url), url)
    if name == "duckdb":
        return DuckPlace(DuckDB(folder / "data.duckdb"), f"duckdb:///{folder}/data.duckdb")
    return SqlPlace(SQLite(folder / "data.sqlite"), f"sqlite:///{folder}/data.sqlite")
