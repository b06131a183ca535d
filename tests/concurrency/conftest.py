"""The worlds of the crash tests."""

from __future__ import annotations

from tests.crash.conftest import _mysql_shared, _pg_shared, _sources, make_world

__all__ = ["_mysql_shared", "_pg_shared", "_sources", "make_world"]
