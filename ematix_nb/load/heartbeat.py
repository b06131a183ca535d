"""Keeping a lease alive while a long run works, from a thread with a connection of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from ematix_nb.errors import FlowError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from ematix_nb.state.model import Lease, StateStore


JOIN_SECONDS = 0.2


class Heartbeat:
    """Renews a lease every third of its duration until left.

    A renewal that fails is tried again at the next beat: when the lease is really lost, the fence in the commit
    notices, so a missed beat can cost a run but never a row.
    """

    def __init__(self, lease: Lease, open_store: Callable[[], tuple[StateStore, Callable[[], None]]]) -> None:
        self._lease = lease
        self._open_store = open_store
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="ematix-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        # a beat may be waiting for a row that this run's own transaction holds: it must not be waited for
        self._thread.join(timeout=JOIN_SECONDS)

    def _beat(self) -> None:
        pause = self._lease.claim.seconds / 3
        while not self._stop.wait(pause):
            try:
                store, close = self._open_store()
                try:
                    store.renew(self._lease)
                finally:
                    close()
            except FlowError:
                continue
