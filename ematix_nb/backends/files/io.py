"""The session on a folder: resolve names, scan, stage, publish."""

from __future__ import annotations

import shutil
import weakref
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import Manifest
from ematix_nb.errors import DataError, DeclarationError, RunError, UnknownNameError, known_names

from . import manifests
from .capabilities import CAPABILITIES, ENDINGS, format_of
from .dialect import columns_from_json, columns_to_json, store
from .paths import META, DataFile, clean, inside, is_pattern, match, partition_of, real_name, walk
from .scan import LocalScan, make_scan
from .staging import Stager, run_name, staged
from .widen import wider

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from ematix_nb.backends.base import Stored
    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import Column

    from .config import FileConfig


class LocalFileSession:
    """One open folder; see `ematix_nb.backends.base.FileSession` for the contract."""

    capabilities = CAPABILITIES

    def __init__(self, config: FileConfig, *, read_only: bool = False) -> None:
        self.config = config
        self.identity = str(config.root)
        self._read_only = read_only
        self._folders: list[str] = []
        weakref.finalize(self, _remove_all, self._folders)
        self._staged: dict[str, tuple[Column, ...]] = {}
        self._declared: dict[str, tuple[Column, ...]] = {}

    def configure(self, options: Mapping[str, Any]) -> None:
        """Set the write options of the target (``parquet_compression``, ``partition_by``, ...) for ``stage``.

        Raises:
            DeclarationError: When an option is unknown, misplaced or wrong.
        """
        self.config = self.config.with_options(options)

    def declare(self, thing: str, columns: Sequence[Column]) -> None:
        """Fix the names and types of a thing whose files do not tell them; ``scan`` obeys."""
        self._declared[clean(thing)] = tuple(columns)

    def store(self, kind: DataType) -> Stored:
        """How files of this connection store a type."""
        return store(kind, self.config.format)

    def tables(self) -> list[str]:
        """Folders and files that can be read here, relative to the root, sorted."""
        found: set[str] = set()
        if not self.config.root.is_dir():
            return []
        for path in walk(self.config.root, self.config.root, []):
            if path.stat().st_size == 0:
                continue
            name = path.relative_to(self.config.root).as_posix()
            folders = [part for part in name.split("/")[:-1] if "=" not in part]
            found.add("/".join(folders) if len(name.split("/")) > 1 else name)
        found.update(target.relative_to(self.config.root).as_posix() for target in self._targets())
        return sorted(found - {""})

    def _targets(self) -> list[Path]:
        return [
            path.parent for path in self.config.root.rglob(META) if path.is_dir() and path.parent != self.config.root
        ]

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
            existing = next((each for each in candidates if (self.config.root / each).exists()), None)
            if existing is not None:
                return existing
        return None

    def _formats(self) -> list[str]:
        return [self.config.format, *(kind for kind in ENDINGS if kind != self.config.format)]

    def scan(self, thing: str) -> LocalScan:
        """The files behind a path, folder or pattern, through the manifest when there is one.

        Raises:
            UnknownNameError: When nothing is there.
            DataError: When a file cannot be read, or a manifest names a file that does not exist.
            SchemaDriftError: When the files do not fit together.
        """
        name = clean(thing)
        declared = self._declared.get(name)
        target = self.config.root / name
        if not is_pattern(name) and target.is_dir():
            inside(self.config.root, target, name)
            published = manifests.newest(target)
            if published is not None:
                return self._scan_published(name, published, declared)
        skipped: list[str] = []
        files = self._one_format(name, self._files(name, skipped), skipped)
        if not files and declared is None:
            message = f"there are no data files in `{name or '.'}`" + (f" ({len(skipped)} skipped)" if skipped else "")
            raise DataError(message, "skipped: " + ", ".join(skipped[:5]) if skipped else self._known(name))
        return make_scan(files, declared, self.config, skipped, self._keep)

    def _known(self, name: str) -> str:
        return known_names(name, self.tables(), "tables")

    def _files(self, name: str, skipped: list[str]) -> list[DataFile]:
        root = self.config.root
        path = root / name
        if is_pattern(name):
            paths = match(root, name, skipped)
            if not paths and not skipped:
                message = f"no file fits `{name}`"
                raise UnknownNameError(message, self._known(name))
        elif path.is_dir():
            paths = list(walk(root, inside(root, path, name), skipped))
        elif path.is_file():
            if format_of(path.name) is None:
                message = f"`{name}` has no known ending"
                raise DeclarationError(
                    message, "known endings: " + ", ".join(e for each in ENDINGS.values() for e in each)
                )
            paths = [inside(root, path, name)]
        else:
            message = f"there is no file or folder `{name}` in the connection"
            raise UnknownNameError(message, self._known(name))
        return [found for path in paths if (found := self._data_file(path, skipped)) is not None]

    def _data_file(self, path: Path, skipped: list[str]) -> DataFile | None:
        name = path.relative_to(self.config.root).as_posix()
        inside(self.config.root, path, name)
        if path.stat().st_size == 0:
            skipped.append(f"{name} (0 bytes)")
            return None
        return DataFile(path, name, format_of(name) or self.config.format, partition_of(name))

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
    ) -> LocalScan:
        target = self.config.root / name
        for attempt in range(2):
            if not self._read_only:
                self._reveal(target, published.files)
            missing = [file for file in published.files if self._place(target, file) is None]
            if not missing:
                break
            again = manifests.newest(target)
            if attempt or again is None or again.seq == published.seq:
                message = f"file `{missing[0]}` is listed in manifest {published.seq} of `{name}` and does not exist"
                raise DataError(message, "restore it; files of a target are removed by runs only")
            published = again
        kept = published.columns and columns_from_json(list(published.columns))
        files = []
        for file in published.files:
            path = self._place(target, file) or target / file
            files.append(DataFile(path, f"{name}/{file}".lstrip("/"), format_of(file) or "", partition_of(file)))
        return make_scan(files, declared or kept or None, self.config, (), self._keep)

    def _reveal(self, target: Path, files: tuple[str, ...]) -> None:
        """Finish what a crashed publisher left; a folder that we may not write is read as it is."""
        try:
            manifests.reveal(target, files)
        except PermissionError:
            return

    def _place(self, target: Path, file: str) -> Path | None:
        for path in (target / file, target / real_name(file, hidden=True)):
            if path.exists():
                return inside(self.config.root, path, file)
        return None

    def manifest(self, thing: str) -> Manifest | None:
        """The newest manifest of a target.

        None when there is nothing yet; number 0 with the files that lie there when a folder was filled by
        somebody else: an append that publishes 1 keeps them in its list and so adopts them.
        """
        target = self._target(thing)
        published = manifests.newest(target)
        if published is not None:
            return Manifest(published.seq, published.files, published.state)
        if not target.is_dir():
            return None
        foreign = [path for path in walk(self.config.root, target, []) if path.stat().st_size]
        names = tuple(p.relative_to(target).as_posix() for p in foreign if format_of(p.name) == self.config.format)
        return Manifest(0, names) if names else None

    def _target(self, thing: str) -> Path:
        name = clean(thing)
        if not name or is_pattern(name):
            message = f"`{thing}` cannot be a target: name one folder"
            raise DeclarationError(message, "for example `lake:orders`")
        target = self.config.root / name
        if target.is_file():
            message = f"`{name}` is a file where a folder is wanted"
            raise DeclarationError(message, "name a folder: a target is a folder of files")
        return inside(self.config.root, target, name)

    def stage(self, thing: str, columns: Sequence[Column], batches: Iterable[pa.RecordBatch], run_id: str) -> list[str]:
        """Write hidden, fsynced files that no reader sees; their final names, in order (none for no rows).

        Raises:
            DataError: When a value or type cannot be written exactly; nothing is left behind.
        """
        target = self._target(thing)
        if self._read_only:
            message = f"`{thing}` was opened for reading only"
            raise RunError(message, "open the connection for writing")
        target.mkdir(parents=True, exist_ok=True)
        self._staged[clean(thing)] = tuple(columns)
        return list(Stager(target, columns, self.config, run_id).write(batches))

    def publish(self, thing: str, manifest: Manifest) -> None:
        """Make the manifest the newest by conditional create, reveal its files, remove what it no longer lists.

        Raises:
            LockedError: When somebody else published that number first.
        """
        target = self._target(thing)
        if self._read_only:
            message = f"`{thing}` was opened for reading only"
            raise RunError(message, "open the connection for writing")
        target.mkdir(parents=True, exist_ok=True)
        before = manifests.newest(target)
        known = self.manifest(thing)
        if before is not None:
            manifests.reveal(target, before.files)
        columns = self._columns(clean(thing), before, manifest)
        manifests.publish(target, manifests.Published(manifest.seq, manifest.files, manifest.state, columns))
        manifests.reveal(target, manifest.files)
        if known is not None:
            manifests.remove(target, set(known.files) - set(manifest.files))
        manifests.prune(target)

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
        self._staged.pop(clean(thing), None)
        if not target.is_dir():
            return
        published = manifests.newest(target)
        listed = set(published.files) if published else set()
        manifests.remove(target, set(staged(target).get(run_name(run_id), [])) - listed)

    def staged_runs(self, thing: str) -> tuple[str, ...]:
        """Ids (as in file names) of runs with unpublished files: the leftovers of dead runs, or of one at work."""
        target = self._target(thing)
        published = manifests.newest(target)
        listed = set(published.files) if published else set()
        return tuple(sorted(run for run, files in staged(target).items() if set(files) - listed))

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
        if other is None or common is None or common.equals(to_arrow(column.type)):
            merged.append(column)
        else:
            merged.append(other if common.equals(to_arrow(other.type)) else _retyped(other, from_arrow(common)))
    return (*merged, *new.values())


def _retyped(column: Column, kind: DataType) -> Column:
    from dataclasses import replace

    return replace(column, type=kind)
