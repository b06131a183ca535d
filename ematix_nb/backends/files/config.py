"""A connection of kind ``object_store_local`` as settings."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ematix_nb.errors import ConnectError, DeclarationError, known_names

from .capabilities import COMPRESSIONS, ENDINGS, TARGET_FILE_BYTES, WRITE_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class FileConfig:
    """Where the files lie and how they are written."""

    root: Path
    """The real path of the folder."""
    format: str
    csv_delimiter: str = ","
    csv_header: bool = True
    csv_quote: str = '"'
    csv_null_value: str = ""
    """The unquoted text that stands for NULL."""
    parquet_compression: str = "zstd"
    partition_by: tuple[str, ...] = ()
    target_file_rows: int | None = None
    target_file_bytes: int = TARGET_FILE_BYTES

    def with_options(self, options: Mapping[str, Any]) -> FileConfig:
        """The same place with the write options of a target.

        Raises:
            DeclarationError: When an option is unknown, has no meaning for the format, or a wrong value.
        """
        chosen = {name: value for name, value in options.items() if value is not None}
        for name, value in chosen.items():
            if name not in WRITE_OPTIONS:
                message = f"`{name}` is not a write option of files"
                raise DeclarationError(message, known_names(name, WRITE_OPTIONS, "write options"))
            if self.format not in WRITE_OPTIONS[name]:
                message = f"`{name}` has no meaning for {self.format} files"
                raise DeclarationError(message, f"remove it, or write {' or '.join(WRITE_OPTIONS[name])}")
            chosen[name] = _checked(name, value)
        return replace(self, **chosen)


def _checked(name: str, value: Any) -> Any:
    if name == "partition_by":
        return (value,) if isinstance(value, str) else tuple(value)
    if name == "parquet_compression" and value not in COMPRESSIONS:
        message = f"`parquet_compression` is `{value}`, expected one of {', '.join(COMPRESSIONS)}"
        raise DeclarationError(message, "choose one of them")
    if name in ("csv_delimiter", "csv_quote") and (not isinstance(value, str) or len(value) != 1 or value in "\r\n"):
        message = f"`{name}` is {value!r}, expected one character"
        raise DeclarationError(message, f"correct `{name}`")
    if name.startswith("target_file_") and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        message = f"`{name}` is {value!r}, expected a positive whole number"
        raise DeclarationError(message, f"correct `{name}`")
    return value


def file_config(connection: Any, *, write: bool = False, create: bool = True) -> FileConfig:
    """The settings of a typed connection, its variables filled in.

    A writer makes the folder when its parent exists; without ``create`` a missing folder is no error and stays missing.

    Raises:
        ConnectError: When the folder is missing, is a file or cannot be entered.
    """
    resolved = connection.resolved() if hasattr(connection, "resolved") else connection
    where = f"connection `{getattr(resolved, 'name', '')}`"
    root = Path(os.path.realpath(Path(str(resolved.path)).expanduser()))
    kind = {"json_lines": "jsonl", "ndjson": "jsonl"}.get(resolved.format, resolved.format)
    if kind not in ENDINGS:
        message = f"{where}: this version reads and writes {', '.join(ENDINGS)} files, not `{kind}`"
        raise DeclarationError(message, f"set `format` to one of {', '.join(ENDINGS)}")
    if not root.exists() and create and write and root.parent.is_dir():
        try:
            root.mkdir(exist_ok=True)  # another run may make it at the same time
        except OSError as exc:
            message = f"{where}: the folder `{root}` cannot be made: {exc.strerror}"
            raise ConnectError(message, "correct `path`, or the rights of the folder above it") from exc
    if root.exists() or create:
        _check_root(root, str(resolved.path), where)
    names = ("csv_delimiter", "csv_header", "csv_quote", "csv_null_value", "parquet_compression", "partition_by")
    given = {name: getattr(resolved, name, None) for name in names}
    config = FileConfig(root=root, format=kind)
    return config.with_options({name: value for name, value in given.items() if value not in (None, ())})


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
