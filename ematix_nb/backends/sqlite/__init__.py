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

    def open(self, connection: Any, *, read_only: bool = False, create: bool = True) -> SQLiteSession:
        """Open a session; without ``create`` an empty database in memory stands in for a file that is not there.

        Raises:
            ConnectError: When the file cannot be opened or is no SQLite database.
        """
        from .config import settings, stand_in
        from .io import SQLiteSession

        found = settings(connection, read_only=read_only)
        return SQLiteSession(found if create else stand_in(found))


BACKEND = SQLiteBackend()
