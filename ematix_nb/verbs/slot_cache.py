"""A local note of slots that are known to be done, so that a call with nothing due opens no connection.

It can only say "done", never "due": losing or deleting it costs one look into
the target, nothing else. For a target that is a file on this machine it is
believed only while that file is as it was when the note was written, so a
warehouse that was deleted and made anew is looked into. It is written whole and
replaced atomically.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ematix_nb.load.targets import file_thing

if TYPE_CHECKING:
    from ematix_nb.declare.spec import PipelineSpec


Settings = dict[Any, "dict[str, Any] | None"]
"""Connection (name or object) -> its settings; None when they cannot be resolved."""


class SlotCache:
    """Slots by pipeline and target, kept in the user's cache folder."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or cache_path("slots", ".json")
        self._notes = _load(self._path)
        self._fresh: dict[str, tuple[dt.datetime, PipelineSpec]] = {}
        self._settings: Settings = {}

    def last_done(self, spec: PipelineSpec) -> dt.datetime | None:
        """The newest slot known to be done (UTC)."""
        key = _key(spec, self._settings)
        if key in self._fresh:
            return self._fresh[key][0]
        note = self._notes.get(key)
        if note is None or note["stamp"] != _stamp(spec, self._settings):
            return None
        return dt.datetime.fromisoformat(note["slot"])

    def done(self, spec: PipelineSpec, slot: dt.datetime) -> None:
        """Remember a slot that committed."""
        known = self.last_done(spec)
        if known is None or slot > known:
            self._fresh[_key(spec, self._settings)] = (slot, spec)

    def save(self) -> None:
        """Write what was learned; a folder that cannot be written is no error."""
        if not self._fresh:
            return
        for key, (slot, spec) in self._fresh.items():
            self._notes[key] = {"slot": slot.isoformat(), "stamp": _stamp(spec, self._settings)}
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            fresh.write_text(json.dumps(self._notes), encoding="utf-8")
            fresh.replace(self._path)


def cache_path(name: str, suffix: str = "") -> Path:
    """Next to other caches of the user; one path for each working directory, where settings may differ."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = hashlib.sha256(str(Path.cwd()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return base / "ematix-flow" / f"{name}-{place}{suffix}"


def _load(path: Path) -> dict[str, dict[str, str]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        notes = {str(key): {"slot": str(note["slot"]), "stamp": str(note["stamp"])} for key, note in content.items()}
        for note in notes.values():
            dt.datetime.fromisoformat(note["slot"])
    except (OSError, ValueError, AttributeError, TypeError, KeyError):
        return {}
    return notes


def _stamp(spec: PipelineSpec, known: Settings) -> str:
    """Device, file and time of change of every target that is a file here; the same text for a server's."""
    parts = []
    for target in spec.targets:
        settings = _settings(target.connection, known)
        if settings is None or "path" not in settings:
            continue
        place = Path(str(settings["path"])).expanduser()
        folder = place / file_thing(target) / "_ematix_flow" / "manifest"
        try:
            found = (folder if place.is_dir() else place).stat()
        except OSError:
            parts.append("missing")
        else:
            parts.append(f"{found.st_dev}:{found.st_ino}:{found.st_mtime_ns}")
    return " ".join(parts)


def _settings(connection: Any, known: Settings) -> dict[str, Any] | None:
    """The settings of a connection, looked up once in a call: many pipelines share one."""
    from ematix_nb.connections import resolve
    from ematix_nb.errors import FlowError

    if connection not in known:
        try:
            known[connection] = dict(resolve(connection).resolved().settings())
        except FlowError:
            known[connection] = None
    return known[connection]


def _key(spec: PipelineSpec, known: Settings) -> str:
    """The pipeline with all that decides where its state is, settings of the connections included."""
    places = []
    for target in spec.targets:
        where = str(target.table.ref) if target.table is not None else target.thing
        places.append(f"{where} {sorted((_settings(target.connection, known) or {}).items(), key=str)!r}")
    text = "\n".join((spec.name, spec.schedule or "", spec.timezone, *places))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
