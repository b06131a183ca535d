"""The face of `ematix_nb.connections` under the name of the source document."""

from __future__ import annotations

from ematix_nb.connections import (
    Connection,
    ConnectionInfo,
    active_profile,
    connection_from_url,
    get_connection,
    list_connections,
    register_connection,
    resolve,
    use_profile,
)
from ematix_nb.connections.writing import set_connection

__all__ = [
    "Connection",
    "ConnectionInfo",
    "active_profile",
    "connect",
    "connection_from_url",
    "get_connection",
    "list_connections",
    "register_connection",
    "resolve",
    "set_connection",
    "use_profile",
]


def connect(url: str, name: str = "default") -> Connection:
    """Register a connection by its URL in this process.

    Args:
        url: For example ``postgres://localhost/wh`` or ``duckdb:///file.duckdb``; may hold ``${VAR}``.
        name: What pipelines call it; ``default`` is used by those that name none.

    Returns:
        The connection.

    Raises:
        ConfigError: The URL is wrong; says which part.

    Example:
        >>> connect(url="duckdb://:memory:", name="scratch")
        DuckDBConnection(name='scratch', path=':memory:')
    """
    return register_connection(connection_from_url(name, url))
