"""The figures of a soak: whether memory, handles and connections stay flat, and the table that is printed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.soak.calls import Call

GROWTH = 1.15
"""How much more memory the last third may need than the third that it is compared with; the data grow as well."""
MORE_HANDLES = 4
MORE_FILES = 16
"""A call is seen in the midst of its work: it reads more files at once when a table has more of them."""
ENOUGH_CALLS = 20
"""Calls before their growth means anything."""
ENOUGH = 9
"""Lines of the resident process before its growth means anything: the first ones import, and fill caches."""


@dataclass
class Figures:
    """What was seen."""

    seed: int
    minutes: float
    calls: list[Call] = field(default_factory=list)
    """Those of the ticks, in order; of the ones that a fault struck nothing is measured."""
    resident: list[dict[str, float]] = field(default_factory=list)
    connections: list[int] = field(default_factory=list)
    """Sessions at the server while calls run."""
    idle_connections: list[int] = field(default_factory=list)
    """Sessions at the server when no call runs."""
    drawn: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    changes: int = 0
    rows: int = 0
    """In all targets at the end."""
    statuses: Counter[str] = field(default_factory=Counter)
    recovery_s: float = 0.0
    """How long the calls after the last fault took."""

    def problems(self) -> Iterator[str]:
        """What grew."""
        whole = [call for call in self.calls if not call.struck and not call.living]
        memory, handles = [call.memory_mb for call in whole], [float(call.handles) for call in whole]
        if len(whole) >= ENOUGH_CALLS:
            yield from _grew("memory of the calls (MB)", *_ends(memory), GROWTH, 0)
            yield from _grew("handles of the calls", *_ends(handles), 1, MORE_FILES)
        for name, factor, more in (("memory_mb", GROWTH, 0), ("handles", 1.0, MORE_HANDLES), ("threads", 1.0, 1)):
            values = [float(one[name]) for one in self.resident]
            if len(values) >= ENOUGH:
                yield from _grew(f"{name} of the resident process", *_ends(values[len(values) // 3 :]), factor, more)
        if any(self.idle_connections):
            yield f"sessions at PostgreSQL while nothing runs: {self.idle_connections}"

    def table(self) -> str:
        """The figures as lines of text."""
        whole = [call for call in self.calls if not call.struck and not call.living]
        memory, handles = [call.memory_mb for call in whole], [float(call.handles) for call in whole]
        lines = {
            "seed": str(self.seed),
            "length": f"{self.minutes:g} min, {len(self.calls)} calls of run-due",
            "runs": ", ".join(f"{count} {status}" for status, count in self.statuses.most_common()),
            "faults": ", ".join(f"{count} of {self.drawn[name]} {name}" for name, count in self.struck.most_common()),
            "sources": f"{self.changes} changes",
            "targets": f"{self.rows} rows",
            "seconds of a call": _spread([call.seconds for call in whole]),
            "memory of a call, MB": _spread(memory),
            "handles of a call": _spread(handles),
            "resident process, MB": _spread([one["memory_mb"] for one in self.resident]),
            "resident process, handles": _spread([one["handles"] for one in self.resident]),
            "sessions at PostgreSQL": f"{max(self.connections, default=0)} at most, {self.idle_connections} when idle",
            "recovery": f"{self.recovery_s:.1f} s for one call of each team",
        }
        return "\n".join(f"{name:28}{text}" for name, text in lines.items())


def _thirds(values: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    size = max(1, len(values) // 3)
    return values[:size], values[-size:]


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """The middle value of the first third, and of the last."""
    if not values:
        return 0.0, 0.0
    first, last = _thirds(values)
    return median(first), median(last)


def _grew(what: str, first: float, last: float, factor: float, more: float) -> Iterator[str]:
    if last > first * factor + more:
        yield f"{what} grew from {first:.0f} to {last:.0f}"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "none"
    first, last = _ends(values)
    return f"{first:.1f} in the first third, {last:.1f} in the last, {max(values):.1f} at most"
