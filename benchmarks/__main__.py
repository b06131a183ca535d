"""``make bench``: every case, its sides in turn, five rounds; a table, and the figures in ``benchmarks/results/``.

Needs ``psql`` and a PostgreSQL server in ``EMATIX_TEST_PG_URL`` on which databases may be created; MariaDB is measured
when ``EMATIX_TEST_MYSQL_URL`` names a server, and the peers when ``--peers`` names a Python that has them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cases import CASES, Case
from benchmarks.preview import preview_10m
from benchmarks.report import save, table
from benchmarks.startup import startup
from benchmarks.world import World, world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = 5
PEER_ROWS = 1_000_000
Figures = dict[str, float]
ALONE: dict[str, Callable[[], dict[str, Any]]] = {"startup": startup, "preview_10m": preview_10m}
"""What is measured without servers."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, action="append", help="1000000 and 5000000 unless told")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", choices=(*CASES, *ALONE), action="append")
    parser.add_argument("--peers", metavar="PYTHON", help="a Python with benchmarks/peers.txt installed")
    parser.add_argument("--no-save", action="store_true", help="print the table and keep nothing")
    arguments = parser.parse_args()
    wanted = arguments.only or [*CASES, *ALONE]
    results: dict[str, Any] = {}
    moves = [CASES[name] for name in CASES if name in wanted]
    for rows in arguments.rows or (1_000_000, 5_000_000) if moves else ():
        results[str(rows)] = {}
        for name, figures in _moves(moves, rows, arguments):
            results[str(rows)][name] = figures
            if not arguments.no_save:
                save({str(rows): {name: figures}}, {str(rows): arguments.rounds})
    for name in (name for name in ALONE if name in wanted):
        results[name] = ALONE[name]()
        if not arguments.no_save:
            save({name: results[name]}, {})
    print(table(results))
    return 0


def _moves(cases: list[Case], rows: int, arguments: argparse.Namespace) -> Iterator[tuple[str, dict[str, Figures]]]:
    """The cases one by one, so that what was measured is kept when a later one fails."""
    server = os.environ.get("EMATIX_TEST_PG_URL", "postgresql://postgres@127.0.0.1/postgres")
    maria = os.environ.get("EMATIX_TEST_MYSQL_URL")
    found = [case for case in cases if maria or case.needs != "mariadb"]
    peers = arguments.peers if rows == PEER_ROWS else None
    with tempfile.TemporaryDirectory() as folder, world(server, maria, Path(folder), rows) as made:
        for case in found:
            yield case.name, _case(case, made, arguments.rounds, peers)


def _case(case: Case, made: World, rounds: int, peers: str | None) -> dict[str, Figures]:
    runs: dict[str, list[Figures]] = {}
    for turn in range(rounds):
        first = turn % len(case.sides)  # none is always the one that finds the disk as the limit left it
        for side in (*case.sides[first:], *case.sides[:first]):
            made.reset(case.name, side)
            if case.name in ("scd2", "delta_merge"):
                module = "ours" if case.name == "scd2" else "limits"
                _side(module, case.name, "first", made)
            module = "ours" if side in ("ours", "cold") else "limits"
            runs.setdefault(side, []).append(_side(module, case.name, side, made))
    for side in case.peers if peers else ():
        made.reset(case.name, side)
        if case.name in ("merge", "scd2"):
            _side("peers", case.name, f"{side}_first", made, peers)
        runs.setdefault(side, []).append(_side("peers", case.name, side, made, peers))
    return {side: _median(found) for side, found in runs.items() if all(found)}


def _side(module: str, case: str, side: str, made: World, python: str | None = None) -> Figures:
    """The figures of one side in a process of its own; none when it failed."""
    command = [python or sys.executable, "-m", "benchmarks.sides", module, case, side]
    environment = {**os.environ, **made.environment, "PYTHONWARNINGS": "ignore"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its bytecode
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{case} {side} failed: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return {}
    figures: Figures = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def _median(runs: list[Figures]) -> Figures:
    return {name: statistics.median(run[name] for run in runs) for name in ("seconds", "cpu", "peak_mb")}


if __name__ == "__main__":
    raise SystemExit(main())
