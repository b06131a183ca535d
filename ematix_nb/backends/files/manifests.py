"""Manifests: the published state of a target, made the newest by conditional create.

Layout below a target's folder::

    part-<run>-<n>.<ext>                     data, listed in the newest manifest
    .part-<run>-<n>.<ext>.tmp                staged, or published and not yet revealed
    _ematix_flow/manifest/000000000012.json  files, columns and the engine's state
"""

from __future__ import annotations

import json
import os
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ematix_nb.errors import DataError, LockedError, RunError

from .capabilities import MANIFESTS_KEPT
from .paths import META, real_name

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1
_NAME = re.compile(r"(\d{12})\.json")


@dataclass(frozen=True)
class Published:
    """One manifest file."""

    seq: int
    files: tuple[str, ...] = ()
    state: dict[str, Any] = field(default_factory=dict)
    columns: tuple[dict[str, Any], ...] | None = None
    """The declared columns of the target as JSON; None when they were never told."""


def folder_of(target: Path) -> Path:
    """Where the manifests of a target lie."""
    return target / META / "manifest"


def numbers(target: Path) -> list[int]:
    """The numbers of the manifests that exist, in order."""
    try:
        names = [path.name for path in folder_of(target).iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(found[1]) for name in names if (found := _NAME.fullmatch(name)))


def newest(target: Path) -> Published | None:
    """The newest manifest of a target; None when there is none.

    Raises:
        DataError: When it is not readable JSON of a known version.
    """
    for _ in range(3):
        found = numbers(target)
        if not found:
            return None
        path = folder_of(target) / f"{found[-1]:012d}.json"
        try:
            return _parse(path.read_bytes(), path)
        except FileNotFoundError:  # a writer published and pruned meanwhile
            continue
    message = f"the manifests of `{target}` change faster than they can be read"
    raise RunError(message, "try again")


def _parse(raw: bytes, path: Path) -> Published:
    try:
        data = json.loads(raw)
        version = data["version"]
        if version > VERSION:
            message = f"manifest `{path}` has version {version}; this version of the package knows {VERSION}"
            raise DataError(message, "install a newer version of the package")
        columns = data.get("columns")
        files = tuple(str(name) for name in data["files"])
        return Published(int(data["seq"]), files, dict(data["state"]), None if columns is None else tuple(columns))
    except (ValueError, KeyError, TypeError) as exc:
        message = f"manifest `{path}` is not readable: {type(exc).__name__} {str(exc)[:80]}"
        raise DataError(message, "restore it, or move it away so that the one before it counts") from exc


def sync_folder(folder: Path) -> None:
    """Make renames and creations in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish(target: Path, manifest: Published) -> None:
    """Make a manifest the newest: finished temporary file, then a link that fails when the number is taken.

    Raises:
        LockedError: When the number is taken or passed.
        RunError: When the number is not the next one, or a listed file does not exist.
    """
    before = numbers(target)
    last = before[-1] if before else 0
    if manifest.seq <= last:
        raise _taken(target, manifest.seq)
    if manifest.seq != last + 1:
        message = f"manifest {manifest.seq} of `{target}` cannot follow {last}"
        raise RunError(message, "read the newest manifest again and run again")
    _check_files(target, manifest.files)
    folder = folder_of(target)
    folder.mkdir(parents=True, exist_ok=True)
    body = {
        "version": VERSION,
        "seq": manifest.seq,
        "files": list(manifest.files),
        "columns": None if manifest.columns is None else list(manifest.columns),
        "state": manifest.state,
    }
    temporary = folder / f".{manifest.seq:012d}-{os.getpid()}-{secrets.token_hex(6)}.tmp"
    final = folder / f"{manifest.seq:012d}.json"
    try:
        with temporary.open("xb") as file:
            file.write(json.dumps(body, ensure_ascii=False, indent=1).encode())
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, final)
    except FileExistsError as exc:
        raise _taken(target, manifest.seq) from exc
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(folder)
    if numbers(target)[-1] > manifest.seq:  # the number was free only because the others were pruned
        final.unlink(missing_ok=True)
        raise _taken(target, manifest.seq)
    sync_folder(folder.parent)
    sync_folder(target)


def _taken(target: Path, seq: int) -> LockedError:
    message = f"somebody else published manifest {seq} of `{target}` first; nothing of this run is visible"
    return LockedError(message, "run again: the run reads the new state")


def _check_files(target: Path, files: tuple[str, ...]) -> None:
    for name in files:
        if not (target / name).exists() and not (target / real_name(name, hidden=True)).exists():
            message = f"file `{name}` of `{target}` is to be published and does not exist"
            raise RunError(message, "run again")


def reveal(target: Path, files: tuple[str, ...]) -> None:
    """Give published files their final names; what a crashed publisher left undone is done by the next caller."""
    folders = set()
    for name in files:
        hidden = target / real_name(name, hidden=True)
        final = target / name
        if not final.exists() and hidden.exists():
            try:
                hidden.rename(final)
            except FileNotFoundError:  # another reader revealed it meanwhile
                continue
            folders.add(final.parent)
    for folder in folders:
        sync_folder(folder)


def remove(target: Path, files: set[str]) -> None:
    """Delete files that no manifest lists any more, and the partition folders that become empty."""
    for name in sorted(files):
        for path in (target / name, target / real_name(name, hidden=True)):
            path.unlink(missing_ok=True)
        drop_empty(target, (target / name).parent)


def drop_empty(target: Path, folder: Path) -> None:
    """Remove empty folders between a file and its target."""
    while folder != target and folder.is_relative_to(target):
        try:
            folder.rmdir()
        except OSError:  # not empty, or already gone
            return
        folder = folder.parent


def prune(target: Path) -> None:
    """Keep the newest manifests only."""
    for seq in numbers(target)[:-MANIFESTS_KEPT]:
        (folder_of(target) / f"{seq:012d}.json").unlink(missing_ok=True)
