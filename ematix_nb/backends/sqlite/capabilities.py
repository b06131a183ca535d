"""What SQLite can do."""

from __future__ import annotations

from ematix_nb.backends.base import Capabilities
from ematix_nb.declare.spec import MODES

CAPABILITIES = Capabilities(modes=frozenset(MODES), has_schemas=False, keeps_nan=False)
"""Several processes may write, one after the other: each waits for the one before it."""
