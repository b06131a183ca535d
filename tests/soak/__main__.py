"""`make soak`: fifty pipelines a minute under faults; prints what was seen, exits with 1 when something is wrong."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.soak.drive import soak
from tests.support import postgres


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ematix-soak-"))
    print(f"seed {chosen.seed}; logs in {folder}/logs", flush=True)
    with postgres.server() as server:
        figures, wrong = soak(folder, server.url, chosen.minutes, chosen.seed, lambda text: print(text, flush=True))
    print(figures.table())
    for text in wrong:
        print(f"WRONG: {text}")
    print(f"{len(wrong)} problems" if wrong else "all invariants hold")
    if not wrong:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
