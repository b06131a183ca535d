"""What a target holds after writers and runs took turns: the oracle of the isolation tests, in plain Python.

It knows nothing of the engine. Rows are (id, at, text); `at` is the watermark column, a whole number.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Row = tuple[int, int, str]
Change = tuple[str, Row]
"""``("put", row)`` inserts or updates by id, ``("drop", row)`` deletes."""


@dataclass(frozen=True)
class Step:
    """One step of one actor: begin, put, drop, commit, rollback or run."""

    actor: str
    verb: str
    row: Row = (0, 0, "")

    def __str__(self) -> str:
        shown = f" {self.row[0]}@{self.row[1]}" if self.verb in ("put", "drop") else ""
        return f"{self.actor}:{self.verb}{shown}"


def orders(*scripts: tuple[Step, ...]) -> Iterator[tuple[Step, ...]]:
    """Every order of the steps in which each actor's own steps keep theirs."""
    places = [number for number, script in enumerate(scripts) for _ in script]
    for chosen in sorted(set(itertools.permutations(places))):
        waiting = [iter(script) for script in scripts]
        yield tuple(next(waiting[number]) for number in chosen)


@dataclass
class Source:
    """One table; what a transaction did is seen when it has committed."""

    rows: dict[int, Row] = field(default_factory=dict)
    open: dict[str, list[Change]] = field(default_factory=dict)

    def take(self, step: Step) -> None:
        """Apply one step of a writer."""
        if step.verb == "begin":
            self.open[step.actor] = []
        elif step.verb in ("put", "drop"):
            changes = [(step.verb, step.row)]
            if step.actor in self.open:
                self.open[step.actor] += changes
            else:
                self._apply(changes)
        elif step.verb == "commit":
            self._apply(self.open.pop(step.actor))
        elif step.verb == "rollback":
            self.open.pop(step.actor)

    def _apply(self, changes: Iterable[Change]) -> None:
        for verb, row in changes:
            if verb == "put":
                self.rows[row[0]] = row
            else:
                self.rows.pop(row[0], None)


@dataclass
class Target:
    """What one pipeline has loaded, in mode append or merge, with late_rows overlap or snapshot."""

    mode: str
    late_rows: str
    overlap: int
    watermark: int | None = None
    rows: Counter[Row] = field(default_factory=Counter)

    def run(self, source: Source) -> None:
        """Load what is committed now.

        `overlap` reads from the watermark less the overlap on. `snapshot` misses nothing that is committed.
        """
        lower = None if self.watermark is None or self.late_rows == "snapshot" else self.watermark - self.overlap
        read = [row for row in source.rows.values() if lower is None or row[1] >= lower]
        if self.mode == "merge":
            fresh = {row[0]: row for row in read}
            kept = [row for row in self.rows if row[0] not in fresh]
            self.rows = Counter([*kept, *fresh.values()])
        else:
            self.rows |= Counter(read)  # the larger number of copies: what is there already is not loaded again
        tops = [row[1] for row in read] + ([] if self.watermark is None else [self.watermark])
        self.watermark = max(tops, default=None)
