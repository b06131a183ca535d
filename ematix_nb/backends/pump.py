"""Threads that read ahead of whoever uses the rows, and one that takes them while the next ones are made."""

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


PATIENCE_S = 0.5
"""How long what is being taken may need, after a failure, before it is stopped."""
STOP_PATIENCE_S = 10.0
"""How long it may need then, before it is stopped by more force."""


class _Taker(Generic[Item]):
    """The thread that takes items, in order."""

    def __init__(self, take: Callable[[Item], object], ahead: int) -> None:
        self._take = take
        self._waiting: queue.Queue[Any] = queue.Queue(ahead)
        self._failure: BaseException | None = None
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._work, name="ematix-send", daemon=True)
        self._thread.start()

    def put(self, item: object) -> None:
        """Hand over one item; raises what the thread failed with."""
        while True:
            if self._failure is not None:
                raise self._failure
            with contextlib.suppress(queue.Full):
                self._waiting.put(item, timeout=POLL_S)
                return

    def finish(self) -> None:
        """Wait until everything is taken."""
        self.put(_END)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def give_up(self, stops: Sequence[Callable[[], None]]) -> None:
        """End the thread, by more and more force while it does not end by itself."""
        self._given_up.set()
        self._thread.join(PATIENCE_S)
        for stop in stops:
            if self._thread.is_alive():
                stop()
                self._thread.join(STOP_PATIENCE_S)
        self._thread.join()

    def _work(self) -> None:
        try:
            while not self._given_up.is_set():
                with contextlib.suppress(queue.Empty):
                    item = self._waiting.get(timeout=POLL_S)
                    if item is _END:
                        return
                    self._take(item)
        except BaseException as exc:  # noqa: BLE001 - raised again in the thread that hands over
            self._failure = exc


def pushed(
    items: Iterable[Item], take: Callable[[Item], object], stops: Sequence[Callable[[], None]], ahead: int
) -> None:
    """Let a thread take items while this one makes the next; returns when all are taken.

    Args:
        items: Made by the caller's thread.
        take: Called by the other thread with each item, in order; its failure is raised here.
        stops: What ends ``take``'s waiting when making items failed meanwhile, the gentlest first.
        ahead: How many items may wait.

    Example:
        >>> taken = []
        >>> pushed([1, 2, 3], taken.append, [], 2)
        >>> taken
        [1, 2, 3]
    """
    taker = _Taker(take, ahead)
    try:
        for item in items:
            taker.put(item)
        taker.finish()
    except BaseException:
        taker.give_up(stops)
        raise
