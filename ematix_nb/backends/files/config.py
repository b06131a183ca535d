"""How the files of a connection are written and read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ematix_nb.errors import DeclarationError, known_names

from .capabilities import COMPRESSIONS, ENDINGS, MAX_FILE_BYTES, TARGET_FILE_BYTES, WRITE_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class FileConfig:
    """The format and its options."""

    format: str
    csv_delimiter: str = ","
    csv_header: bool = True
    csv_quote: str = '"'
    csv_null_value: str = ""
    """The unquoted text that stands for NULL."""
    csv_safe: bool = False
    """Texts that a spreadsheet would take for a formula are written with a `'` before them, and read without."""
    parquet_compression: str = "zstd"
    orc_compression: str = "zstd"
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
    if name in COMPRESSIONS and value not in COMPRESSIONS[name]:
        message = f"`{name}` is `{value}`, expected one of {', '.join(COMPRESSIONS[name])}"
        raise DeclarationError(message, "choose one of them")
    if name in ("csv_delimiter", "csv_quote") and (not isinstance(value, str) or len(value) != 1 or value in "\r\n"):
        message = f"`{name}` is {value!r}, expected one character"
        raise DeclarationError(message, f"correct `{name}`")
    if name == "target_file_bytes" and isinstance(value, int) and value > MAX_FILE_BYTES:
        message = f"`{name}` is {value}, expected at most {MAX_FILE_BYTES} (stores copy no larger object at once)"
        raise DeclarationError(message, "write more files instead")
    if name.startswith("target_file_") and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        message = f"`{name}` is {value!r}, expected a positive whole number"
        raise DeclarationError(message, f"correct `{name}`")
    return value


def file_config(connection: Any) -> FileConfig:
    """The settings of a resolved connection.

    Raises:
        DeclarationError: When the format is not one of ours.
    """
    kind = {"json_lines": "jsonl", "ndjson": "jsonl"}.get(connection.format, connection.format)
    if kind not in ENDINGS:
        message = (
            f"connection `{connection.name}`: this version reads and writes {', '.join(ENDINGS)} files, not `{kind}`"
        )
        raise DeclarationError(message, f"set `format` to one of {', '.join(ENDINGS)}")
    given = {name: getattr(connection, name, None) for name in WRITE_OPTIONS}
    config = FileConfig(format=kind)
    return config.with_options({name: value for name, value in given.items() if value not in (None, ())})
