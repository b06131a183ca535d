"""Rows in PostgreSQL's own binary form, from one connection to another."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK_BYTES = 256 * 1024
CHUNKS_AHEAD = 4
POLL_S = 0.05
_END = object()


Chunk = tuple[bytes, int]
"""Bytes, and the number of rows in them."""


def without_trailer(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """The chunks with their true number of rows: the last message of COPY BINARY is the end mark, not a row."""
    held: Chunk | None = None
    for chunk in chunks:
        if held is not None:
            yield held
        held = chunk
    if held is not None:
        yield held[0], held[1] - 1


def read_ahead(chunks: Iterator[Chunk], cancel: Callable[[], None]) -> Iterator[Chunk]:
    """Let a thread read up to four chunks ahead, so that the two connections work at the same time.

    The thread has ended when the iterator ends, fails or is closed.

    Args:
        chunks: What to read; used by the thread alone.
        cancel: Stops what the thread waits for, when the consumer leaves early.
    """
    waiting: queue.Queue[Any] = queue.Queue(CHUNKS_AHEAD)
    stop = threading.Event()

    def put(item: object) -> None:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(item, timeout=POLL_S)
                return

    def pump() -> None:
        try:
            for chunk in chunks:
                if stop.is_set():
                    return
                put(chunk)
        except BaseException as exc:  # noqa: BLE001 - raised again in the consumer's thread
            put(exc)
        else:
            put(_END)

    thread = threading.Thread(target=pump, name="ematix-copy", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        if thread.is_alive():
            cancel()
        thread.join()
