"""How many fault and concurrency cases the suite has: ``python -m tests.support.fault_cases``.

A case is one test with one set of parameters, as pytest collects it; none is run.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.collected import collect

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.collected import Collected

SUITES = {
    "a call of the driver fails": ("tests/crash/test_calls.py",),
    "a call on a folder fails": ("tests/crash/test_disk_calls.py", "tests/crash/test_disk.py"),
    "the line is cut at a request": ("tests/crash/test_requests.py",),
    "the line is cut at many bytes": ("tests/crash/test_bytes.py",),
    "errors and clocks at a step": ("tests/crash/test_steps.py", "tests/crash/test_faults.py"),
    "kill -9 at a step": ("tests/crash/test_kill.py", "tests/crash/test_stores.py", "tests/crash/test_delta_stores.py"),
    "stores and places that fail": (
        "tests/backends/files/test_store_faults.py",
        "tests/backends/delta/test_silent_store.py",
        "tests/backends/mysql/test_mysql_faults.py",
        "tests/conformance/test_bad_places.py",
    ),
    "other crashes": (
        "tests/crash/test_endings.py",
        "tests/crash/test_space.py",
        "tests/crash/test_interrupt.py",
        "tests/crash/test_quarantine.py",
        "tests/crash/test_adoption.py",
        "tests/crash/test_duckdb_reopen.py",
        "tests/crash/test_failpoint_actions.py",
    ),
    "runs at once": ("tests/concurrency", "tests/backends/delta/test_at_once.py"),
}
"""What is counted, by kind: files or folders."""


def counted(found: Iterable[Collected]) -> dict[str, tuple[int, int]]:
    """Kind -> cases of the daily run, cases that only the nightly one has."""
    counts = {}
    rows = list(found)
    for kind, places in SUITES.items():
        mine = [row.nightly for row in rows if row.test.startswith(places)]
        counts[kind] = (mine.count(False), mine.count(True))
    return counts


def main() -> int:
    """Print the counts."""
    with tempfile.TemporaryDirectory() as folder:
        counts = counted(collect([place for places in SUITES.values() for place in places], Path(folder)))
    width = max(map(len, counts))
    counts["sum"] = (sum(daily for daily, _ in counts.values()), sum(nightly for _, nightly in counts.values()))
    print(f"{'':{width}}   daily  nightly")
    for kind, (daily, nightly) in counts.items():
        print(f"{kind:{width}}  {daily:6,}   {nightly:6,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
