"""Move data between databases and files from a notebook, see it before it happens, and run it on cron.

In a notebook: ``%load_ext ematix_nb``. In Python: ``from ematix_nb import ematix``. In a shell: ``flow --help``.
Everything is loaded at first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ematix_nb.api import Pipeline, ematix
    from ematix_nb.config import connect
    from ematix_nb.connections import (
        Connection,
        DeltaLocalConnection,
        DeltaS3Connection,
        DuckDBConnection,
        KafkaConnection,
        KinesisConnection,
        MySQLConnection,
        ObjectStoreLocalConnection,
        ObjectStoreS3Connection,
        PostgresConnection,
        PubSubConnection,
        RabbitMQConnection,
        SchemaRegistryConnection,
        SQLiteConnection,
        get_connection,
        register_connection,
        registered_connections,
    )
    from ematix_nb.declare.markers import natural_key, nullable, pk
    from ematix_nb.declare.pipelines import Target
    from ematix_nb.errors import FlowError

__version__ = "0.1.0"

_HOMES = {
    "ematix": "ematix_nb.api",
    "Pipeline": "ematix_nb.api",
    "Target": "ematix_nb.declare.pipelines",
    "pk": "ematix_nb.declare.markers",
    "natural_key": "ematix_nb.declare.markers",
    "nullable": "ematix_nb.declare.markers",
    "FlowError": "ematix_nb.errors",
    "connect": "ematix_nb.config",
    "Connection": "ematix_nb.connections",
    "DeltaLocalConnection": "ematix_nb.connections",
    "DeltaS3Connection": "ematix_nb.connections",
    "DuckDBConnection": "ematix_nb.connections",
    "KafkaConnection": "ematix_nb.connections",
    "KinesisConnection": "ematix_nb.connections",
    "MySQLConnection": "ematix_nb.connections",
    "ObjectStoreLocalConnection": "ematix_nb.connections",
    "ObjectStoreS3Connection": "ematix_nb.connections",
    "PostgresConnection": "ematix_nb.connections",
    "PubSubConnection": "ematix_nb.connections",
    "RabbitMQConnection": "ematix_nb.connections",
    "SQLiteConnection": "ematix_nb.connections",
    "SchemaRegistryConnection": "ematix_nb.connections",
    "get_connection": "ematix_nb.connections",
    "register_connection": "ematix_nb.connections",
    "registered_connections": "ematix_nb.connections",
}

__all__ = [
    "Connection",
    "DeltaLocalConnection",
    "DeltaS3Connection",
    "DuckDBConnection",
    "FlowError",
    "KafkaConnection",
    "KinesisConnection",
    "MySQLConnection",
    "ObjectStoreLocalConnection",
    "ObjectStoreS3Connection",
    "Pipeline",
    "PostgresConnection",
    "PubSubConnection",
    "RabbitMQConnection",
    "SQLiteConnection",
    "SchemaRegistryConnection",
    "Target",
    "__version__",
    "connect",
    "ematix",
    "get_connection",
    "load_ipython_extension",
    "natural_key",
    "nullable",
    "pk",
    "register_connection",
    "registered_connections",
    "unload_ipython_extension",
]


def __getattr__(name: str) -> Any:
    """Load a public name at its first use."""
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


def load_ipython_extension(ipython: Any) -> None:
    """``%load_ext ematix_nb``: the magics ``%flow`` and ``%%flow``."""
    importlib.import_module("ematix_nb.magics").load_ipython_extension(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """``%unload_ext ematix_nb``: put back what was there before."""
    importlib.import_module("ematix_nb.magics").unload_ipython_extension(ipython)
