"""MariaDB 10.6 and newer and MySQL 8.0.31 and newer, through PyMySQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .capabilities import CAPABILITIES

if TYPE_CHECKING:
    from ematix_nb.backends.base import Capabilities

    from .io import MySQLSession

__all__ = ["BACKEND", "MySQLBackend"]


class MySQLBackend:
    """Opens sessions; importing it loads no driver."""

    kinds: tuple[str, ...] = ("mysql",)
    capabilities: Capabilities = CAPABILITIES

    def open(self, connection: Any, *, read_only: bool = False, create: bool = True) -> MySQLSession:  # noqa: ARG002
        """Open a session for a `MySQLConnection`; databases are never created, so ``create`` says nothing here.

        Raises:
            ConnectError: The server cannot be reached, refuses the login, or is too old.
            MissingDriverError: PyMySQL is not installed.
            ConfigError: A variable of the connection is not set, or its URL has an unknown parameter.
        """
        from .config import settings_of
        from .io import open_session

        return open_session(settings_of(connection, read_only=read_only))


BACKEND = MySQLBackend()
