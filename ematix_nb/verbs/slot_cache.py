"""A local note of slots that are known to be done, so that a call with nothing due opens no connection.

It can only say "done", never "due": losing or deleting it costs one look into
the target, nothing else. It is written whole and replaced atomically.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ematix_nb.declare.spec import PipelineSpec


class SlotCache:
    """Slots by pipeline and target, kept in the user's cache folder."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or _default_path()
        self._done = _load(self._path)
        self._changed = False

    def last_done(self, spec: PipelineSpec) -> dt.datetime | None:
        """The newest slot known to be done (UTC)."""
        text = self._done.get(_key(spec))
        return dt.datetime.fromisoformat(text) if text else None

    def done(self, spec: PipelineSpec, slot: dt.datetime) -> None:
        """Remember a slot that committed."""
        known = self.last_done(spec)
        if known is None or slot > known:
            self._done[_key(spec)] = slot.isoformat()
            self._changed = True

    def save(self) -> None:
        """Write what was learned; a folder that cannot be written is no error."""
        if not self._changed:
            return
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            fresh.write_text(json.dumps(self._done), encoding="utf-8")
            fresh.replace(self._path)


def _default_path() -> Path:
    """Next to other caches of the user; one file for each working directory, where settings may differ."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = hashlib.sha256(str(Path.cwd()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return base / "ematix-flow" / f"slots-{place}.json"


def _load(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {str(key): _checked(value) for key, value in content.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _checked(value: object) -> str:
    dt.datetime.fromisoformat(str(value))
    return str(value)


def _key(spec: PipelineSpec) -> str:
    """The pipeline with all that decides where its state is, settings of the connection included."""
    from ematix_nb.connections import resolve
    from ematix_nb.errors import FlowError

    target = spec.targets[0]
    where = str(target.table.ref) if target.table is not None else target.thing
    try:
        settings = repr(sorted(resolve(target.connection).resolved().settings().items(), key=str))
    except FlowError:
        settings = "?"
    text = "\n".join((spec.name, spec.schedule or "", spec.timezone, where, settings))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
