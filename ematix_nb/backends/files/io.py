"""The session on a folder: resolve names, scan, stage, publish."""

from __future__ import annotations

import contextlib
import shutil
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import Manifest
from ematix_nb.errors import (
    ConnectError,
    DataError,
    DeclarationError,
    RunError,
    TransientError,
    UnknownNameError,
    known_names,
)

from . import manifests
from .capabilities import CAPABILITIES, ENDINGS, format_of
from .dialect import columns_from_json, columns_to_json, store
from .paths import DataFile, clean, is_part, is_pattern, match, partition_of, real_name
from .scan import CheckedScan, make_scan
from .staging import Stager, run_name, staged
from .widen import wider

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pyarrow as pa

    from ematix_nb.backends.base import Stored
    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import Column

    from .config import FileConfig
    from .storage import Entry, Storage


TRIES = 5
"""Manifests that are followed to files which are there still."""


class FolderSession:
    """One open folder; see `ematix_nb.backends.base.FileSession` for the contract."""

    capabilities = CAPABILITIES

    def __init__(self, storage: Storage, config: FileConfig, *, read_only: bool = False) -> None:
        self.storage = storage
        self.config = config
        self.identity = storage.identity
        self._read_only = read_only
        self._folders: list[str] = []
        self._folders_known: set[str] = set()
        self._seen: dict[Entry, manifests.Published] = {}
        weakref.finalize(self, _remove_all, self._folders)
        self._staged: dict[str, tuple[Column, ...]] = {}
        self._declared: dict[str, tuple[Column, ...]] = {}

    def configure(self, options: Mapping[str, Any]) -> None:
        """Set the write options of the target (``parquet_compression``, ``partition_by``, ...) for ``stage``.

        Raises:
            DeclarationError: When an option is unknown, misplaced or wrong.
        """
        self.config = self.config.with_options(options)

    def plain(self) -> FolderSession:
        """A session on the same place, without the partitions of the target."""
        return FolderSession(self.storage, replace(self.config, partition_by=()), read_only=self._read_only)

    def declare(self, thing: str, columns: Sequence[Column]) -> None:
        """Fix the names and types of a thing whose files do not tell them; ``scan`` obeys."""
        self._declared[clean(thing)] = tuple(columns)

    def store(self, kind: DataType) -> Stored:
        """How files of this connection store a type."""
        return store(kind, self.config.format)

    def tables(self) -> list[str]:
        """Folders and files that can be read here, relative to the root, sorted; of a large bucket not all."""
        found, entries = self.storage.overview()
        for entry in entries:
            if entry.size:
                folders = [part for part in entry.name.split("/")[:-1] if "=" not in part]
                found.add("/".join(folders) if "/" in entry.name else entry.name)
        return sorted(found - {""})

    def find(self, parts: Sequence[str]) -> str | None:
        """The thing that a table name of a query stands for; None when there is none.

        ``"orders/*.parquet"`` is a pattern, ``orders`` a folder or a file of that name with a known ending,
        ``raw.orders`` the same in the folder ``raw``.
        """
        for name in dict.fromkeys((".".join(parts), "/".join(parts))):
            thing = clean(name)
            if is_pattern(thing):
                return thing
            candidates = [thing, *(thing + ending for kind in self._formats() for ending in ENDINGS[kind])]
            existing = next((each for each in candidates if self.storage.kind(each)), None)
            if existing is not None:
                return existing
        return None

    def _formats(self) -> list[str]:
        return [self.config.format, *(kind for kind in ENDINGS if kind != self.config.format)]

    def scan(self, thing: str) -> CheckedScan:
        """The files behind a path, folder or pattern, through the manifest when there is one.

        Raises:
            UnknownNameError: When nothing is there.
            DataError: When a file cannot be read, or a manifest names a file that does not exist.
            SchemaDriftError: When the files do not fit together.
            TransientError: When files go while they are looked at.
        """
        name = clean(thing)
        declared = self._declared.get(name)
        if not is_pattern(name) and name:
            published = manifests.newest(self.storage, name, self._seen)
            if published is not None:
                return self._scan_published(name, published, declared)
        skipped: list[str] = []
        files = self._one_format(name, self._files(name, skipped), skipped)
        if not files and declared is None:
            message = f"there are no data files in `{name or '.'}`" + (f" ({len(skipped)} skipped)" if skipped else "")
            raise DataError(message, "skipped: " + ", ".join(skipped[:5]) if skipped else self._known(name))
        try:
            return make_scan(files, declared, self.config, skipped, self._keep)
        except FileNotFoundError as exc:
            message = f"a file of `{name or '.'}` went away while it was looked at: {exc}"
            raise TransientError(message, "run again") from exc

    def _known(self, name: str) -> str:
        return known_names(name, self.tables(), "tables")

    def _files(self, name: str, skipped: list[str]) -> list[DataFile]:
        kind = "folder" if not name else None if is_pattern(name) else self.storage.kind(name)
        if is_pattern(name):
            found = match(self.storage, name, skipped)
            if not found and not skipped:
                message = f"no file fits `{name}`"
                raise UnknownNameError(message, self._known(name))
        elif kind == "folder":
            found = list(self.storage.walk(name, skipped))
        elif kind == "file":
            if format_of(name) is None:
                message = f"`{name}` has no known ending"
                raise DeclarationError(
                    message, "known endings: " + ", ".join(e for each in ENDINGS.values() for e in each)
                )
            found = [self.storage.stat(name)]
        else:
            message = f"there is no file or folder `{name}` in the connection"
            raise UnknownNameError(message, self._known(name))
        skipped.extend(f"{entry.name} (0 bytes)" for entry in found if not entry.size)
        return [self._data_file(entry, entry.name) for entry in found if entry.size]

    def _data_file(self, entry: Entry, name: str) -> DataFile:
        return DataFile(self.storage, entry, name, format_of(name) or self.config.format, partition_of(name))

    def _one_format(self, thing: str, files: list[DataFile], skipped: list[str]) -> list[DataFile]:
        formats = {file.format for file in files}
        if len(formats) <= 1:
            return files
        if self.config.format not in formats:
            message = f"`{thing}` holds files of several formats: {', '.join(sorted(formats))}"
            raise DeclarationError(message, "name one of them by a pattern, for example `*.csv`")
        skipped.extend(f"{file.name} ({file.format})" for file in files if file.format != self.config.format)
        return [file for file in files if file.format == self.config.format]

    def _scan_published(
        self, name: str, published: manifests.Published, declared: tuple[Column, ...] | None
    ) -> CheckedScan:
        for _ in range(TRIES):
            there = self._revealed(name, published.files)
            found = {file: self._place(there, name, file) for file in published.files}
            missing = next((file for file, entry in found.items() if entry is None), "")
            if not missing:
                kept = published.columns and columns_from_json(list(published.columns))
                files = [self._data_file(entry, f"{name}/{file}") for file, entry in found.items() if entry is not None]
                try:
                    return make_scan(files, declared or kept or None, self.config, (), self._keep)
                except FileNotFoundError as exc:
                    missing = str(exc)
            again = manifests.newest(self.storage, name)
            if again is None or again.seq == published.seq:
                message = f"file `{missing}` is listed in manifest {published.seq} of `{name}` and does not exist"
                raise DataError(message, "restore it; files of a target are removed by runs only")
            published = again  # a run has replaced the files meanwhile
        message = f"the files of `{name}` are replaced faster than they can be looked at"
        raise TransientError(message, "run again")

    def _revealed(self, name: str, files: tuple[str, ...]) -> dict[str, Entry]:
        """What lies in a target; finishes what a crashed publisher left, except where we may not write."""
        if not self._read_only:
            with contextlib.suppress(PermissionError, ConnectError):
                return manifests.reveal(self.storage, name, files)
        return manifests.present(self.storage, name)

    def _place(self, there: Mapping[str, Entry], target: str, file: str) -> Entry | None:
        """Where a published file lies; in folders that are links it has to be asked for."""
        hidden = real_name(file, hidden=True)
        if file in there or hidden in there:
            return there.get(file) or there[hidden]
        try:
            return self.storage.stat(f"{target}/{file}")
        except FileNotFoundError:
            return None

    def manifest(self, thing: str) -> Manifest | None:
        """The newest manifest of a target.

        None when there is nothing yet; number 0 with the files that lie there when a folder was filled by
        somebody else: an append that publishes 1 keeps them in its list and so adopts them.
        """
        target = self._target(thing)
        published = manifests.newest(self.storage, target, self._seen)
        if published is not None:
            return Manifest(published.seq, published.files, published.state)
        return self._foreign(target)

    def _foreign(self, target: str) -> Manifest | None:
        found = [entry.name.removeprefix(f"{target}/") for entry in self.storage.walk(target, []) if entry.size]
        names = tuple(name for name in found if format_of(name) == self.config.format)
        return Manifest(0, names) if names else None

    def _target(self, thing: str) -> str:
        name = clean(thing)
        if not name or is_pattern(name):
            message = f"`{thing}` cannot be a target: name one folder"
            raise DeclarationError(message, "for example `lake:orders`")
        if name not in self._folders_known:
            if self.storage.kind(name) == "file":
                message = f"`{name}` is a file where a folder is wanted"
                raise DeclarationError(message, "name a folder: a target is a folder of files")
            self._folders_known.add(name)
        return name

    def stage(self, thing: str, columns: Sequence[Column], batches: Iterable[pa.RecordBatch], run_id: str) -> list[str]:
        """Write hidden, fsynced files that no reader sees; their final names, in order (none for no rows).

        Raises:
            DataError: When a value or type cannot be written exactly; nothing is left behind.
        """
        target = self._target(thing)
        if self._read_only:
            message = f"`{thing}` was opened for reading only"
            raise RunError(message, "open the connection for writing")
        self._staged[target] = tuple(columns)
        return list(Stager(self.storage, target, columns, self.config, run_id).write(batches))

    def publish(self, thing: str, manifest: Manifest) -> None:
        """Make the manifest the newest by conditional create, reveal its files, remove what it no longer lists.

        Raises:
            LockedError: When somebody else published that number first.
        """
        target = self._target(thing)
        if self._read_only:
            message = f"`{thing}` was opened for reading only"
            raise RunError(message, "open the connection for writing")
        before = manifests.newest(self.storage, target, self._seen)
        known = before.files if before else (self._foreign(target) or Manifest(0)).files
        columns = self._columns(target, before, manifest)
        changes = before is None or before.files != manifest.files
        late = set(before.dropped if before else ()) - set(manifest.files)
        dropped = set(known) - set(manifest.files) if changes else late
        fresh = manifests.Published(manifest.seq, manifest.files, manifest.state, columns, tuple(sorted(dropped)))
        numbers = manifests.publish(self.storage, target, fresh, before)
        if changes:
            there = manifests.reveal(self.storage, target, manifest.files)
            ours = {name for name in late if is_part(name)}  # another file may have come under a name of others
            here = (name for name in dropped | ours if name in there or real_name(name, hidden=True) in there)
            manifests.remove(self.storage, target, here)
        manifests.prune(self.storage, target, numbers)

    def _columns(
        self, name: str, before: manifests.Published | None, manifest: Manifest
    ) -> tuple[dict[str, Any], ...] | None:
        """The declared columns after this publish: widened when files of before stay, replaced when none does."""
        fresh = self._staged.pop(name, None)
        old = before.columns if before else None
        if fresh is None:
            return old
        keeps = (before is None and bool(manifest.files)) or (
            before is not None and set(before.files) & set(manifest.files)
        )
        if not old or not keeps:
            return tuple(columns_to_json(fresh))
        return tuple(columns_to_json(_merged(columns_from_json(list(old)), fresh)))

    def discard(self, thing: str, run_id: str) -> None:
        """Remove what ``stage`` wrote for a run and nobody published."""
        target = self._target(thing)
        self._staged.pop(target, None)
        found = staged(self.storage, target).get(run_name(run_id), [])
        if found:
            published = manifests.newest(self.storage, target)
            manifests.remove(self.storage, target, set(found) - set(published.files if published else ()))

    def staged_runs(self, thing: str) -> tuple[str, ...]:
        """Ids (as in file names) of runs with unpublished files: the leftovers of dead runs, or of one at work."""
        target = self._target(thing)
        published = manifests.newest(self.storage, target)
        listed = set(published.files) if published else set()
        return tuple(sorted(run for run, files in staged(self.storage, target).items() if set(files) - listed))

    def close(self) -> None:
        """Remove the links that scans were read through; may be called twice."""
        _remove_all(self._folders)

    def _keep(self, folder: str) -> None:
        """Remember a folder of links; bound to the session, so that a scan keeps its session alive."""
        self._folders.append(folder)


def _remove_all(folders: list[str]) -> None:
    while folders:
        shutil.rmtree(folders.pop(), ignore_errors=True)


def _merged(old: Sequence[Column], fresh: Sequence[Column]) -> tuple[Column, ...]:
    """Old columns with the types of the new ones where those are wider, then the new columns."""
    from ematix_nb.declare.data_types import from_arrow, to_arrow

    new = {column.name: column for column in fresh}
    merged = []
    for column in old:
        other = new.pop(column.name, None)
        common = wider(to_arrow(column.type), to_arrow(other.type)) if other else None
        if other is None or common is None:
            merged.append(column)
        elif common.equals(to_arrow(other.type)):  # also where both travel alike: texts of two lengths
            merged.append(_retyped(column, other.type))
        else:
            merged.append(column if common.equals(to_arrow(column.type)) else _retyped(other, from_arrow(common)))
    return (*merged, *new.values())


def _retyped(column: Column, kind: DataType) -> Column:
    return replace(column, type=kind)
