"""What PostgreSQL can do, as data."""

from __future__ import annotations

from ematix_nb.backends.base import Capabilities

MAX_IDENTIFIER_BYTES = 63

CAPABILITIES = Capabilities(
    modes=frozenset({"append", "truncate", "merge", "scd2"}),
    default_schema="public",
    max_identifier_bytes=MAX_IDENTIFIER_BYTES,
    keeps_nul_in_text=False,
    sequences_survive_rollback=True,
    takes_dictionaries=True,
    shares_snapshots=True,
    pass_through=True,
    tells_transactions=True,
)
