"""From a connection to what opens a DuckDB database."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from ematix_nb.connections.attach import attached
from ematix_nb.errors import ConfigError

MEMORY = ":memory:"
BUSY_TIMEOUT_MS = 10_000


@dataclass(frozen=True, slots=True)
class Settings:
    """What opens a database."""

    name: str
    """The connection's name, for messages."""
    path: str
    """Absolute, without links; or ``:memory:``."""
    read_only: bool = False
    busy_timeout_ms: int = BUSY_TIMEOUT_MS
    """Milliseconds to wait for another process to let go of the file."""
    allow_external: bool = False
    """Whether SQL may read and write other files, attach databases and load extensions."""
    attached: tuple[tuple[str, str], ...] = ()
    """Names and absolute paths of the databases that are read beside it."""
    spill_folder: str = ""
    """Where rows go that memory cannot hold; empty for DuckDB's own choice."""


def settings(connection: Any, *, read_only: bool = False) -> Settings:
    """The settings of a typed connection, its variables filled in.

    Raises:
        ConfigError: When a variable is not set or the path is empty.
    """
    connection = connection.resolved()
    path = str(connection.path).removeprefix("duckdb://")
    if not path:
        message = f"connection `{connection.name}` (duckdb) has an empty `path`"
        raise ConfigError(message, hint="give the path of a file, or `:memory:`")
    if path != MEMORY:
        path = _absolute(path)
    return Settings(
        name=connection.name,
        path=path,
        read_only=read_only or bool(connection.read_only),
        busy_timeout_ms=int(getattr(connection, "busy_timeout_ms", BUSY_TIMEOUT_MS)),
        allow_external=bool(getattr(connection, "allow_external", False)),
        attached=tuple((name, _absolute(path)) for name, path in attached(connection)),
    )


def _absolute(path: str) -> str:
    return os.path.realpath(os.path.expanduser(path))  # noqa: PTH111 - as the driver resolves it


def stand_in(found: Settings) -> Settings:
    """The same settings, or an empty database in memory where the file does not exist."""
    if found.path == MEMORY or os.path.exists(found.path):  # noqa: PTH110 - as the driver looks for it
        return found
    return replace(found, path=MEMORY, read_only=False)
