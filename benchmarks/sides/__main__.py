"""``python -m benchmarks.sides MODULE CASE SIDE``: run one side; prints seconds, CPU and peak memory as JSON."""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from pathlib import Path

from . import SIDES


def _peak_mb() -> float:
    """The most memory this process held; ``ru_maxrss`` would carry over the parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def _cpu() -> float:
    """Seconds of processor time, of this process and those that it has waited for."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def main() -> None:
    module, case, name = sys.argv[1:]
    importlib.import_module(f"benchmarks.sides.{module}")
    found = SIDES[case, name]
    found.before()
    start, cpu = time.perf_counter(), _cpu()
    found.run()
    print(json.dumps({"seconds": time.perf_counter() - start, "cpu": _cpu() - cpu, "peak_mb": _peak_mb()}))


main()
