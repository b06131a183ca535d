"""Draining COPY TO STDOUT straight from libpq: the driver's own loop costs more per row than the row itself."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg

WAIT_S = 0.1
"""How long one wait for the server lasts before interrupts are looked at."""


class CopyOut:
    """One running COPY TO STDOUT on a connection; ``finish`` must be called however it ends."""

    def __init__(self, connection: psycopg.Connection[Any], statement: str) -> None:
        self._raw = connection.pgconn
        self._encoding = connection.info.encoding
        self._running = False
        self._raw.send_query(statement.encode())
        self._running = True
        self._begin()

    def _begin(self) -> None:
        from psycopg.pq import ExecStatus

        result = self._result()
        if result is not None and result.status == ExecStatus.COPY_OUT:
            return
        self._raise(result)

    def blocks(self, size: int, most_rows: int, check: Callable[[], None]) -> Iterator[tuple[bytes, int]]:
        """Whole rows joined to blocks of about ``size`` bytes and at most ``most_rows`` rows, with their number.

        Args:
            size: Bytes at which a block ends.
            most_rows: Rows at which a block ends.
            check: Called now and then; raises to stop.
        """
        get = self._raw.get_copy_data
        rows: list[bytes] = []
        held = 0
        keep = rows.append
        while True:
            length, data = get(1)
            if length > 0:
                keep(bytes(data))
                held += length
                if held >= size or len(rows) >= most_rows:
                    check()
                    yield b"".join(rows), len(rows)
                    rows.clear()
                    held = 0
            elif length == 0:
                check()
                self._wait()
            else:
                break
        if rows:
            yield b"".join(rows), len(rows)
        self._end()

    def finish(self, cancel: Callable[[], None]) -> None:
        """Leave the connection usable: stop and drain what was not read to its end."""
        import psycopg

        if not self._running:
            return
        cancel()
        try:
            while (length := self._raw.get_copy_data(1)[0]) >= 0:
                if length == 0:
                    self._wait()
        except psycopg.Error:  # the statement failed already; its result is fetched below
            pass
        while self._result() is not None:
            pass
        self._running = False

    def _end(self) -> None:
        from psycopg.pq import ExecStatus

        last = failed = None
        while (result := self._result()) is not None:
            last = result
            if result.status != ExecStatus.COMMAND_OK:
                failed = result
        self._running = False
        if failed is not None or last is None:
            self._raise(failed)

    def _result(self) -> Any:
        while self._raw.is_busy():
            self._wait()
        return self._raw.get_result()

    def _wait(self) -> None:
        select.select([self._raw.socket], [], [], WAIT_S)
        self._raw.consume_input()

    def _raise(self, result: Any) -> None:
        import psycopg
        from psycopg.errors import error_from_result

        if result is None:
            message = "the server closed the connection in the middle of a read"
            raise psycopg.OperationalError(message)
        while self._result() is not None:
            pass
        self._running = False
        raise error_from_result(result, encoding=self._encoding)
