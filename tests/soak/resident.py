"""`python -m tests.soak.resident FILE`: works off lines of `flow` in one process, and writes what that has open."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

from ematix_nb.cli.main import main
from tests.soak.calls import handles_of

PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


def memory_mb() -> float:
    """What this process holds now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE_MB


if __name__ == "__main__":
    with Path(sys.argv[1]).open("w", encoding="utf-8", buffering=1) as answers:
        for line in sys.stdin:
            code = main(json.loads(line))
            found = {"memory_mb": memory_mb(), "handles": handles_of(os.getpid()), "threads": threading.active_count()}
            answers.write(json.dumps({"code": code, **found}) + "\n")
