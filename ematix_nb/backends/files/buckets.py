"""What the object stores share: folders made of names, ranged reads of one version, uploads in the background.

A store gives few things: list by prefix, read a range of a known version, create unless there, copy, delete. The rest
of the `ematix_nb.backends.files.storage.Storage` contract is made of them here.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

from ematix_nb.errors import RunError, TransientError, UnreachableError

from .storage import META, Entry, in_order, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

WHOLE_BYTES = 1 << 20
"""An object of this size is fetched at once."""
TAIL_BYTES = 1 << 16
"""What is fetched when somebody reads near the end, where formats keep their footers."""
AHEAD_BYTES = 4 << 20
"""What is fetched at a time from an object that is read from start to end."""
CHUNK_BYTES = 8 << 20
"""What is sent at a time of an object that is larger; a smaller one is sent at once."""
WAITING_CHUNKS = 2
MOST_SHOWN = 50_000
"""Objects that are looked at to tell what there is."""
AT_ONCE = 8
"""Requests under way together where many objects are copied or removed."""


class BucketStorage(ABC):
    """A prefix of a bucket; see `ematix_nb.backends.files.storage.Storage` for the contract."""

    open_at_once = 32

    def __init__(self, identity: str, where: str) -> None:
        self.identity = identity
        self.where = where
        """The connection, for messages."""
        self._proven = False
        """The store was seen to refuse what is there."""

    # -- what a store gives -----------------------------------------------------------------------------------

    @abstractmethod
    def objects(self, folder: str) -> Iterator[Entry]:
        """The objects below a folder, in any order."""

    @abstractmethod
    def stat(self, name: str) -> Entry:
        """One object."""

    @abstractmethod
    def fetch(self, entry: Entry, start: int, end: int) -> Any:
        """The bytes from ``start`` to before ``end`` of exactly this version of an object."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """A small object as a whole."""

    @abstractmethod
    def put_new(self, name: str, body: bytes) -> bool:
        """Make an object unless one has the name, decided by the store."""

    @abstractmethod
    def put(self, name: str, body: bytes) -> None:
        """Make or replace a small object."""

    @abstractmethod
    def send(self, name: str, chunks: Iterator[bytes]) -> None:
        """Make or replace an object of many chunks; when the chunks raise, nothing of it stays."""

    @abstractmethod
    def copy(self, old: str, new: str) -> None:
        """Copy an object inside the store."""

    @abstractmethod
    def drop(self, name: str) -> None:
        """Remove an object; one that is not there is fine."""

    # -- what is made of it -----------------------------------------------------------------------------------

    def probe(self) -> None:
        """Ask for the first object.

        Raises:
            ConnectError: When the bucket cannot be listed.
        """
        try:
            next(iter(self.objects("")), None)
        except TransientError as exc:
            raise UnreachableError(exc.what, exc.hint) from exc

    def create(self, name: str, body: bytes) -> bool:
        """Make an object unless one has the name.

        Raises:
            RunError: When the store does not look at the condition: two writers would not notice each other.
        """
        if not self.put_new(name, body):
            return False
        if not self._proven:
            if self.put_new(name, body):
                message = f"{self.where}: the store replaces an object that was to be made only if it was not there"
                raise RunError(message, "it cannot be a target; choose a store with conditional writes")
            self._proven = True
        return True

    def kind(self, name: str) -> Literal["file", "folder"] | None:
        """What a name stands for; a folder is there while something is in it."""
        if next(iter(self.objects(name)), None) is not None:
            return "folder"
        try:
            self.stat(name)
        except FileNotFoundError:
            return None
        return "file"

    def entries(self, folder: str) -> Sequence[Entry]:
        """Every object below a folder."""
        return in_order(self.objects(folder))

    def walk(self, folder: str, skipped: list[str]) -> Iterator[Entry]:
        """The data files below a folder."""
        yield from visible(self.entries(folder), folder, skipped)

    def overview(self) -> tuple[set[str], Iterable[Entry]]:
        """Folders that hold manifests, and data files."""
        mark = f"/{META}/"
        found = in_order(itertools.islice(self.objects(""), MOST_SHOWN))
        return {entry.name.partition(mark)[0] for entry in found if mark in entry.name}, visible(found, "", [])

    def open(self, entry: Entry, *, forward: bool = False) -> Any:
        """The object as a pyarrow file."""
        import pyarrow as pa

        return pa.PythonFile(_Ranges(self.fetch, entry, AHEAD_BYTES if forward else 0), mode="r")

    def upload(self, name: str) -> BucketUpload:
        """Make an object bit by bit."""
        return BucketUpload(self, name)

    def move(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Copy and remove: an object that is not there any more was moved by somebody else."""
        self._each(self._move, pairs)

    def _move(self, pair: tuple[str, str]) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.copy(*pair)
            self.drop(pair[0])

    def delete(self, names: Iterable[str], folder: str) -> None:
        """Remove objects; there are no folders to tidy."""
        del folder
        self._each(self.drop, list(names))

    def _each(self, act: Callable[[Any], None], items: Sequence[Any]) -> None:
        if len(items) <= 1:
            for item in items:
                act(item)
            return
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(act, items))

    def settle(self, folders: Iterable[str]) -> None:  # noqa: B027 - nothing to do
        """A store answers when a write is durable."""

    def path(self, name: str) -> Path | None:
        """Objects have no path on this machine."""
        del name
        return None


