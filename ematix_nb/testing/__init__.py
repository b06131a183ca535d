"""What the tests of the engine need inside its process: actions at failpoints.

Nothing here is active in an installed package: only ``python -m ematix_nb.testing``
(the command ``flow`` with failpoints) and tests themselves install an action.
"""

from __future__ import annotations

from ematix_nb.testing.failpoints import VARIABLE, Action, install_from, parse_actions

__all__ = ["VARIABLE", "Action", "install_from", "parse_actions"]
