"""What tests need: `check_case` for those of pipelines, and actions at failpoints for those of the engine.

No failpoint is active in an installed package: only ``python -m ematix_nb.testing``
(the command ``flow`` with failpoints) and tests themselves install an action.
"""

from __future__ import annotations

from ematix_nb.testing.cases import check_case
from ematix_nb.testing.failpoints import VARIABLE, Action, install_from, parse_actions

__all__ = ["VARIABLE", "Action", "check_case", "install_from", "parse_actions"]
