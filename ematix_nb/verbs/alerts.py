"""Alerts: a run that failed, or a slot that is not done in time, told to a command or a webhook.

Each is told once: a note in the user's cache folder, made before the alert is sent and taken back when it could not be
sent, keeps the next call from telling it again. What goes wrong here is a warning and never fails a run.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any

from ematix_nb.clock import SYSTEM_CLOCK
from ematix_nb.connections import redact
from ematix_nb.errors import FlowError
from ematix_nb.events import SILENT, Warned
from ematix_nb.verbs.alert_channels import chosen, find_channel
from ematix_nb.verbs.slot_cache import cache_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ematix_nb.events import Listener
    from ematix_nb.verbs.alert_channels import Channel, Told
    from ematix_nb.verbs.results import RunResult

MAX_TEXT = 2000
"""Characters of an error that an alert carries."""
KEPT = dt.timedelta(days=30)
"""How long it is remembered that something was told."""
_MINUTE = 60
_START = "start"


class Alerts:
    """Tells the channels of a pipeline what happened to it."""

    def __init__(self, listener: Listener = SILENT) -> None:
        self._listener = listener
        self._notes = Notes()
        self.warnings: list[str] = []
        """What could not be told, and why."""

    def ended(self, spec: Told, result: RunResult, *, trigger: str, slot: dt.datetime | None = None) -> None:
        """A run came to its end: tell when it failed, in part too. Cancelled is what somebody wanted."""
        if result.status == "success":
            self._well(spec)
        if result.status not in ("failed", "partial"):
            return
        bad = next((outcome for outcome in result.targets if outcome.error is not None), result.targets[0])
        steps = [f"step {step['name']}: {step['error']}" for step in result.transforms if step.get("error")]
        facts = {
            "status": result.status,
            "run_id": bad.run_id,
            "target": bad.target,
            "error": str(bad.error) if bad.error is not None else "; ".join(steps),
        }
        self._failed(spec, _subject(slot, bad.run_id), facts, trigger, slot)

    def could_not_start(self, spec: Told, error: str, *, trigger: str, slot: dt.datetime | None = None) -> None:
        """A run could not even begin; by a scheduler that is told once until the pipeline has succeeded."""
        once = _START if trigger == "schedule" else SYSTEM_CLOCK.now().isoformat()
        self._failed(spec, _subject(slot, once), {"status": "failed", "error": error}, trigger, slot)

    def found_failed(self, spec: Told, run_id: str, error: str, slot: dt.datetime | None) -> None:
        """Somebody looked, and the newest run of a pipeline had failed."""
        facts = {"status": "failed", "run_id": run_id, "error": error or "the process ended before the run did"}
        self._failed(spec, _subject(slot, run_id), facts, "status", slot)

    def late(self, spec: Told, since: dt.datetime, now: dt.datetime) -> None:
        """A slot is not done: tell the channels for which it is late by now."""
        seconds = (now - since).total_seconds()
        text = f"{spec.name} is late: its slot {since:%Y-%m-%d %H:%M} UTC is not done after {_span(seconds)}"
        facts = {"status": "late", "due_since": since.isoformat(), "late_seconds": round(seconds)}
        for channel in self._channels(spec):
            if "late" in channel.on and now - since > channel.late_after:
                self._tell(channel, spec, since.isoformat(), {"event": "late", "text": text, **facts})

    def _failed(self, spec: Told, subject: str, facts: dict[str, Any], trigger: str, slot: dt.datetime | None) -> None:
        error = redact(facts["error"])[:MAX_TEXT]
        when = f" (slot {slot:%Y-%m-%d %H:%M} UTC)" if slot is not None else ""
        text = f"{spec.name} {facts['status']}{when}: {error.partition(chr(10))[0]}"
        content = {"event": "failure", "text": text, **facts, "error": error, "trigger": trigger}
        content["slot"] = slot.isoformat() if slot is not None else None
        for channel in self._channels(spec):
            if "failure" in channel.on:
                self._tell(channel, spec, subject, content)

    def _well(self, spec: Told) -> None:
        """What could not start began and succeeded: the next time is news again."""
        for channel in self._channels(spec, quiet=True):
            self._notes.forget(_key("failure", spec.name, channel.name, _START))

    def _channels(self, spec: Told, *, quiet: bool = False) -> Sequence[Channel]:
        found: list[Channel] = []
        problems: list[str] = []
        try:
            for name in chosen(spec):
                try:
                    found.append(find_channel(name))
                except FlowError as exc:  # the other channels are told
                    problems.append(exc.what)
        except FlowError as exc:
            problems.append(exc.what)
        for problem in [] if quiet else problems:
            self._warn(spec, problem)
        return found

    def _tell(self, channel: Channel, spec: Told, subject: str, content: dict[str, Any]) -> None:
        key = _key(content["event"], spec.name, channel.name, subject)
        if not self._notes.make(key):
            return
        from ematix_nb.verbs.alert_senders import send

        alert = {"pipeline": spec.name, **content, "host": socket.gethostname(), "at": SYSTEM_CLOCK.now().isoformat()}
        alert = {name: redact(value) if isinstance(value, str) else value for name, value in alert.items()}
        try:
            problem = send(channel, json.dumps(alert).encode())
        except Exception as exc:  # noqa: BLE001 - nothing that goes wrong in an alert may fail the run that it is about
            problem = f"{type(exc).__name__}: {exc}"
        if problem:
            self._notes.forget(key)
            self._warn(spec, f"{channel} was not told of the {content['event']}: {problem}")

    def _warn(self, spec: Told, message: str) -> None:
        message = redact(f"alert: {message}")
        self.warnings.append(f"{spec.name}: {message}")
        self._listener.on_event(Warned(run_id="", pipeline=spec.name, message=message))


class Notes:
    """What was told already: one empty file each, in the user's cache folder, for each working directory."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or cache_path("alerts")

    def make(self, key: str) -> bool:
        """Note it; False when it was noted before. Where nothing can be written, everything is told."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self._folder / key, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return False
        except OSError:
            return True
        self._prune()
        return True

    def forget(self, key: str) -> None:
        """Take a note back; harmless when there is none."""
        with contextlib.suppress(OSError):
            (self._folder / key).unlink()

    def _prune(self) -> None:
        oldest = time.time() - KEPT.total_seconds()
        with contextlib.suppress(OSError):
            for file in self._folder.iterdir():
                if file.stat().st_mtime < oldest:
                    file.unlink()


def _subject(slot: dt.datetime | None, otherwise: str) -> str:
    """What makes a failure one: all tries of a slot are the same one."""
    return slot.isoformat() if slot is not None else otherwise


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _span(seconds: float) -> str:
    minutes = int(seconds // _MINUTE)
    if minutes < _MINUTE:
        return f"{minutes} min"
    return f"{minutes // _MINUTE} h {minutes % _MINUTE} min"
