"""Writes `docs/comparison.md`: what came out of each case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.peers.rows import DLT, EMATIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.peers.rows import Row

HEAD = f"""\
# What came out elsewhere

Cases in which a loader can lose, double or change rows, and what came out. Generated from the table of the tests
(`EMATIX_WRITE_PAGES=1 pytest tests/peers`); do not edit.

The column of ematix_nb is what `tests/peers/` finds in each run of the suite: a test compares every field with what
it measured. The others are {EMATIX} and {DLT} as they are installed from the package index, measured once (November
2026; Python 3.11, PostgreSQL 15), with their default settings where nothing else is said; newer versions may do
otherwise. "-" is a case that was not tried there, which says nothing about it. "Not told" means that neither the result
nor the log spoke of it.

Each of them does much that is not looked at here.
"""


def render(sections: Mapping[str, Mapping[str, Row]]) -> str:
    """The page."""
    parts = [HEAD]
    for title, rows in sections.items():
        lines = [f"\n## {title}\n", f"| case | ematix_nb | {EMATIX} | {DLT} |", "| --- | --- | --- | --- |"]
        lines += [f"| {row.what} | {row.ours} | {row.ematix} | {row.dlt} |" for row in rows.values()]
        parts.append("\n".join(lines) + "\n")
    return "".join(parts)
