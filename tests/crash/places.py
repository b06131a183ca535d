"""Targets that are put back in a moment, faults that are counted, and what must hold after each: one process, no waits.

A case is a run with one fault, and the same run without. Whatever the fault was, rows and history tell the same story
after the first, and the second leaves what one clean run would have left.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ematix_nb.backends.registry import open_session
from ematix_nb.config import connect
from ematix_nb.connections import resolve
from ematix_nb.declare.pipelines import build_pipeline
from ematix_nb.errors import FlowError
from ematix_nb.state.model import TERMINAL
from ematix_nb.state.tables import TABLES
from ematix_nb.verbs.run import run
from tests.crash.world import FIRST, MODES, PREFIXED, STORES, World, make_source, rows_after, second
from tests.support.mariadb import arguments

if TYPE_CHECKING:
    from collections.abc import Callable

    from ematix_nb.declare.spec import PipelineSpec

NEWEST = {"append": "2026-01-01 11:00:00.000000", "merge": "2026-01-01 11:01:00.000000"}
SESSION_POLL_S = 0.002
SESSION_PATIENCE_S = 10.0
STATE = tuple(name for name in TABLES if name != "state_version")


@dataclass(frozen=True)
class Fault:
    """What a call does in place of its work."""

    name: str
    error: Callable[[], BaseException]
    late: bool = False
    """The work is done, and its answer is lost."""
    lasting: bool = False
    """All later calls of the run fail as well."""
    raw: bool = False
    """The error of the run need not be one of ours: it is no refusal of the target."""


@dataclass
class Trap:
    """Counts calls, and makes the n-th one fail."""

    at: int = 0
    """From 1; 0: none."""
    fault: Fault | None = None
    calls: int = 0
    fired: int = 0
    drop: Callable[[Any], object] = repr
    """What becomes of an answer that is lost."""

    def call(self, work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Do a call's work, or what the fault says."""
        self.calls += 1
        if not self.at or self.fault is None or self.calls < self.at or (self.fired and not self.fault.lasting):
            return work(*arguments, **options)
        self.fired += 1
        if self.fault.late:
            self.drop(work(*arguments, **options))
        raise self.fault.error()

    def set(self, at: int, fault: Fault) -> None:
        """Make a call fail, counted from here."""
        self.calls, self.fired, self.at, self.fault = 0, 0, at, fault

    def mend(self) -> None:
        """No more faults."""
        self.at = 0


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    status: str
    """As in the result; ``raised`` when there is none."""
    error: BaseException | None = None
    warnings: tuple[str, ...] = ()


def ended(spec: PipelineSpec) -> Ended:
    """Run a pipeline, and take whatever comes."""
    try:
        result = run(spec)
    except (Exception, KeyboardInterrupt) as exc:  # noqa: BLE001  whatever it is, it is what is looked at
        return Ended("raised", exc)
    outcome = result.targets[0]
    return Ended(result.status, outcome.error, outcome.warnings)


@dataclass
class Place(World):
    """A world that is put back to where a load begins; its reader stays connected."""

    load: int = 2
    """The load that is tried: the first one, into nothing, or the second."""
    reader: Any = None
    spec: PipelineSpec = field(default=None)  # type: ignore[assignment]

    def keep(self) -> None:
        """Do the first load, and remember what is there then."""
        self.changes = {"transforms_post": []} if self.kind not in STORES else {}
        self.connect()
        connect(self.sources[0], name="source")
        self.spec = build_pipeline(**self.options())
        if self.load == 1:
            self.keep_nothing()
        else:
            done = ended(self.spec)
            assert done.status == "success", done
            self.keep_load()
        self.restore()

    def connect(self) -> None:
        """Make both connections known."""
        connect(self.url, name="target")
        connect(self.sources[self.load - 1], name="source")

    def keep_load(self) -> None:
        """Remember what the first load left."""
        raise NotImplementedError

    def keep_nothing(self) -> None:
        """Remember that nothing is there."""

    def restore(self) -> None:
        """Put back what was kept."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the reader."""
        if self.reader is not None:
            self.reader.close()

    # -- a case -----------------------------------------------------------------------------------------------

    def try_again(self, found: Ended, *, raw: bool = False, deaf: bool = False) -> None:
        """Hold the target against how a run ended, and run again.

        Args:
            found: How the run with the fault ended.
            raw: Its error need not be one of ours.
            deaf: The target could not be asked any more when the run ended.
        """
        before = rows_after(self.mode, 1) if self.load == 2 else []
        after = sorted(rows_after(self.mode, self.load), key=repr)
        landed = self.statuses().count("success") == self.load
        assert self.rows() == (after if landed else sorted(before, key=repr)), "a reader sees before or after"
        told = f"{found.status}: {found.error}"
        assert raw or found.error is None or isinstance(found.error, FlowError), repr(found.error)
        if found.status != "raised" and not deaf:
            assert landed == (found.status == "success"), told
        again = ended(self.spec)
        assert again.status == "success", f"{again.error} after {told}"
        assert self.rows() == after
        assert set(self.statuses()) <= set(TERMINAL)
        assert (self.lease(), self.leftovers()) == ("", [])
        if self.load == 2 and self.mode in NEWEST:
            assert self.watermark() == NEWEST[self.mode]


class SQLitePlace(Place):
    """A file that is written anew."""

    _kept = b""

    def keep_load(self) -> None:
        """Remember the bytes."""
        self._kept = self.path.read_bytes()

    def restore(self) -> None:
        """Write them."""
        for ending in ("-journal", "-wal", "-shm"):
            Path(f"{self.path}{ending}").unlink(missing_ok=True)
        self.path.write_bytes(self._kept)


