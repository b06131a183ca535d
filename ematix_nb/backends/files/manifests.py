"""Manifests: the published state of a target, made the newest by conditional create.

Layout below a target's folder::

    part-<run>-<n>.<ext>                     data, listed in the newest manifest
    .part-<run>-<n>.<ext>.tmp                staged, or published and not yet revealed
    _ematix_flow/manifest/000000000012.json  files, columns and the engine's state

In a bucket a revealed object is a copy made by the store, and the hidden one is removed after it. Whoever lists a
bucket without our manifests never sees a row that is not published; between the publication and the last copy they
see a part of the new files, and of a truncated target the old ones a moment longer.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.sealed import VERSION, seal, unseal
from ematix_nb.errors import DataError, LockedError, RunError, TransientError

from .capabilities import MANIFESTS_KEPT
from .paths import real_name
from .storage import META

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .storage import Entry, Storage

_NAME = re.compile(r"(\d{12})\.json")


@dataclass(frozen=True)
class Published:
    """One manifest file."""

    seq: int
    files: tuple[str, ...] = ()
    state: dict[str, Any] = field(default_factory=dict)
    columns: tuple[dict[str, Any], ...] | None = None
    """The declared columns of the target as JSON; None when they were never told."""
    dropped: tuple[str, ...] = ()
    """Files that this manifest or one before it took away: whoever comes next makes sure that they are gone."""
    by: str = ""
    """Made up for this manifest: the next one names it."""


def folder_of(target: str) -> str:
    """Where the manifests of a target lie."""
    return f"{target}/{META}/manifest"


def file_of(target: str, seq: int) -> str:
    """The name of one manifest."""
    return f"{folder_of(target)}/{seq:012d}.json"


def numbers(storage: Storage, target: str) -> list[int]:
    """The numbers of the manifests that exist, in order."""
    return sorted(_entries(storage, target))


def _entries(storage: Storage, target: str) -> dict[int, Entry]:
    entries = storage.entries(folder_of(target))
    return {int(found[1]): each for each in entries if (found := _NAME.fullmatch(each.name.rpartition("/")[2]))}


def newest(storage: Storage, target: str, known: dict[Entry, Published] | None = None) -> Published | None:
    """The newest manifest of a target; None when there is none.

    Args:
        storage: Where the target lies.
        target: Its folder.
        known: What was read before; a manifest in it is not read again.

    Raises:
        DataError: When it is not readable JSON of a known version.
    """
    for _ in range(3):
        found = _entries(storage, target)
        if not found:
            return None
        entry = found[max(found)]
        if known is not None and entry in known:
            return known[entry]
        try:
            published = _parse(storage.read(entry.name), entry.name)
        except FileNotFoundError:  # a writer published and pruned meanwhile
            continue
        if known is not None:
            known.clear()
            known[entry] = published
        return published
    message = f"the manifests of `{target}` change faster than they can be read"
    raise RunError(message, "try again")


def _parse(raw: bytes, name: str) -> Published:
    try:
        data = unseal(raw)
        version = data["version"]
        if version > VERSION:
            message = f"manifest `{name}` has version {version}; this version of the package knows {VERSION}"
            raise DataError(message, "install a newer version of the package")
        columns = data.get("columns")
        files = tuple(str(name) for name in data["files"])
        told = None if columns is None else tuple(columns)
        dropped = tuple(map(str, data.get("dropped", ())))
        return Published(int(data["seq"]), files, dict(data["state"]), told, dropped, str(data.get("by", "")))
    except (ValueError, KeyError, TypeError) as exc:
        message = f"manifest `{name}` is not readable: {type(exc).__name__} {str(exc)[:80]}"
        raise DataError(message, "restore it, or move it away so that the one before it counts") from exc


def publish(storage: Storage, target: str, manifest: Published, before: Published | None = None) -> list[int]:
    """Make a manifest the newest: a conditional create that fails when the number is taken.

    Args:
        storage: Where the target lies.
        target: Its folder.
        manifest: What is to be published.
        before: The newest manifest, as the caller read it; its files are not looked for again.

    Returns:
        The numbers that exist now.

    Raises:
        LockedError: When the number is taken or passed.
        RunError: When the number is not the next one, or a listed file does not exist.
    """
    last = before.seq if before else max(numbers(storage, target), default=0)
    if manifest.seq <= last:
        raise _taken(target, manifest.seq)
    if manifest.seq != last + 1:
        message = f"manifest {manifest.seq} of `{target}` cannot follow {last}"
        raise RunError(message, "read the newest manifest again and run again")
    _check_files(storage, target, set(manifest.files) - set(before.files if before else ()))
    body = {
        "version": VERSION,
        "seq": manifest.seq,
        "by": secrets.token_hex(8),
        "after": before.by if before else "",
        "files": list(manifest.files),
        "dropped": list(manifest.dropped),
        "columns": None if manifest.columns is None else list(manifest.columns),
        "state": manifest.state,
    }
    raw = seal(body)
    name = file_of(target, manifest.seq)
    if not _create(storage, name, raw):
        raise _taken(target, manifest.seq)
    known = numbers(storage, target)
    if known[-1] > manifest.seq and not _is_followed(storage, target, manifest.seq, str(body["by"])):
        # the number was free only because the others were pruned
        storage.delete([name], target)
        raise _taken(target, manifest.seq)
    return known


def _create(storage: Storage, name: str, raw: bytes) -> bool:
    """Create a manifest; when the answer was lost, what lies there tells who made it: every body is unique."""
    try:
        if storage.create(name, raw):
            return True
    except TransientError:
        if _reads(storage, name, raw) or storage.create(name, raw):
            return True
    return _reads(storage, name, raw)


def _is_followed(storage: Storage, target: str, seq: int, by: str) -> bool:
    """Whether somebody was so quick as to build the next manifest on this one already."""
    try:
        return bool(json.loads(storage.read(file_of(target, seq + 1))).get("after") == by)
    except FileNotFoundError:
        return False


def _reads(storage: Storage, name: str, raw: bytes) -> bool:
    try:
        return storage.read(name) == raw
    except FileNotFoundError:
        return False


def _taken(target: str, seq: int) -> LockedError:
    message = f"somebody else published manifest {seq} of `{target}` first; nothing of this run is visible"
    return LockedError(message, "run again: the run reads the new state")


def _check_files(storage: Storage, target: str, files: set[str]) -> None:
    if not files:
        return
    there = {entry.name for entry in storage.entries(target)}
    for name in sorted(files):
        if f"{target}/{name}" not in there and f"{target}/{real_name(name, hidden=True)}" not in there:
            message = f"file `{name}` of `{target}` is to be published and does not exist"
            raise RunError(message, "run again")


def reveal(storage: Storage, target: str, files: Iterable[str]) -> dict[str, Entry]:
    """Give published files their final names; what a crashed publisher left undone is done by the next caller.

    Returns:
        The files of the target by their names in it, as they are then.
    """
    there = present(storage, target)
    waiting = [(real_name(name, hidden=True), name) for name in files]
    pairs = [(f"{target}/{hidden}", f"{target}/{name}") for hidden, name in waiting if hidden in there]
    fresh = [pair for pair in pairs if pair[1].removeprefix(f"{target}/") not in there]
    if not pairs:
        return there
    storage.move(fresh)
    storage.delete([hidden for hidden, _ in pairs if (hidden, _) not in fresh], target)  # copied before the crash
    return present(storage, target)


def present(storage: Storage, target: str) -> dict[str, Entry]:
    """The files below a target by their names in it."""
    return {entry.name.removeprefix(f"{target}/"): entry for entry in storage.entries(target)}


def remove(storage: Storage, target: str, files: Iterable[str]) -> None:
    """Delete files that no manifest lists any more, and the partition folders that become empty."""
    names = [f"{target}/{each}" for name in sorted(files) for each in (name, real_name(name, hidden=True))]
    if names:
        storage.delete(names, target)


def prune(storage: Storage, target: str, known: list[int]) -> None:
    """Keep the newest manifests only."""
    old = known[:-MANIFESTS_KEPT]
    if old:
        storage.delete([file_of(target, seq) for seq in old], target)
