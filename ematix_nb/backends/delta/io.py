"""The session on a place with Delta tables: find, read, stage, commit."""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import TableInfo
from ematix_nb.backends.files.paths import clean, is_pattern
from ematix_nb.errors import DeclarationError, RunError, UnknownNameError, known_names

from . import commits
from .capabilities import APPENDABLE, CAPABILITIES, LOG, META, UNUSABLE, WRITABLE
from .dialect import store
from .errors import translated
from .places import placed_rows
from .scan import make_scan, split_version
from .writing import Staged, check_partitions, run_folder, stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pyarrow as pa

    from ematix_nb.backends.base import Stored
    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import Column, TableRef

    from .commits import Tags
    from .config import DeltaConfig
    from .objects import Objects
    from .places import PlacedFile, PlacedRows
    from .scan import DeltaScan

DEEPEST = 4
"""Folders between the place and a table that is found by looking."""


class DeltaSession:
    """One open place. Tables are named by their folder: ``orders``, ``raw/orders``; ``orders@v3`` is an old version."""

    capabilities = CAPABILITIES

    def __init__(self, config: DeltaConfig, *, read_only: bool = False) -> None:
        self.config = config
        self.identity = config.root
        self._read_only = read_only
        self._closers: list[Callable[[], None]] = []
        self._stoppers: list[Callable[[], None]] = []

    @property
    def objects(self) -> Objects:
        """The small files beside the tables."""
        return self.config.objects

    def configure(self, options: Mapping[str, Any]) -> None:
        """Set the write options of the target (``partition_by``, ``parquet_compression``).

        Raises:
            DeclarationError: When an option is unknown or wrong.
        """
        self.config = self.config.with_options(options)

    def plain(self) -> DeltaSession:
        """A session on the same place, without the partitions of the target."""
        return DeltaSession(replace(self.config, partition_by=()), read_only=self._read_only)

    def store(self, kind: DataType) -> Stored:
        """How a table stores a type."""
        return store(kind)

    # -- names ------------------------------------------------------------------------------------------------

    def name(self, thing: str) -> str:
        """A table's folder, relative to the place.

        Raises:
            DeclarationError: When it leaves the place, or the library would garble it.
        """
        found = clean(thing)
        bad = [letter for letter in UNUSABLE if letter in found]
        if bad or not found or is_pattern(found) or set(found.split("/")) & {LOG, META}:
            reason = f"it holds `{bad[0]}`" if bad else "it is not the name of one table"
            message = f"`{thing}` cannot name a Delta table: {reason}"
            raise DeclarationError(message, "name one folder, for example `lake:orders` or `lake:raw/orders`")
        return found

    def target(self, thing: str) -> str:
        """A table's folder, for writing.

        Raises:
            DeclarationError: When it, or the connection, names an old version.
        """
        if self.config.at is not None:
            option = "version" if isinstance(self.config.at, int) else "timestamp"
            message = f"connection `{self.config.name}` has a `{option}`: its tables are only read, as they were"
            raise DeclarationError(message, f"write `{thing}` through a connection without `{option}`")
        if split_version(thing)[1] is not None:
            message = f"`{thing}` names an old version, which cannot be written"
            raise DeclarationError(message, f"name the table: `{split_version(thing)[0]}`")
        return self.name(thing)

    def tables(self) -> list[str]:
        """The tables that can be read here, sorted."""
        found: list[str] = []
        self._look("", DEEPEST, found)
        return sorted(found)

    def _look(self, folder: str, depth: int, found: list[str]) -> None:
        inner = self.objects.folders(folder)
        if LOG in inner:
            found.append(folder)
            return
        for name in inner if depth else ():
            if name[0] not in "_.":
                self._look(f"{folder}/{name}".lstrip("/"), depth - 1, found)

    def find(self, parts: Sequence[str]) -> str | None:
        """The thing that a table name of a query stands for; None when there is none."""
        for name in dict.fromkeys((".".join(parts), "/".join(parts))):
            with contextlib.suppress(DeclarationError):
                if self._is_table(self.name(name)):
                    return self.name(name)
                base, at = split_version(name)
                if at is not None and self._is_table(self.name(base)):
                    return self.name(name)
        return None

    def _is_table(self, name: str) -> bool:
        return any(file.endswith((".json", ".parquet")) for file in self.objects.files(f"{name}/{LOG}"))

    # -- reading ----------------------------------------------------------------------------------------------

    def table(self, thing: str) -> Any:
        """The newest version of a table, as the library's object; None when there is no table."""
        name = self.name(thing)
        if not self._is_table(name):
            return None
        return self._load(name, None)

    def _load(self, name: str, at: int | dt.datetime | None) -> Any:
        from deltalake import DeltaTable

        with translated(name):
            table = DeltaTable(self.config.uri(name), storage_options=dict(self.config.storage) or None)
            if at is not None:
                self._travel(table, name, at)
            return table

    def _travel(self, table: Any, name: str, at: int | dt.datetime) -> None:
        from deltalake.exceptions import DeltaError

        newest = table.version()
        if isinstance(at, int) and at > newest:
            message = f"`{name}` has no version {at}; the newest is {newest}"
            raise UnknownNameError(message, f"name one from `{name}@v0` to `{name}@v{newest}`")
        version = at if isinstance(at, int) else _version_of(table, name, at)
        try:
            table.load_as_version(version)
        except DeltaError as exc:
            message = f"version {version} of `{name}` cannot be read any more: {str(exc)[:120]}"
            raise UnknownNameError(message, "it was cleaned away; name a newer one") from exc

    def scan(self, thing: str) -> DeltaScan:
        """One version of a table: the one behind ``@``, else the connection's, else the newest.

        Raises:
            UnknownNameError: When the table or the version is not there.
        """
        name = self.name(thing)
        if self._is_table(name):
            return make_scan(self._load(name, self.config.at), name, is_remote=not self.config.is_local)
        base, at = split_version(name)
        if at is not None and self._is_table(base):
            return make_scan(self._load(base, at), name, is_remote=not self.config.is_local)
        message = f"there is no Delta table `{thing}` in the connection"
        raise UnknownNameError(message, known_names(thing, self.tables(), "tables"))

    def info(self, ref: TableRef, thing: str) -> TableInfo | None:
        """What the schema of a target says; None when it is not there."""
        table = self.table(self.target(thing))
        if table is None:
            return None
        return TableInfo(ref, make_scan(table, thing).columns)

    # -- writing ----------------------------------------------------------------------------------------------

    def check_target(self, table: Any, columns: Sequence[Column], thing: str, mode: str) -> None:
        """Refuse a partitioning that the table does not have, and a mode that it does not allow.

        Raises:
            DeclarationError: When ``partition_by`` or the mode does not fit.
        """
        wanted = self.config.partition_by
        if table is None:
            check_partitions(wanted, columns)
            return
        self._check_features(table, thing, mode)
        if mode != "append" and table.metadata().configuration.get("delta.appendOnly") == "true":
            message = f"mode {mode} does not work on `{thing}`: the table may only be appended to (delta.appendOnly)"
            raise DeclarationError(message, "append to it, or take the property away")
        have = tuple(table.metadata().partition_columns)
        if wanted and wanted != have:
            message = (
                f"the table `{thing}` is partitioned by {', '.join(have) or 'nothing'}, not by {', '.join(wanted)}"
            )
            raise DeclarationError(message, "remove `partition_by`, or write to a new table")
        self.config = self.config.with_options({"partition_by": have})

    def _check_features(self, table: Any, thing: str, mode: str) -> None:
        """Refuse a table whose features a commit of this mode would not honour."""
        have = set(table.protocol().writer_features or ())
        if table.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
            have.add("columnMapping")
        unknown = sorted(have - (APPENDABLE if mode == "append" else WRITABLE))
        if unknown:
            message = f"mode {mode} cannot write the table `{thing}`: it uses {', '.join(unknown)}"
            raise DeclarationError(message, "load into another table, or take the feature away")

    def stage(self, thing: str, columns: Sequence[Column], batches: Iterable[pa.RecordBatch], run_id: str) -> Staged:
        """Write files that no reader sees, below the table in a folder of the run.

        Raises:
            DataError: When a value cannot be written exactly; nothing is left behind.
        """
        name = self._writable(thing)
        try:
            return stage(self.config, name, columns, batches, run_folder(run_id))
        except BaseException:
            self.discard(thing, run_id)
            raise

    def commit_files(
        self, thing: str, table: Any, staged: Staged, tags: Tags, *, columns: Sequence[Column], mode: str, alone: bool
    ) -> None:
        """Publish staged files by one commit; a new table is made by it.

        Args:
            thing: The target.
            table: The version that the commit builds on; None for a new table.
            staged: The files.
            tags: What the commit records, and is compared by.
            columns: The columns of the staged files.
            mode: ``append`` or ``overwrite``.
            alone: Refuse when anybody else committed since that version.

        Raises:
            ConflictError: When another writer was first.
        """
        name = self._writable(thing)
        with translated(name):
            if table is None:
                commits.create(self.config, name, staged, columns, tags)
            elif commits.takes_files(table, columns):
                commits.add_files(table, staged, mode, tags, alone=alone)
            else:
                commits.write_again(self.config, name, table, staged, mode, tags, alone=alone)
                self.objects.remove_folder(f"{name}/{staged.folder}")
                return
        self._tidy(name, staged)

    def placed(self, thing: str, table: Any, columns: Sequence[Column], keys: Sequence[str]) -> PlacedRows | None:
        """The rows of a version by their place, with the columns after the load; None where the library must write."""
        return placed_rows(self.config, self.name(thing), table, columns, keys)

    def commit_replaced(
        self,
        thing: str,
        table: Any,
        staged: Staged,
        gone: Sequence[PlacedFile],
        tags: Tags,
        *,
        columns: Sequence[Column],
    ) -> None:
        """Publish staged files in the place of others, by one commit.

        Args:
            thing: The target.
            table: The version that the change was worked out from.
            staged: The files.
            gone: Those that they replace; all of the table's where columns are new.
            tags: What the commit records, and is compared by.
            columns: The columns of the table after the load.

        Raises:
            ConflictError: When anybody else committed since that version.
        """
        name = self._writable(thing)
        with translated(name):
            commits.allow_plain_times(table, columns)
            commits.replace_files(table, staged, gone, columns, tags)
        self._tidy(name, staged)

    def commit_changes(
        self,
        thing: str,
        table: Any,
        changes: pa.Table,
        identity: Sequence[str],
        tags: Tags,
        *,
        columns: Sequence[Column],
    ) -> None:
        """Update, insert and delete rows by one commit.

        Args:
            thing: The target.
            table: The version that the changes were worked out from.
            changes: Whole rows, and a column ``ematix_op``: 0 for a row as it shall be, 1 for one that goes.
            identity: The columns that tell the rows apart.
            tags: What the commit records, and is compared by.
            columns: The columns of the table after the load.

        Raises:
            ConflictError: When anybody else committed since that version.
        """
        name = self._writable(thing)
        with translated(name):
            commits.allow_plain_times(table, columns)
            commits.merge(self.config, table, changes, identity, tags)

    def remove_rows(self, thing: str, column: str, texts: Sequence[str]) -> None:
        """Remove the rows whose column has one of some texts; no commit when there are none.

        Raises:
            ConflictError: When another writer was first.
        """
        name = self._writable(thing)
        with translated(name):
            commits.delete(self._load(name, None), column, texts)

    def commit_nothing(self, thing: str, table: Any, tags: Tags) -> None:
        """A commit without rows, for what it records."""
        with translated(self._writable(thing)):
            commits.add_files(table, Staged("", (), 0), "append", tags, alone=False)

    def _tidy(self, name: str, staged: Staged) -> None:
        """Remove the log of the staged files: the table's own names them now."""
        if staged.folder:
            self.objects.remove_folder(f"{name}/{staged.folder}/{LOG}")

    def discard(self, thing: str, run_id: str) -> None:
        """Remove what was staged for a run that did not commit."""
        self.objects.remove_folder(f"{self.name(thing)}/{run_folder(run_id)}")

    def _writable(self, thing: str) -> str:
        if self._read_only:
            message = f"`{thing}` was opened for reading only"
            raise RunError(message, "open the connection for writing")
        return self.target(thing)

    # -- life -------------------------------------------------------------------------------------------------

    def adopt(self, close: Callable[[], None], stop: Callable[[], None]) -> None:
        """Tie a helper of a load to this session: it is stopped and closed with it."""
        self._closers.append(close)
        self._stoppers.append(stop)

    def interrupt(self) -> None:
        """Stop what is running, from another thread."""
        for stop in self._stoppers:
            stop()

    def close(self) -> None:
        """Close; may be called twice."""
        while self._closers:
            self._closers.pop()()
        self._stoppers.clear()


def _version_of(table: Any, name: str, at: dt.datetime) -> int:
    """The newest version whose commit is not later than a time.

    By the times that the commits tell: the library looks at those of the log's files, which a copy of the table
    changes.
    """
    times = {entry["version"]: entry["timestamp"] for entry in table.history() if "timestamp" in entry}
    until = at.timestamp() * 1000
    found = max((version for version, moment in times.items() if moment <= until), default=None)
    if found is None:
        first = dt.datetime.fromtimestamp(min(times.values(), default=0) / 1000, dt.UTC).isoformat()
        message = f"`{name}` has no version of {at.isoformat()}; its oldest is of {first}"
        raise UnknownNameError(message, "name a later time")
    return int(found)
