"""Names to typed connections: resolution chain, ``${VAR}``, profiles, secrets, redaction.

A connection only holds settings. A backend gets one, calls ``resolved()`` (fills in the
variables) and takes secrets out with ``reveal("password")`` or ``reveal("url")``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Connection
from .kinds import (
    KINDS,
    DeltaAzureConnection,
    DeltaGcsConnection,
    DeltaLocalConnection,
    DeltaS3Connection,
    DuckDBConnection,
    KafkaConnection,
    KinesisConnection,
    MySQLConnection,
    ObjectStoreAzureConnection,
    ObjectStoreGcsConnection,
    ObjectStoreLocalConnection,
    ObjectStoreS3Connection,
    PostgresConnection,
    PubSubConnection,
    RabbitMQConnection,
    SchemaRegistryConnection,
    SQLiteConnection,
    build_connection,
    server_parts,
)
from .profiles import active_profile, known_profiles, settings_files, use_profile
from .registry import (
    Registered,
    clear_connections,
    connection,
    register_connection,
    registered_connections,
    unregister_connection,
)
from .resolve import ConnectionInfo, dsn_variable, get_connection, list_connections, resolve
from .secret import MASK, Secret, redact, redact_url, reveal
from .toml_files import ConfigWarning
from .url import connection_from_settings, connection_from_url

if TYPE_CHECKING:
    from .writing import set_connection

__all__ = [
    "KINDS",
    "MASK",
    "ConfigWarning",
    "Connection",
    "ConnectionInfo",
    "DeltaAzureConnection",
    "DeltaGcsConnection",
    "DeltaLocalConnection",
    "DeltaS3Connection",
    "DuckDBConnection",
    "KafkaConnection",
    "KinesisConnection",
    "MySQLConnection",
    "ObjectStoreAzureConnection",
    "ObjectStoreGcsConnection",
    "ObjectStoreLocalConnection",
    "ObjectStoreS3Connection",
    "PostgresConnection",
    "PubSubConnection",
    "RabbitMQConnection",
    "Registered",
    "SQLiteConnection",
    "SchemaRegistryConnection",
    "Secret",
    "active_profile",
    "build_connection",
    "clear_connections",
    "connection",
    "connection_from_settings",
    "connection_from_url",
    "dsn_variable",
    "get_connection",
    "known_profiles",
    "list_connections",
    "redact",
    "redact_url",
    "register_connection",
    "registered_connections",
    "resolve",
    "reveal",
    "server_parts",
    "set_connection",
    "settings_files",
    "unregister_connection",
    "use_profile",
]


def __getattr__(name: str) -> object:
    """Load what writes files only when somebody writes."""
    if name == "set_connection":
        from .writing import set_connection

        return set_connection
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
