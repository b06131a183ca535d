"""From a connection to what opens a SQLite database."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from ematix_nb.connections.attach import attached
from ematix_nb.errors import ConfigError

MEMORY = ":memory:"


@dataclass(frozen=True, slots=True)
class Settings:
    """What opens a database."""

    name: str
    """The connection's name, for messages."""
    path: str
    """Absolute, without links; or ``:memory:``."""
    read_only: bool = False
    busy_timeout_ms: int = 5000
    """Milliseconds to wait for another writer."""
    attached: tuple[tuple[str, str], ...] = ()
    """Names and absolute paths of the databases that are read beside it."""


def settings(connection: Any, *, read_only: bool = False) -> Settings:
    """The settings of a typed connection, its variables filled in.

    Raises:
        ConfigError: When a variable is not set or the path is empty.
    """
    connection = connection.resolved()
    path = str(connection.path).removeprefix("sqlite://")
    if not path:
        message = f"connection `{connection.name}` (sqlite) has an empty `path`"
        raise ConfigError(message, hint="give the path of a file, or `:memory:`")
    if path != MEMORY:
        path = _absolute(path)
    return Settings(
        connection.name,
        path,
        read_only or connection.read_only,
        connection.busy_timeout_ms,
        tuple((name, _absolute(path)) for name, path in attached(connection)),
    )


def _absolute(path: str) -> str:
    return os.path.realpath(os.path.expanduser(path))  # noqa: PTH111 - one spelling for one file


def stand_in(found: Settings) -> Settings:
    """The same settings, or an empty database in memory where the file does not exist."""
    if found.path == MEMORY or os.path.exists(found.path):  # noqa: PTH110 - as the driver looks for it
        return found
    return replace(found, path=MEMORY, read_only=False)