class _Ranges:
    """An object as a file: fetches ranges, keeps the last one."""

    closed = False

    def __init__(self, fetch: Callable[[Entry, int, int], Any], entry: Entry, ahead: int) -> None:
        self._fetch = fetch
        self._entry = entry
        self._ahead = ahead
        self._at = 0
        self._start = 0
        self._held = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        end = self._entry.size if size < 0 else min(self._at + size, self._entry.size)
        parts = []
        while self._at < end:
            if not self._start <= self._at < self._start + len(self._held):
                self._load(end)
            part = self._held[self._at - self._start : end - self._start]
            parts.append(part)
            self._at += len(part)
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)

    def _load(self, end: int) -> None:
        size = self._entry.size
        start, stop = self._at, max(end, min(self._at + self._ahead, size))
        if size <= WHOLE_BYTES:
            start, stop = 0, size
        elif not self._ahead and start >= size - TAIL_BYTES:
            start, stop = size - TAIL_BYTES, size
        self._held = memoryview(self._fetch(self._entry, start, stop))
        self._start = start
        if len(self._held) != stop - start:
            message = f"object {self._entry.name} gave {len(self._held)} bytes where {stop - start} were asked for"
            raise TransientError(message, "run again")

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        self._at = offset + {0: 0, 1: self._at, 2: self._entry.size}[whence]
        return self._at

    def tell(self) -> int:
        """The place."""
        return self._at

    def close(self) -> None:
        """Let go of what is held."""
        self._held = memoryview(b"")
        self.closed = True

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def writable(self) -> bool:
        """It is not."""
        return False


class _GivenUpError(Exception):
    """The writer gave up: the store removes what it has."""


class BucketUpload:
    """An object on its way: sent at once when it is small, else by a thread while it is written."""

    closed = False

    def __init__(self, storage: BucketStorage, name: str) -> None:
        self._storage = storage
        self._name = name
        self._size = 0
        self._buffer = bytearray()
        self._chunks: queue.Queue[bytes | None] = queue.Queue(WAITING_CHUNKS)
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._given_up = False

    def write(self, data: Any, /) -> int:
        """Append bytes; waits when the store is slower than the writer."""
        view = memoryview(data).cast("B")
        self._buffer += view
        self._size += len(view)
        while len(self._buffer) >= CHUNK_BYTES:
            self._hand_over(bytes(self._buffer[:CHUNK_BYTES]))
            del self._buffer[:CHUNK_BYTES]
        return len(view)

    def tell(self) -> int:
        """Bytes so far."""
        return self._size

    def flush(self) -> None:
        """Parts are sent when they are full."""

    def close(self) -> None:
        """Send the rest and wait for the store's answer."""
        if self.closed:
            return
        self.closed = True
        if self._thread is None:
            self._storage.put(self._name, bytes(self._buffer))
            return
        if self._buffer:
            self._hand_over(bytes(self._buffer))
        self._hand_over(None)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def abort(self) -> None:
        """Give up; the store forgets the parts."""
        self.closed = True
        self._buffer.clear()
        if self._thread is not None and self._thread.is_alive():
            self._given_up = True
            with contextlib.suppress(queue.Full):
                self._chunks.put_nowait(None)
            self._thread.join()

    def _hand_over(self, chunk: bytes | None) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._send, name="ematix-nb-upload", daemon=True)
            self._thread.start()
        while True:
            if self._failure is not None:
                raise self._failure
            try:
                self._chunks.put(chunk, timeout=0.2)
            except queue.Full:
                continue
            return

    def _send(self) -> None:
        try:
            self._storage.send(self._name, self._taken())
        except _GivenUpError:
            return
        except BaseException as exc:  # noqa: BLE001 - handed to the writer, whatever it is
            self._failure = exc

    def _taken(self) -> Iterator[bytes]:
        while True:
            chunk = self._chunks.get()
            if self._given_up:
                raise _GivenUpError
            if chunk is None:
                return
            yield chunk
