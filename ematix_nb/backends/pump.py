"""Threads that read ahead of whoever uses the rows, one for each reader."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

POLL_S = 0.05
_END = object()
Item = TypeVar("Item")


class _Pumps(Generic[Item]):
    """The threads of some readers, and what they have read."""

    def __init__(self, readers: Sequence[Callable[[], Iterable[Item]]], ahead: int) -> None:
        self._waiting: queue.Queue[Any] = queue.Queue(ahead)
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(reader,), name=f"ematix-read-{number}", daemon=True)
            for number, reader in enumerate(readers)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def items(self) -> Iterator[Item]:
        """What is read, until every reader has ended; the first failure is raised."""
        left = len(self._threads)
        while left:
            item = self._waiting.get()
            if isinstance(item, BaseException):
                raise item
            if item is _END:
                left -= 1
            else:
                yield item

    def stop(self, stops: Sequence[Callable[[], None]]) -> None:
        """End the threads that are still at work, and wait for them."""
        self._stopped.set()
        for thread, stop in zip(self._threads, stops, strict=True):
            if thread.is_alive():
                stop()
        for thread in self._threads:
            thread.join()

    def _work(self, reader: Callable[[], Iterable[Item]]) -> None:
        try:
            for item in reader():
                if self._stopped.is_set():
                    return
                self._put(item)
        except BaseException as exc:  # noqa: BLE001 - raised again in the consumer's thread
            self._put(exc)
        else:
            self._put(_END)

    def _put(self, item: object) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._waiting.put(item, timeout=POLL_S)
                return


def pumped(
    readers: Sequence[Callable[[], Iterable[Item]]], stops: Sequence[Callable[[], None]], ahead: int
) -> Iterator[Item]:
    """What several readers give, as it comes; each is read by a thread of its own.

    The threads have ended when the iterator ends, fails or is closed.

    Args:
        readers: Called in its thread; what it returns is used by that thread alone.
        stops: For each reader what ends its waiting, called when the consumer leaves early.
        ahead: How many items may wait.

    Example:
        >>> sorted(pumped([lambda: [1, 2], lambda: [3]], [lambda: None] * 2, 4))
        [1, 2, 3]
    """
    pumps: _Pumps[Item] = _Pumps(readers, ahead)
    pumps.start()
    try:
        yield from pumps.items()
    finally:
        pumps.stop(stops)
