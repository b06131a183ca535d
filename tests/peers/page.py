"""Writes `docs/comparison.md`: what came out of each case, here and elsewhere."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.peers.rows import Row

PAGE = Path(__file__).parents[2] / "docs" / "comparison.md"
FOUND = Path(__file__).with_name("found.json")
NOT_TRIED = "not tried: it is not installed"

HEAD = """\
# What came out elsewhere

Cases in which a loader can lose, double or change rows, and what came out. Generated; do not edit.

The column of ematix_nb is what `tests/peers/` finds in each run of the suite: a test compares every field with what
it measured. The others are what `make peers` found last: {date}, Python {python}, PostgreSQL {postgresql},
the packages as the index has them, with their default settings where nothing else is said; other versions may do
otherwise. `EMATIX_WRITE_PAGES=1 pytest tests/peers` writes the page anew from what that run left, which is kept in
`tests/peers/found.json`.

A field begins with what it comes to: *right*; rows or versions *lost* or *doubled*; values *changed*; a secret *shown*;
the load, or a second one, *refused*; *not possible*, with what is missing; *not measured*, where the case did not come
about. "No warning": nothing that it wrote, at its usual level of logging, speaks of one. ematix-flow wants a primary
key in each table: where a case has none, each row gets a random one.

Where a connection is cut, two run at once, or a run stops, the others' target was locked until each run waited with its
rows. `kill -9` came to them at nine equal distances of the time that a whole load takes.

Each of them does much that is not looked at here.
"""


@dataclass(frozen=True)
class Found:
    """What `make peers` found, with one set of versions."""

    date: str
    python: str
    postgresql: str
    peers: dict[str, dict[str, str]]
    """What came out, by case, of each: its name and version."""


def read() -> Found:
    """What the last run left."""
    return Found(**json.loads(FOUND.read_text(encoding="utf-8")))


def write(found: Found) -> None:
    """Keep it, instead of all that was there."""
    text = json.dumps(dataclasses.asdict(found), indent=1, ensure_ascii=False)
    FOUND.write_text(f"{text}\n", encoding="utf-8")


def renewed(before: Found, found: Found) -> Found:
    """The last run with some fields measured anew.

    Raises:
        ValueError: The versions are not the same: then all of it is to be measured.
    """
    same = dataclasses.replace(before, date=found.date, peers={}) == dataclasses.replace(found, peers={})
    if not same or not set(found.peers) <= set(before.peers):
        message = f"measured with {', '.join(found.peers)}; `found.json` is of other versions: run `make peers` whole"
        raise ValueError(message)
    return dataclasses.replace(
        found, peers={name: {**cases, **found.peers.get(name, {})} for name, cases in before.peers.items()}
    )


def render(sections: Mapping[str, Mapping[str, Row]], found: Found) -> str:
    """The page."""
    head = HEAD.format(date=found.date, python=found.python, postgresql=found.postgresql)
    return head + tables(sections, found)


def tables(sections: Mapping[str, Mapping[str, Row]], found: Found) -> str:
    """A table for each section; the cases that were asked for."""
    parts = []
    for title, rows in sections.items():
        lines = [
            f"\n## {title}\n",
            f"| case | ematix_nb | {' | '.join(found.peers)} |",
            f"| --- | --- | {' | '.join('---' for _ in found.peers)} |",
        ]
        for name, row in rows.items():
            cells = [cases.get(name, NOT_TRIED) for cases in found.peers.values()]
            lines.append(f"| {' | '.join((row.what, row.ours, *cells))} |")
        parts.append("\n".join(lines) + "\n")
    return "".join(parts)
