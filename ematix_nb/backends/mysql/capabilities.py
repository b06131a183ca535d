"""What MariaDB and MySQL can do, as data."""

from __future__ import annotations

from ematix_nb.backends.base import Capabilities
from ematix_nb.declare.spec import MODES

CAPABILITIES = Capabilities(
    modes=frozenset(MODES),
    keeps_nan=False,
    sequences_survive_rollback=True,
    transactional_ddl=False,
)
"""``default_schema`` is the connection's database, so each session has its own."""
