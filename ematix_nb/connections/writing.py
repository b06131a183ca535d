"""Write a connection into a settings file, keeping its comments, readable by its owner only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ematix_nb.errors import ConfigError, UsageError

from .base import check_keys, from_text, setting_types
from .kinds import KINDS
from .lock import locked
from .toml_files import parse_settings, user_file
from .url import connection_from_settings

if TYPE_CHECKING:
    from .base import Connection

_OWNER_ONLY = 0o600


def set_connection(
    connection_name: str, /, *, to_file: Path | str | None = None, profile: str | None = None, **fields: Any
) -> Connection:
    """Change settings of a connection in a settings file, or add the connection.

    The rest of the file, comments included, stays as it is. The file is replaced in one
    step and gets mode 0600. Writers wait for each other, so that no change is lost. Texts
    are turned into numbers and truth values where the kind wants them, so that a command
    line can pass what it got.

    Args:
        connection_name: The connection.
        to_file: The file; None means ``~/.ematix-flow/connections.toml``.
        profile: Write it as ``[profiles.<profile>.connections.<name>]``.
        fields: The settings, ``kind`` among them; None removes one.

    Returns:
        The connection as the file now defines it.

    Raises:
        ConfigError: The file is broken, cannot be written, or somebody else is writing it for 10 s.
        DeclarationError: The settings do not make a connection; the file is as it was.
    """
    if not fields:
        message = f"no settings given for connection `{connection_name}`"
        raise UsageError(message, hint="write NAME key=value, for example warehouse url=postgres://...")
    path = Path(os.path.realpath(to_file if to_file is not None else user_file()))
    _make_folder(path)
    with locked(path):
        return _changed(path, connection_name, profile, fields)


def _changed(path: Path, connection_name: str, profile: str | None, fields: dict[str, Any]) -> Connection:
    """Read, change and replace the file."""
    import tomlkit

    raw = path.read_bytes() if path.exists() else b""
    text = parse_settings(path, raw).text
    document = tomlkit.parse(text)
    holder: Any = document
    for key in [*(["profiles", profile] if profile else []), "connections"]:
        holder = holder.setdefault(key, tomlkit.table(is_super_table=True))
    table = holder.setdefault(connection_name, tomlkit.table())
    wanted = _merged(dict(table.unwrap()), fields)
    built = connection_from_settings(connection_name, wanted)
    for key in list(table):
        if key not in wanted:
            del table[key]
    for key, value in wanted.items():
        if key not in table or table[key] != value:
            table[key] = value
    _replace(path, tomlkit.dumps(document))
    return built


def _merged(old: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """The settings after the change, with the types that the kind wants."""
    wanted = old | fields
    if "url" in fields and fields["url"] is not None:
        wanted.pop("dsn", None)
        if "kind" not in fields and _is_other_kind(old.get("kind"), str(fields["url"])):
            wanted.pop("kind", None)
    if isinstance(wanted.get("kind"), str) and wanted["kind"] in KINDS:
        cls = KINDS[wanted["kind"]]
    elif isinstance(wanted.get("url"), str) and "${" not in wanted["url"]:
        cls = type(connection_from_settings("x", {"url": wanted["url"]}))
    else:
        cls = None
    if cls is not None:
        settings = {k: v for k, v in wanted.items() if k not in ("kind", "url", "dsn")}
        check_keys(cls, settings, "the connection")
        types = setting_types(cls)
        for key, value in settings.items():
            if isinstance(value, str) and "${" not in value:
                typed = from_text(value, types[key], key)
                wanted[key] = list(typed) if isinstance(typed, tuple) else typed
    return {key: value for key, value in wanted.items() if value is not None}


def _is_other_kind(kind: object, url: str) -> bool:
    if kind is None or "${" in url:
        return False
    if kind == "schema_registry":
        return not url.startswith("http")
    return connection_from_settings("x", {"url": url}).kind != kind


def _replace(path: Path, text: str) -> None:
    """Put a text in the place of a file, whole or not at all."""
    import tempfile

    try:
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(draft).chmod(_OWNER_ONLY)
            Path(draft).replace(path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _unwritable(path, error) from None


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> ConfigError:
    what = f"{path} cannot be written: {error.strerror}"
    return ConfigError(what, hint="nothing was changed; check the folder's permissions", where=str(path))
