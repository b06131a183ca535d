r"""The run log as JSON: one object a line, for whatever collects logs.

Every line has ``time`` (ISO 8601, UTC) and ``event``: ``call_started``, the events of runs in small letters
(``run_started``, ``batch_read``, ``warned``, ``run_finished``, ...) with their fields, and ``call_ended`` with the exit
code and the whole result. Secrets are masked, and everything beyond ASCII is escaped, so that data cannot forge a line.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, TextIO

from ematix_nb.clock import SYSTEM_CLOCK
from ematix_nb.connections import redact
from ematix_nb.errors import EXIT_FAILED, FlowError, UsageError
from ematix_nb.events import SILENT, BatchRead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ematix_nb.events import Event, Listener
    from ematix_nb.verbs.dispatch import Call
    from ematix_nb.verbs.results import Result

STDERR = "-"
BATCH_SECONDS = 1.0
"""Batches that follow an entry of their run within this time are left out."""
_INTERRUPTED = 130


class JsonLog:
    """A listener that writes each event as one line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._batches: dict[str, float] = {}

    def on_event(self, event: Event) -> None:
        """Write one event; a full disk or a closed pipe stops no run."""
        if isinstance(event, BatchRead) and self._is_crowded(event.run_id):
            return
        self.write(re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower(), **dataclasses.asdict(event))

    def _is_crowded(self, run_id: str) -> bool:
        now = time.monotonic()
        if now - self._batches.get(run_id, -BATCH_SECONDS) < BATCH_SECONDS:
            return True
        self._batches[run_id] = now
        return False

    def write(self, event: str, **fields: Any) -> None:
        """Write one line."""
        moment = SYSTEM_CLOCK.now().isoformat(timespec="milliseconds")
        line = json.dumps({"time": moment, "event": event, **_masked(fields)}, default=redact)
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(f"{line}\n")
            self._stream.flush()


class _Both:
    """Two listeners, one after the other."""

    def __init__(self, first: Listener, second: Listener) -> None:
        self._listeners = (first, second)

    def on_event(self, event: Event) -> None:
        """Hand the event on."""
        for listener in self._listeners:
            listener.on_event(event)


def _masked(value: Any) -> Any:
    """Plain JSON values, their texts redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {str(key): _masked(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_masked(item) for item in value]
    return value


@contextlib.contextmanager
def _opened(place: str) -> Iterator[TextIO]:
    """The stream of a log; a file is written at its end, and is its owner's alone when it is new."""
    if place == STDERR:
        yield sys.stderr
        return
    try:
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except (OSError, ValueError) as exc:
        message = f"the log `{place}` cannot be written: {getattr(exc, 'strerror', None) or exc}"
        raise UsageError(message, "--log-json FILE, in a folder that is there; - is the standard error") from None
    with os.fdopen(handle, "a", encoding="utf-8") as stream:
        yield stream


def logged(call: Call, place: str, work: Callable[[], Result]) -> Result:
    """Do the work of a call, and write what happens.

    Args:
        call: Its listener hears everything as before.
        place: A file, or ``-`` for the standard error.
        work: The verb.

    Raises:
        UsageError: When the file cannot be written.
    """
    with _opened(place) as stream:
        log = JsonLog(stream)
        call.listener = _Both(call.listener or SILENT, log)
        verb = call.parsed.verb
        log.write("call_started", verb=verb, names=list(call.options.get("names") or ()), trigger=call.trigger)
        try:
            result = work()
        except FlowError as exc:
            exc.told = place == STDERR
            log.write("call_ended", verb=verb, exit_code=exc.exit_code, code=exc.code, error=exc.what, hint=exc.hint)
            raise
        except BaseException as exc:
            code = _INTERRUPTED if isinstance(exc, KeyboardInterrupt) else EXIT_FAILED
            log.write("call_ended", verb=verb, exit_code=code, error=f"{type(exc).__name__}: {exc}")
            raise
        code = call.exit_code(result)
        log.write("call_ended", verb=verb, exit_code=code, notes=list(call.notes), result=result.to_dict())
        return result
