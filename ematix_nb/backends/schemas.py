"""Whether a schema is there, asked in one way of every system that has schemas."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ematix_nb.backends.base import SqlSession


def has_schema(session: SqlSession, schema: str | None) -> bool:
    """Whether a schema is there; always where a system has none, or no name is given.

    To make one that is there, even ``IF NOT EXISTS``, takes a right that a loader need not have.
    """
    dialect = session.dialect
    if not schema or not dialect.create_schema(schema):
        return True
    return bool(session.fetch(dialect.schema_exists(schema)))
