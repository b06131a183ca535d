"""``python -m ematix_nb.testing`` is ``flow`` with the failpoints that ``FLOW_FAILPOINT`` names."""

from __future__ import annotations

import os
import runpy

from ematix_nb.testing.failpoints import VARIABLE, install_from

if __name__ == "__main__":
    install_from(os.environ.get(VARIABLE, ""))
    runpy.run_module("ematix_nb", run_name="__main__", alter_sys=True)
