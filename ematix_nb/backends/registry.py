"""Which backend serves which kind of connection.

The built-in backends are known by name, without asking the installed packages
(that costs more than starting Python does); others come in through the entry
point group ``ematix_nb.backends``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, cast

from ematix_nb.errors import UnknownNameError, known_names

if TYPE_CHECKING:
    from ematix_nb.backends.base import Backend

BUILT_IN = {
    "postgres": "postgres",
    "mysql": "mysql",
    "duckdb": "duckdb",
    "sqlite": "sqlite",
    "object_store_local": "files",
    "object_store_s3": "files",
    "object_store_azure": "files",
    "object_store_gcs": "files",
    "delta_local": "delta",
    "delta_s3": "delta",
    "delta_azure": "delta",
    "delta_gcs": "delta",
}
"""Connection kind -> folder of this package."""

GROUP = "ematix_nb.backends"


def backend_for(kind: str) -> Backend:
    """The backend of a connection kind.

    Raises:
        UnknownNameError: When neither this package nor an installed one serves the kind.
    """
    if kind in BUILT_IN:
        module = importlib.import_module(f"ematix_nb.backends.{BUILT_IN[kind]}")
        return cast("Backend", module.BACKEND)
    from importlib.metadata import entry_points

    for point in entry_points(group=GROUP):
        if point.name == kind:
            return cast("Backend", point.load())
    message = f"no backend in this version reads or writes connections of kind `{kind}`"
    raise UnknownNameError(message, known_names(kind, BUILT_IN, "kinds with a backend"))


def open_session(connection: Any, *, read_only: bool = False, create: bool = True) -> Any:
    """Open a session for a resolved connection; see :meth:`Backend.open`."""
    return backend_for(connection.kind).open(connection, read_only=read_only, create=create)
