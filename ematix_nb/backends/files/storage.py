"""Where files lie: a folder of this machine, or a prefix of a bucket.

A storage knows names relative to its root, with ``/`` between folders. It gives no meaning to them: hidden names,
manifests and formats are the session's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from .capabilities import format_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

META = "_ematix_flow"
"""The folder beside a target's files that holds its manifests."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or object."""

    name: str
    """Relative to the root."""
    size: int
    """Bytes."""
    stamp: str
    """Another text whenever the content is another one: an ETag, a generation, size and time of the last change."""


class Upload(Protocol):
    """A file on its way; nobody sees it as a whole before ``close``."""

    def write(self, data: Any, /) -> int | None:
        """Append bytes; how many."""
        ...

    def tell(self) -> int:
        """Bytes written so far."""
        ...

    def close(self) -> None:
        """Finish: the file is there and durable."""
        ...

    def abort(self) -> None:
        """Give up: nothing of it stays. Harmless after ``close`` or a second time."""
        ...


class Storage(Protocol):
    """A place for files.

    Raises:
        ConnectError: From any method, when the place refuses us or is not there.
        TransientError: When it does not answer, or an object changed while it was read.
        FileNotFoundError: When a named file is not there.
    """

    identity: str
    """Equal for two storages of one place; holds no secret."""
    open_at_once: int
    """Uploads that may be under way together."""

    def kind(self, name: str) -> Literal["file", "folder"] | None:
        """What a name stands for; a folder of a bucket is there while an object is in it."""
        ...

    def entries(self, folder: str) -> Sequence[Entry]:
        """Every file below a folder, hidden ones too, ordered by the parts of their names; none for no folder."""
        ...

    def walk(self, folder: str, skipped: list[str]) -> Iterator[Entry]:
        """The data files below a folder in the same order; hidden and foreign files are noted in ``skipped``."""
        ...

    def overview(self) -> tuple[set[str], Iterable[Entry]]:
        """Folders that hold manifests, the root left out, and data files; of a large store only those seen first."""
        ...

    def stat(self, name: str) -> Entry:
        """One file."""
        ...

    def open(self, entry: Entry, *, forward: bool = False) -> Any:
        """A pyarrow file to read, of exactly this content; ``forward`` promises a read from start to end."""
        ...

    def read(self, name: str) -> bytes:
        """A small file as a whole."""
        ...

    def create(self, name: str, body: bytes) -> bool:
        """Make a small file, whole and durable, unless the name is taken: exactly one of many callers gets True."""
        ...

    def upload(self, name: str) -> Upload:
        """Make a file bit by bit; a file of that name is replaced."""
        ...

    def move(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Rename files, each from its first to its second name; one that is not there any more is left out."""
        ...

    def delete(self, names: Iterable[str], folder: str) -> None:
        """Remove files that may be there, and what becomes empty between them and ``folder``."""
        ...

    def settle(self, folders: Iterable[str]) -> None:
        """Make the names in folders durable."""
        ...

    def path(self, name: str) -> Path | None:
        """Where a file lies on this machine; None when it does not."""
        ...


def visible(entries: Iterable[Entry], folder: str, skipped: list[str]) -> Iterator[Entry]:
    """The data files among the files below a folder; hidden and marker files are noted in ``skipped``."""
    noted = set()
    start = len(folder) + 1 if folder else 0
    for entry in entries:
        parts = entry.name[start:].split("/")
        hidden = next((n for n, part in enumerate(parts) if part.startswith((".", "_"))), None)
        if hidden is not None:
            name = entry.name[:start] + "/".join(parts[: hidden + 1])
            if parts[hidden] != META and name not in noted:
                noted.add(name)
                skipped.append(f"{name} (hidden)")
        elif format_of(parts[-1]) is None:
            skipped.append(f"{entry.name} (not a data file)")
        else:
            yield entry


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """Entries by the parts of their names, as folders are walked."""
    return sorted(entries, key=lambda entry: entry.name.split("/"))
