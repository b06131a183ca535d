"""What connections hold, for completion: tables and columns, asked for in a thread and kept for a while."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT_SECONDS = 0.15
"""How long one completion waits for answers, all of them together."""
FRESH_SECONDS = 30.0
"""An older answer is still given, while a new one is asked for."""
RETRY_SECONDS = 10.0
"""After a connection that could not be asked."""
MAX_NAMES = 5_000
"""Of one answer."""


@dataclass(eq=False)
class _Answer:
    """One question and what is known of it."""

    connection: Any
    thing: str | None
    names: tuple[str, ...] = ()
    known: threading.Event = field(default_factory=threading.Event)
    asked: bool = False
    at: float = float("-inf")
    keeps: float = FRESH_SECONDS


class Metadata:
    """Tables of connections and columns of tables; never blocks longer than a completion may.

    Args:
        look: Gives the names for a connection and a table, or the connection's tables for None; called in a thread.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        look: Callable[[Any, list[str | None]], list[tuple[str, ...]]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look or look_up
        self._clock = clock
        self._answers: dict[tuple[str, str | None], _Answer] = {}
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        self._until = float("-inf")

    def begin(self) -> None:
        """Start the time that the next completion has."""
        self._until = self._clock() + WAIT_SECONDS

    def tables(self, name: str) -> tuple[str, ...]:
        """The tables of a connection as ``schema.table``, or its folders and files; what is known in time."""
        return self._ask(name, None)

    def columns(self, name: str, thing: str) -> tuple[str, ...]:
        """The columns of a table, in its order; what is known in time."""
        return self._ask(name, thing)

    def forget(self) -> None:
        """Ask anew next time; what is known is given until then."""
        with self._lock:
            for answer in self._answers.values():
                answer.at = float("-inf")

    def _ask(self, name: str, thing: str | None) -> tuple[str, ...]:
        from ematix_nb.connections import resolve
        from ematix_nb.errors import FlowError

        try:
            connection = resolve(name)
        except FlowError:  # half a name, or a broken settings file: nothing to complete
            return ()
        with self._lock:
            answer = self._answers.get((name, thing))
            if answer is None or answer.connection != connection:
                answer = self._answers[name, thing] = _Answer(connection, thing)
            if not answer.asked and self._clock() - answer.at > answer.keeps:
                answer.asked = True
                if name not in self._busy:
                    self._busy.add(name)
                    threading.Thread(target=self._work, args=(name,), name="ematix-metadata", daemon=True).start()
        answer.known.wait(max(0.0, self._until - self._clock()))
        return answer.names

    def _work(self, name: str) -> None:
        """Answer all questions to one connection, in one session at a time."""
        while True:
            with self._lock:
                asked = [answer for (one, _), answer in self._answers.items() if one == name and answer.asked]
                if not asked:
                    self._busy.discard(name)
                    return
            asked = [answer for answer in asked if answer.connection == asked[0].connection]
            try:
                found: list[tuple[str, ...]] | None = self._look(asked[0].connection, [one.thing for one in asked])
            except Exception:  # noqa: BLE001 - whatever a driver raises: there is nothing to complete, and typing goes on
                found = None
            with self._lock:
                for number, answer in enumerate(asked):
                    answer.names = answer.names if found is None else found[number][:MAX_NAMES]
                    answer.asked, answer.at = False, self._clock()
                    answer.keeps = RETRY_SECONDS if found is None else FRESH_SECONDS
                    answer.known.set()


def look_up(connection: Any, things: list[str | None]) -> list[tuple[str, ...]]:
    """Tables (for None) and columns, read from the catalogue in one session; rows are not read.

    Raises:
        FlowError: The system cannot be reached.
    """
    from ematix_nb.backends.registry import open_session

    session = open_session(connection, read_only=True, create=False)
    try:
        return [_tables(session) if thing is None else _columns(session, thing) for thing in things]
    finally:
        session.close()


def _tables(session: Any) -> tuple[str, ...]:
    """As an address or a query writes them; our own tables are left out."""
    from ematix_nb.declare.cells import quoted_table
    from ematix_nb.declare.spec import TableRef, TableSpec

    found = session.tables()
    return tuple(
        quoted_table(TableSpec(one, ())) if isinstance(one, TableRef) else str(one)
        for one in found
        if getattr(one, "schema", None) != "ematix_flow"
    )


def _columns(session: Any, thing: str) -> tuple[str, ...]:
    from ematix_nb.declare.address import parse_table_name
    from ematix_nb.errors import FlowError

    try:
        if session.capabilities.has_sql:
            info = session.table(parse_table_name(thing))
            return tuple(column.name for column in info.columns) if info is not None else ()
        plain = thing.strip('"')
        return tuple(column.name for column in session.scan(session.find((plain,)) or plain).columns)
    except FlowError:  # a name that is not typed to its end
        return ()
