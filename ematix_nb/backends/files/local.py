"""A folder of this machine as a storage: fsync, link and rename."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ematix_nb.backends.disk import on_disk
from ematix_nb.errors import ConnectError, DeclarationError

from .capabilities import format_of
from .storage import META, Entry, in_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class LocalStorage:
    """See `ematix_nb.backends.files.storage.Storage` for the contract.

    Raises:
        DeclarationError: From any method, when a symbolic link leads out of the root.
    """

    open_at_once = 256

    def __init__(self, root: Path) -> None:
        self.root = root
        """The real path of the folder."""
        self.identity = str(root)
        self._checked: set[str] = set()
        """Folders that are known to lie inside."""

    def kind(self, name: str) -> Literal["file", "folder"] | None:
        """What lies there."""
        path = self.root / name
        if path.is_dir():
            self._inside(path, name)
            return "folder"
        if path.is_file():
            self._inside(path, name)
            return "file"
        return None

    def entries(self, folder: str) -> Sequence[Entry]:
        """Every file below a folder."""
        start = self._inside(self.root / folder, folder)
        with on_disk("list", start):
            return in_order(self._below(start))

    def _below(self, start: Path) -> Iterator[Entry]:
        for place, _, files in os.walk(start, onerror=_unless_gone):
            for file in files:
                path = Path(place) / file
                try:
                    yield self._entry(path)
                except FileNotFoundError:  # removed meanwhile, or a link to nowhere
                    continue

    def walk(self, folder: str, skipped: list[str]) -> Iterator[Entry]:
        """The data files below a folder."""
        start = self.root / folder
        if start.is_dir():
            self._inside(start, folder)
            yield from self._walk(start, skipped)

    def _walk(self, folder: Path, skipped: list[str]) -> Iterator[Entry]:
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            name = os.path.relpath(entry.path, self.root)
            if entry.name == META:
                continue
            if entry.name.startswith((".", "_")):
                skipped.append(f"{name} (hidden)")
            elif entry.is_dir():
                self._inside(Path(entry.path), name)
                yield from self._walk(Path(entry.path), skipped)
            elif format_of(entry.name) is None:
                skipped.append(f"{name} (not a data file)")
            else:
                yield self._entry(Path(entry.path))

    def overview(self) -> tuple[set[str], Iterable[Entry]]:
        """Folders that hold manifests, and data files."""
        found = [path.parent for path in self.root.rglob(META) if path.is_dir() and path.parent != self.root]
        return {path.relative_to(self.root).as_posix() for path in found}, self.walk("", [])

    def stat(self, name: str) -> Entry:
        """One file."""
        path = self._inside(self.root / name, name)
        with on_disk("look at", path):
            return self._entry(path)

    def _entry(self, path: Path) -> Entry:
        stat = path.stat()
        return Entry(path.relative_to(self.root).as_posix(), stat.st_size, f"{stat.st_size}-{stat.st_mtime_ns}")

    def open(self, entry: Entry, *, forward: bool = False) -> Any:
        """The file."""
        import pyarrow as pa

        del forward
        return pa.OSFile(str(self._inside(self.root / entry.name, entry.name)), "rb")

    def read(self, name: str) -> bytes:
        """A small file."""
        with on_disk("read", self.root / name):
            return (self.root / name).read_bytes()

    def create(self, name: str, body: bytes) -> bool:
        """A finished temporary file, then a link that fails when the name is taken."""
        final = self.root / name
        with on_disk("write", final):
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                link_new(final, f".{final.stem}", body)
            except FileExistsError:
                return False
            for folder in (final.parent, *final.parent.parents):
                sync_folder(folder)
                if folder == self.root:
                    break
            return True

    def upload(self, name: str) -> LocalUpload:
        """A file that is written in place: the caller chooses a hidden name."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return LocalUpload(path)

    def move(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Rename."""
        for old, new in pairs:
            with contextlib.suppress(FileNotFoundError), on_disk("rename", self.root / old):  # else somebody did it
                (self.root / old).rename(self.root / new)
        self.settle({new.rpartition("/")[0] for _, new in pairs})

    def delete(self, names: Iterable[str], folder: str) -> None:
        """Remove files, and the folders that become empty."""
        for name in sorted(names):
            with on_disk("remove", self.root / name):
                (self.root / name).unlink(missing_ok=True)
            drop_empty(self.root / folder, (self.root / name).parent)

    def settle(self, folders: Iterable[str]) -> None:
        """Make names durable."""
        for folder in folders:
            with on_disk("make durable", self.root / folder):
                sync_folder(self.root / folder)

    def path(self, name: str) -> Path:
        """The file's path."""
        return self.root / name

    def _inside(self, path: Path, thing: str) -> Path:
        """The path, when its real place is inside the root."""
        folder, is_link = os.path.dirname(path), os.path.islink(path)  # noqa: PTH120, PTH114 - asked for each file
        if folder in self._checked and not is_link:
            return path
        real = os.path.realpath(path)
        if os.path.commonpath([real, self.root]) != str(self.root):
            message = f"`{thing}` leads out of the folder of the connection by a symbolic link"
            raise DeclarationError(message, "name a file inside the folder, or make a connection for the other place")
        if not is_link:
            self._checked.add(folder)
        return path


class LocalUpload:
    """A file on its way; see `ematix_nb.backends.files.storage.Upload`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._done = False

    @property
    def closed(self) -> bool:
        """Whether it is finished or given up."""
        return self._file.closed

    def write(self, data: Any, /) -> int:
        """Append bytes."""
        return self._file.write(data)

    def tell(self) -> int:
        """Bytes so far."""
        return self._file.tell()

    def flush(self) -> None:
        """Hand what is buffered to the system."""
        self._file.flush()

    def close(self) -> None:
        """Finish."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._done = True
        finally:
            self._file.close()

    def abort(self) -> None:
        """Give up."""
        if not self._done:
            self._file.close()
            self._path.unlink(missing_ok=True)


def link_new(final: Path, stem: str, body: bytes) -> None:
    """Make a file, whole and with durable contents: a finished temporary one, then a link.

    Raises:
        FileExistsError: When the name is taken.
    """
    temporary = final.parent / f"{stem}-{os.getpid()}-{secrets.token_hex(6)}.tmp"
    try:
        with temporary.open("xb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


def _unless_gone(error: OSError) -> None:
    """Of a folder that cannot be listed: one that is not there has nothing in it."""
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error


def sync_folder(folder: Path) -> None:
    """Make renames and creations in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def drop_empty(target: Path, folder: Path) -> None:
    """Remove empty folders between a file and its target."""
    while folder != target and folder.is_relative_to(target):
        try:
            folder.rmdir()
        except OSError:  # not empty, or already gone
            return
        folder = folder.parent


def open_local(connection: Any, *, write: bool = False, create: bool = True) -> LocalStorage:
    """The folder of a resolved connection.

    A writer makes it when its parent exists; without ``create`` a missing folder is no error and stays missing.

    Raises:
        ConnectError: When the folder is missing, is a file or cannot be entered.
    """
    where = f"connection `{connection.name}`"
    root = Path(os.path.realpath(Path(str(connection.path)).expanduser()))
    if not root.exists() and create and write and root.parent.is_dir():
        try:
            root.mkdir(exist_ok=True)  # another run may make it at the same time
        except OSError as exc:
            message = f"{where}: the folder `{root}` cannot be made: {exc.strerror}"
            raise ConnectError(message, "correct `path`, or the rights of the folder above it") from exc
    if root.exists() or create:
        _check_root(root, str(connection.path), where)
    return LocalStorage(root)


def _check_root(root: Path, written: str, where: str) -> None:
    if root.is_dir():
        if not os.access(root, os.R_OK | os.X_OK):
            message = f"{where}: the folder `{written}` may not be read"
            raise ConnectError(message, "give this user the right to read and enter it")
        return
    if root.exists():
        message = f"{where}: `{written}` is a file where a folder is wanted"
        raise ConnectError(message, f"set `path` to its folder `{root.parent}`")
    message = f"{where}: the folder `{written}` does not exist (looked for {root})"
    raise ConnectError(message, f"make it (`mkdir -p {root}`), or correct `path`")
