"""PostgreSQL 13 and newer, through psycopg 3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .capabilities import CAPABILITIES

if TYPE_CHECKING:
    from .io import PostgresSession


class PostgresBackend:
    """Opens sessions; importing it loads no driver."""

    kinds = ("postgres",)
    capabilities = CAPABILITIES

    def open(self, connection: Any, *, read_only: bool = False, create: bool = True) -> PostgresSession:  # noqa: ARG002
        """Open a session for a `PostgresConnection`; databases are never created, so ``create`` says nothing here.

        Raises:
            ConnectError: The server cannot be reached or refuses the login; says which.
            MissingDriverError: psycopg is not installed.
            ConfigError: A variable of the connection is not set.
        """
        from .config import settings_of
        from .io import open_session

        return open_session(settings_of(connection, read_only=read_only))


BACKEND = PostgresBackend()
