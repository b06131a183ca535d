"""The sides of the cases: each a function, run and measured in a process of its own.

Settings come from the environment: ``BENCH_SOURCE``, ``BENCH_TARGET`` (PostgreSQL URLs), ``BENCH_MARIADB`` (a URL,
where there is one) and ``BENCH_DIR`` (a folder with the files of ``benchmarks.world``).
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = os.environ.get("BENCH_SOURCE", "")
TARGET = os.environ.get("BENCH_TARGET", "")
MARIADB = os.environ.get("BENCH_MARIADB", "")
FOLDER = Path(os.environ.get("BENCH_DIR", "."))
PARQUET = FOLDER / "lake" / "ready.parquet"
CHANGES = FOLDER / "lake" / "changes.parquet"
CSV = FOLDER / "texts" / "ready.csv"

SIDES: dict[tuple[str, str], Side] = {}


class Side(NamedTuple):
    """One way to do a move."""

    run: Callable[[], object]
    """What is measured."""
    before: Callable[[], object]
    """Loads what ``run`` needs, so that starting a program is not measured as moving rows."""


def side(
    case: str, name: str, before: Callable[[], object] = lambda: None
) -> Callable[[Callable[[], object]], Callable[[], object]]:
    """Register a function as one side of a case."""

    def register(function: Callable[[], object]) -> Callable[[], object]:
        SIDES[case, name] = Side(function, before)
        return function

    return register


def modules(*names: str) -> Callable[[], object]:
    """Imports them."""
    return lambda: [importlib.import_module(name) for name in names]
