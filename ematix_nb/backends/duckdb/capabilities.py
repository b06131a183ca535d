"""What DuckDB can do."""

from __future__ import annotations

from ematix_nb.backends.base import Capabilities
from ematix_nb.declare.spec import MODES

CAPABILITIES = Capabilities(
    modes=frozenset(MODES),
    default_schema="main",
    many_writers=False,
    sequences_survive_rollback=True,
)
"""Temporary tables may be made in a read-only transaction; a file is locked by the process that writes it."""
