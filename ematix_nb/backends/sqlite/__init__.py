"""SQLite files, through the standard library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .capabilities import CAPABILITIES

if TYPE_CHECKING:
    from ematix_nb.backends.base import Capabilities

    from .io import SQLiteSession

__all__ = ["BACKEND", "SQLiteBackend"]


class SQLiteBackend:
    """Opens SQLite databases."""

    kinds: tuple[str, ...] = ("sqlite",)
    capabilities: Capabilities = CAPABILITIES

    def open(self, connection: Any, *, read_only: bool = False) -> SQLiteSession:
        """Open a session.

        Raises:
            ConnectError: When the file cannot be opened or is no SQLite database.
        """
        from .config import settings
        from .io import SQLiteSession

        return SQLiteSession(settings(connection, read_only=read_only))


BACKEND = SQLiteBackend()
