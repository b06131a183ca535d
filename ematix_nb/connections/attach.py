"""Databases that a connection reads beside its own: ``attach = ["codes=/data/codes.duckdb"]``."""

from __future__ import annotations

import re
from typing import Any

from ematix_nb.errors import DeclarationError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TAKEN = ("main", "temp", "system", "memory", "ematix_flow")


def attached(connection: Any) -> tuple[tuple[str, str], ...]:
    """Name and path of each, as a connection gives them; none where it attaches nothing.

    Raises:
        DeclarationError: One is not ``name=path``, or a name cannot be one or stands twice.
    """
    found: dict[str, str] = {}
    for text in getattr(connection, "attach", ()):
        name, mark, path = (part.strip() for part in str(text).partition("="))
        where = f"connections.{connection.name}.attach: `{text}`"
        if not mark or not path or not _NAME.fullmatch(name):
            raise DeclarationError(f"{where} is not name=path", hint='write it as "codes=/data/codes.db"')
        if name.lower() in _TAKEN or name.lower() in (other.lower() for other in found):
            raise DeclarationError(f"{where}: the name `{name}` is taken", hint="choose another name")
        found[name] = path
    return tuple(found.items())


def is_attached(connection: Any, schema: str | None) -> bool:
    """Whether a schema is a database that is only attached."""
    return schema is not None and schema.lower() in (name.lower() for name, _ in attached(connection))
