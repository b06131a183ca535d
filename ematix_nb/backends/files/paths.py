"""Names inside the root: checks, walks, patterns and Hive folders."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from ematix_nb.errors import DataError, DeclarationError

from .unpacked import Unpacked

if TYPE_CHECKING:
    from pathlib import Path

    from .storage import Entry, Storage

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
MAX_NAME_BYTES = 255
_PATTERN = re.compile(r"[*?\[]")
_PACKED = {"gz": "gzip", "zst": "zstd"}
_PART = re.compile(r"part-.+-\d{5}\.[a-z.]+")
_HIVE = re.compile(r"([^=/]+)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class DataFile:
    """One file of a scan."""

    storage: Storage
    entry: Entry
    """Where it lies now (under its hidden name when it is published but not yet revealed)."""
    name: str
    """Its name relative to the root."""
    format: str
    partition: tuple[tuple[str, str | None], ...] = ()
    """Columns that its folders stand for, decoded; None is NULL."""

    @property
    def path(self) -> Path | None:
        """Its path on this machine; None when it lies elsewhere."""
        return self.storage.path(self.entry.name)

    @property
    def is_packed(self) -> bool:
        """Whether its bytes are compressed as a whole, which its name tells."""
        return self.entry.name.lower().rpartition(".")[2] in _PACKED

    def open(self, *, forward: bool = False) -> Any:
        """A pyarrow file with random access; ``forward``: it is read more or less from start to end."""
        return self.storage.open(self.entry, forward=forward)

    def stream(self) -> Any:
        """A stream from its start, unpacked.

        Reading raises a DataError when a packed file unfolds to far more than it could hold.
        """
        import pyarrow as pa

        packed = _PACKED.get(self.entry.name.lower().rpartition(".")[2])
        raw = self.storage.open(self.entry, forward=True)
        return Unpacked(pa.CompressedInputStream(raw, packed), self.name, self.entry.size) if packed else raw


def is_pattern(thing: str) -> bool:
    """True when a name holds wildcards."""
    return _PATTERN.search(thing) is not None


def clean(thing: str) -> str:
    """A relative name without doubled or closing slashes.

    Raises:
        DeclarationError: When it is absolute, leaves the root or holds control characters.

    Example:
        >>> clean("raw//orders/")
        'raw/orders'
    """
    text = thing.strip()
    problem = ""
    if any(char < " " for char in text):
        problem = "it holds control characters"
    elif text.startswith(("/", "~")) or re.match(r"[A-Za-z]:[\\/]", text) or "://" in text:
        problem = "it is absolute"
    elif ".." in re.split(r"[/\\]", text):
        problem = "it leaves the folder of the connection"
    if problem:
        message = f"`{thing!r}` is not a name inside the connection: {problem}"
        raise DeclarationError(message, "give a name relative to the connection's `path`, without `..`")
    return "/".join(part for part in text.split("/") if part not in ("", "."))


def match(storage: Storage, pattern: str, skipped: list[str]) -> list[Entry]:
    """Files whose name fits a pattern; ``**`` stands for any number of folders."""
    wanted = pattern.split("/")
    literal = next(index for index, part in enumerate(wanted) if is_pattern(part))
    unwanted: list[str] = []
    found = [
        entry for entry in storage.walk("/".join(wanted[:literal]), unwanted) if _fits(entry.name.split("/"), wanted)
    ]
    skipped.extend(note for note in unwanted if _fits(note.rsplit(" (", 1)[0].split("/"), wanted))
    return found


def _fits(parts: list[str], wanted: list[str]) -> bool:
    if not wanted:
        return not parts
    if wanted[0] == "**":
        return any(_fits(parts[index:], wanted[1:]) for index in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], wanted[0]) and _fits(parts[1:], wanted[1:])


def partition_of(name: str) -> tuple[tuple[str, str | None], ...]:
    """The columns that the folders of a relative name stand for.

    Example:
        >>> partition_of("orders/day=2024-01-01/city=%2E%2E/part-1.parquet")
        (('day', '2024-01-01'), ('city', '..'))
    """
    found: list[tuple[str, str | None]] = []
    for folder in name.split("/")[:-1]:
        hive = _HIVE.fullmatch(folder)
        if hive:
            found.append((unquote(hive[1]), None if hive[2] == HIVE_NULL else unquote(hive[2])))
    return tuple(found)


def partition_folder(values: tuple[tuple[str, str | None], ...]) -> str:
    """The folder for the values of partition columns, everything but letters, digits and ``_.-~`` %-encoded.

    Raises:
        DataError: When a value makes a folder name of more than 255 bytes.

    Example:
        >>> partition_folder((("a", "x/../y"), ("b", None), ("c", "__HIVE_DEFAULT_PARTITION__")))
        'a=x%2F..%2Fy/b=__HIVE_DEFAULT_PARTITION__/c=%5F_HIVE_DEFAULT_PARTITION__'
    """
    folders = []
    for column, value in values:
        text = HIVE_NULL if value is None else quote(value, safe="")
        if value == HIVE_NULL:
            text = "%5F" + HIVE_NULL[1:]
        folder = f"{quote(column, safe='')}={text}"
        if len(folder) > MAX_NAME_BYTES:
            message = (
                f"column `{column}` cannot be a folder: value `{str(value)[:80]}` makes a name of {len(folder)} bytes"
            )
            raise DataError(
                message, f"partition by a column with short values (at most {MAX_NAME_BYTES} bytes encoded)"
            )
        folders.append(folder)
    return "/".join(folders)


def is_part(name: str) -> bool:
    """True when a file has the name of one that a run wrote.

    Example:
        >>> is_part("a=1/part-6f1d-00000.csv"), is_part("a=1/orders.csv")
        (True, False)
    """
    return _PART.fullmatch(name.rpartition("/")[2]) is not None


def real_name(relative: str, *, hidden: bool) -> str:
    """The name of a part, as revealed or as staged.

    Example:
        >>> real_name("a=1/part-r-00000.csv", hidden=True)
        'a=1/.part-r-00000.csv.tmp'
    """
    folder, slash, name = relative.rpartition("/")
    return f"{folder}{slash}.{name}.tmp" if hidden else relative
