"""Places that keep state: one of each kind that needs no server, with the calls that differ between them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.registry import open_session
from ematix_nb.connections.kinds import (
    DeltaLocalConnection,
    DuckDBConnection,
    ObjectStoreLocalConnection,
    SQLiteConnection,
)
from ematix_nb.load.targets import thing_state
from ematix_nb.state.liveness import host_name, process_token
from ematix_nb.state.model import Claim, RunRecord
from ematix_nb.state.sql_state import SqlState

if TYPE_CHECKING:
    from pathlib import Path

    from ematix_nb.connections.base import Connection
    from ematix_nb.state.model import Lease, Watermark

KINDS = ("sqlite", "duckdb", "files", "delta")
THING = "things"
GONE = "4194305:1"
"""A process that never was: its pid is beyond the largest one of Linux."""


@dataclass
class Store:
    """The state in one place."""

    kind: str
    session: Any
    state: Any

    def commit(self, lease: Lease, record: RunRecord, mark: Watermark | None = None) -> None:
        """A commit without rows."""
        if self.kind == "files":
            self.state.publish(lease, record, mark, lambda files: files)
        elif self.kind == "delta":
            table = self.session.table(THING)
            tags = self.state.before_commit(table, lease, record, mark)
            self.session.commit_nothing(THING, table, tags)
            self.state.committed(lease)
        else:
            self.session.begin()
            try:
                self.state.write_commit(lease, record, mark)
            except BaseException:
                self.session.rollback()
                raise
            self.session.commit()

    def begin(
        self, pipeline: str = "p", seconds: float = 60, process: str = "", **values: Any
    ) -> tuple[Lease, RunRecord]:
        """Take the lease for a new run, of this process unless another one is named."""
        record = RunRecord(run_id=str(uuid.uuid4()), pipeline=pipeline, **values)
        claim = Claim(pipeline, record.run_id, host_name(), process or process_token(), seconds)
        return self.state.acquire(claim, record), record


def open_store(kind: str, folder: Path) -> Store:
    """A fresh place."""
    if kind == "delta":
        import pyarrow as pa
        from deltalake import write_deltalake

        write_deltalake(folder / THING, pa.table({"id": [1]}))
    connections: dict[str, Connection] = {
        "sqlite": SQLiteConnection(name="t", path=str(folder / "t.sqlite")),
        "duckdb": DuckDBConnection(name="t", path=str(folder / "t.duckdb")),
        "files": ObjectStoreLocalConnection(name="t", path=str(folder), format="parquet"),
        "delta": DeltaLocalConnection(name="t", path=str(folder)),
    }
    session = open_session(connections[kind])
    state = SqlState(session) if session.capabilities.has_sql else thing_state(session, THING)
    return Store(kind, session, state)
