"""A running DataFusion query that another thread can stop at once.

DataFusion's stream is asynchronous; it runs in the event loop of a thread of its own, two batches ahead of the
reader. To stop it, its task is cancelled, which drops the stream inside the engine.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import TYPE_CHECKING, Any

from ematix_nb.errors import CANCELLED, CancelledError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

AHEAD = 2
_END = object()


class Running:
    """One query in flight; iterate it once.

    Args:
        frame: A DataFusion data frame.
    """

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self._queue: queue.Queue[Any] = queue.Queue()
        self._room: asyncio.Semaphore | None = None
        self._stopped = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="ematix-nb-query", daemon=True)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The batches; stops the query when the reader stops.

        Raises:
            CancelledError: After `stop`.
        """
        self._thread.start()
        try:
            while True:
                item = self._queue.get()
                if self._stopped.is_set():
                    raise CancelledError(CANCELLED)
                if item is _END:
                    return
                if isinstance(item, BaseException):
                    raise item
                self._make_room()
                yield item
        finally:
            self._cancel()
            self._thread.join(timeout=1)

    def stop(self) -> None:
        """Stop the query, from any thread; the reader gets a `CancelledError` at once."""
        self._stopped.set()
        self._queue.put(_END)
        self._cancel()

    def _make_room(self) -> None:
        """Let the engine go on by one batch."""
        with self._lock:
            loop, room = self._loop, self._room
            if loop is not None and room is not None and not loop.is_closed():
                loop.call_soon_threadsafe(room.release)

    def _cancel(self) -> None:
        with self._lock:
            loop, task = self._loop, self._task
            if loop is not None and task is not None and not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)

    def _work(self) -> None:
        loop = asyncio.new_event_loop()
        try:
            with self._lock:  # whoever stops it from here on finds the task, and cancels it
                if not self._stopped.is_set():
                    self._loop = loop
                    self._task = loop.create_task(self._pump())
            if self._task is not None:
                loop.run_until_complete(self._task)
            self._queue.put(_END)
        except asyncio.CancelledError:
            self._queue.put(_END)
        except Exception as exc:  # noqa: BLE001 - see the next line
            # handed over to the reader, whatever it is: DataFusion raises the bare class
            self._queue.put(exc)
        finally:
            with self._lock:
                loop.close()

    async def _pump(self) -> None:
        room = self._room = asyncio.Semaphore(AHEAD)
        async for batch in self._frame.execute_stream():
            await room.acquire()
            if self._stopped.is_set():
                return
            self._queue.put(batch.to_pyarrow())
