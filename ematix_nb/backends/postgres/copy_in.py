"""What COPY FROM STDIN sends, by a writer that notices a server that is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg.copy import LibpqWriter
from psycopg.waiting import Ready, Wait

if TYPE_CHECKING:
    from collections.abc import Generator

    from psycopg.abc import Buffer

    Sending = Generator[Wait, Ready | int, None]

PIECE_BYTES = 128 * 1024
"""Of more at once, the library may make a buffer that it cannot have."""
FLUSH_BYTES = 1024 * 1024
"""What may lie in the library's buffer."""


class CopyWriter(LibpqWriter):
    """Reads what the server says while it waits until it can send, as libpq's manual asks for (`PQflush`).

    The driver's own writer only waits until it can send. It never hears of a session that ended behind a proxy: the
    proxy takes nothing any more, and says so by an end of file that nobody reads.
    """

    def __init__(self, cursor: Any) -> None:
        super().__init__(cursor)
        self._held = 0

    def write(self, data: Buffer) -> None:
        """Send the bytes, or leave a last megabyte of them to the library.

        Raises:
            psycopg.OperationalError: The server is gone.
        """
        view = memoryview(data)
        for begin in range(0, len(view), PIECE_BYTES):
            self.connection.wait(self._put_piece(view[begin : begin + PIECE_BYTES]))

    def finish(self, exc: BaseException | None = None) -> None:
        """Send what is left and the end; ``exc`` ends the COPY without a row."""
        if exc is None:
            self.connection.wait(self._flush())
        super().finish(exc)

    def _put_piece(self, piece: Buffer) -> Sending:
        while self._pgconn.put_copy_data(piece) == 0:
            yield from self._room()
        self._held += len(piece)
        if self._held >= FLUSH_BYTES:
            yield from self._flush()

    def _flush(self) -> Sending:
        self._held = 0
        while self._pgconn.flush():
            yield from self._room()

    def _room(self) -> Sending:
        """Wait until something can be sent."""
        ready: Ready | int = Ready.NONE
        while not ready & Ready.W:
            ready = yield Wait.RW
            if ready & Ready.R:
                self._pgconn.consume_input()