class FolderPlace(Place):
    """A folder that is copied anew."""

    def keep_load(self) -> None:
        """Remember the folder."""
        shutil.copytree(self.path, self._kept)

    def keep_nothing(self) -> None:
        """An empty folder."""
        self._kept.mkdir()

    @property
    def _kept(self) -> Path:
        return self.path.with_name(f"{self.path.name}-kept")

    def restore(self) -> None:
        """Copy it."""
        for path in self.path.iterdir() if self.path.exists() else ():
            shutil.rmtree(path)
        shutil.copytree(self._kept, self.path, dirs_exist_ok=True)


class TablePlace(Place):
    """Tables that are filled anew, by a session that stays."""

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """One statement."""
        raise NotImplementedError

    def _tables(self) -> list[tuple[str, str]]:
        """Name and kept copy of the target and of the state tables."""
        mine = [(self.table, f"kept_{self.table}")]
        return mine + [(self._state(name), f"kept_{self.table}_{name}") for name in STATE]

    def keep_load(self) -> None:
        """Remember the rows."""
        for name, kept in self._tables():
            where = "" if name == self.table else f" WHERE pipeline_name = '{self.name}'"
            self.execute(f"CREATE TABLE {kept} AS SELECT * FROM {name}{where}")

    def keep_nothing(self) -> None:
        """The state tables stay from the first load of all."""
        assert ended(self.spec).status == "success"

    def restore(self) -> None:
        """Put them back."""
        if self.load == 1:
            self.execute(f"DROP TABLE IF EXISTS {self.table}")
            if self.has_table("run_history" if self.kind not in PREFIXED else "ematix_flow_run_history"):
                for name in STATE:
                    self.execute(f"DELETE FROM {self._state(name)} WHERE pipeline_name = '{self.name}'")
            return
        for name, _ in self._tables():
            where = "" if name == self.table else f" WHERE pipeline_name = '{self.name}'"
            self.execute(f"DELETE FROM {name}{where}")
        for name, kept in self._tables():
            self.execute(f"INSERT INTO {name} SELECT * FROM {kept}")


class DuckDBPlace(TablePlace):
    """A file that stays open."""

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """One statement, by a cursor on the file that the engine opened."""
        if self.reader is None:
            self.connect()
            self.reader = open_session(resolve("target"))
        cursor = self.reader._cursor
        found = cursor.execute(sql)
        rows: list[tuple[Any, ...]] = found.fetchall() if found.description else []
        return rows


class ServerPlace(TablePlace):
    """A database of a server; the reader does not take the line that is cut."""

    direct: str = ""
    """The URL without the line."""
    _readers: ClassVar[dict[str, Any]] = {}
    """One for each database: another would be a session that stays."""

    def _reader(self, connect: Callable[[], Any]) -> Any:
        """The session that reads, made when it is first asked for."""
        if self.direct not in self._readers:
            self._readers[self.direct] = connect()
        return self._readers[self.direct]

    def close(self) -> None:
        """Close the reader, which other places may have had too."""
        if (reader := self._readers.pop(self.direct, None)) is not None:
            reader.close()

    def _sessions(self) -> list[str]:
        from tests.crash.world import SESSIONS

        deadline = time.monotonic() + SESSION_PATIENCE_S
        while sessions := self.execute(SESSIONS[self.kind]):
            if time.monotonic() > deadline:
                return [f"session {pid} {state}" for pid, state in sessions]
            time.sleep(SESSION_POLL_S)
        return []


class PostgresPlace(ServerPlace):
    """PostgreSQL."""

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """One statement."""
        import psycopg

        cursor = self._reader(lambda: psycopg.connect(self.direct, autocommit=True)).execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


class MySQLPlace(ServerPlace):
    """MariaDB."""

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """One statement."""
        import pymysql

        reader = self._reader(lambda: pymysql.connect(**arguments(self.direct), autocommit=True))
        with reader.cursor() as cursor:
            cursor.execute(sql)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []


PLACES: dict[str, type[Place]] = {
    "sqlite": SQLitePlace,
    "duckdb": DuckDBPlace,
    "postgres": PostgresPlace,
    "mysql": MySQLPlace,
    "files": FolderPlace,
    "delta": FolderPlace,
}
URLS = {
    "sqlite": "sqlite:///{folder}/target.sqlite",
    "duckdb": "duckdb:///{folder}/target.duckdb",
    "files": "file:///{folder}/lake?format=parquet",
    "delta": "delta:///{folder}/lake",
}


class Places:
    """All places of a session of tests, each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[tuple[str, ...], Place] = {}
        for load, mode in ((1, ""), *((2, mode) for mode in MODES)):
            make_source(self._source(load, mode), "sqlite", FIRST if load == 1 else second(mode))

    def _source(self, load: int, mode: str) -> Path:
        return self._folder / f"source-{load}{mode if load == 2 else ''}.sqlite"

    def get(self, kind: str, mode: str, load: int, url: str = "", direct: str = "") -> Place:
        """The place of a kind, a mode and a load, as it is before that load."""
        key = (kind, mode, str(load), url)
        if key not in self._made:
            folder = self._folder / "-".join((kind, mode, str(load)))
            folder.mkdir()
            sources = (f"sqlite:///{self._source(1, mode)}", f"sqlite:///{self._source(2, mode)}")
            if kind in ("files", "delta"):
                (folder / "lake").mkdir()
            place = PLACES[kind](
                kind, mode, folder, url or URLS[kind].format(folder=folder), sources, f"p_{mode}_{load}", load=load
            )
            if isinstance(place, ServerPlace):
                place.direct = direct
            place.keep()
            self._made[key] = place
        else:
            self._made[key].restore()
        self._made[key].connect()
        return self._made[key]

    def close(self) -> None:
        """Close all readers."""
        for place in self._made.values():
            place.close()
