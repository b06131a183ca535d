"""DuckDB files: one process writes, or many read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .capabilities import CAPABILITIES

if TYPE_CHECKING:
    from ematix_nb.backends.base import Capabilities

    from .io import DuckDBSession

__all__ = ["BACKEND", "DuckDBBackend", "open_scratch"]


def open_scratch(folder: str) -> DuckDBSession:
    """A database of the caller's own, in memory; what its memory limit leaves no room for goes to a folder.

    Quicker than a file: nothing is made durable, or packed.
    """
    from .config import MEMORY, Settings
    from .io import DuckDBSession

    return DuckDBSession(Settings(name="scratch", path=MEMORY, spill_folder=folder))


class DuckDBBackend:
    """Opens DuckDB databases."""

    kinds: tuple[str, ...] = ("duckdb",)
    capabilities: Capabilities = CAPABILITIES

    def open(self, connection: Any, *, read_only: bool = False, create: bool = True) -> DuckDBSession:
        """Open a session; without ``create`` an empty database in memory stands in for a file that is not there.

        Raises:
            ConnectError: When the file cannot be opened.
            TransientError: When another process holds it until the deadline.
            MissingDriverError: When duckdb is not installed.
        """
        from .config import settings, stand_in
        from .io import DuckDBSession

        found = settings(connection, read_only=read_only)
        return DuckDBSession(found if create else stand_in(found))


BACKEND = DuckDBBackend()
