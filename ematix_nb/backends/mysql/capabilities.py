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
"""Each session has its own: ``default_schema`` is the connection's database, and MySQL, where a statement may name a
temporary table only once, takes no event times."""
