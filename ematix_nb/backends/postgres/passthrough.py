"""Rows in PostgreSQL's own binary form, from one connection to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ematix_nb.backends.pump import pumped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK_BYTES = 256 * 1024
CHUNKS_AHEAD = 4


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

    Args:
        chunks: What to read; used by the thread alone.
        cancel: Stops what the thread waits for, when the consumer leaves early.
    """
    return pumped([lambda: chunks], [cancel], CHUNKS_AHEAD)
