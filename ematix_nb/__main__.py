"""``python -m ematix_nb`` is ``flow``."""

from __future__ import annotations

import sys

from ematix_nb.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
