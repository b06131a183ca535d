"""DuckDB files: one process writes, or many read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .capabilities import CAPABILITIES

if TYPE_CHECKING:
    from ematix_nb.backends.base import Capabilities

    from .io import DuckDBSession

__all__ = ["BACKEND", "DuckDBBackend"]


class DuckDBBackend:
    """Opens DuckDB databases."""

    kinds: tuple[str, ...] = ("duckdb",)
    capabilities: Capabilities = CAPABILITIES

    def open(self, connection: Any, *, read_only: bool = False) -> DuckDBSession:
        """Open a session.

        Raises:
            ConnectError: When the file cannot be opened.
            TransientError: When another process holds it until the deadline.
            MissingDriverError: When duckdb is not installed.
        """
        from .config import settings
        from .io import DuckDBSession

        return DuckDBSession(settings(connection, read_only=read_only))


BACKEND = DuckDBBackend()
