"""What must hold after every run, whatever happened before it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from ematix_nb.state.model import TERMINAL

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = 2**64 - 1
FINISHED = (*TERMINAL, "transform_success", "transform_failed")


def order_free_hash(rows: Iterable[tuple[Any, ...]]) -> int:
    """A hash of rows that does not depend on their order but on how often each is there: a sum of hashes, mod 2^64.

    Example:
        >>> order_free_hash([(1, "a"), (2, None)]) == order_free_hash([(2, None), (1, "a")])
        True
        >>> order_free_hash([(1,), (1,)]) == order_free_hash([(1,)])
        False
    """
    total = 0
    for row in rows:
        digest = hashlib.sha256(repr(tuple(row)).encode("utf-8", "surrogatepass")).digest()
        total = (total + int.from_bytes(digest[:8], "big")) & MASK
    return total


def summary(rows: list[tuple[Any, ...]], key: int = 0, number: int | None = None) -> tuple[int, int, object, int]:
    """Count, distinct keys, sum of a numeric column (NULLs left out) and the order-free hash."""
    total = sum(row[number] for row in rows if row[number] is not None) if number is not None else None
    return len(rows), len({row[key] for row in rows}), total, order_free_hash(rows)


def history(connection: Any, thing: str = "") -> list[Any]:
    """The run history that a target keeps, newest first."""
    from ematix_nb.backends.registry import open_session
    from ematix_nb.load.targets import thing_state
    from ematix_nb.state.sql_state import SqlState

    session = open_session(connection, read_only=True)
    try:
        state = SqlState(session) if session.capabilities.has_sql else thing_state(session, thing)
        return state.history(None, 1000)
    finally:
        session.close()


def open_leases(connection: Any, thing: str = "") -> list[str]:
    """Pipelines whose lease somebody holds."""
    from ematix_nb.backends.registry import open_session
    from ematix_nb.load.targets import thing_state

    session = open_session(connection, read_only=True)
    try:
        if session.capabilities.executor == "delta":
            return list(thing_state(session, thing).leases())
        if not session.capabilities.has_sql:
            manifest = session.manifest(thing)
            entries = manifest.state.get("pipelines", {}) if manifest else {}
            return [name for name, entry in entries.items() if (entry.get("lease") or {}).get("run_id")]
        ref = session.dialect.state_table("lease")
        if session.table(ref) is None:
            return []
        rows = session.fetch(f"SELECT pipeline_name FROM {session.dialect.table(ref)} WHERE run_id <> ''")
        return [str(row[0]) for row in rows]
    finally:
        session.close()


def check_rest(system: Any, thing: str = "") -> None:
    """Nothing is left of any run: no staging, no lease, no history row that is still open.

    ``system`` has a ``connection`` and ``leftovers()``, as the classes of `tests.conformance.matrix`.
    """
    assert system.leftovers() == []
    assert open_leases(system.connection, thing) == []
    open_runs = [run for run in history(system.connection, thing) if run.status not in FINISHED]
    assert open_runs == []
