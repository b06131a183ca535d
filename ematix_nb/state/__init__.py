"""What must survive a run: watermarks, the lease with its fencing epoch, fired slots and the run history.

State lives in the target, in the data's own transaction: in tables of the
schema ``ematix_flow`` for SQL systems, in the manifest for files.
"""

from __future__ import annotations

from ematix_nb.state.model import Claim, Lease, RunRecord, SlotState, StateStore, Watermark

__all__ = ["Claim", "Lease", "RunRecord", "SlotState", "StateStore", "Watermark"]
