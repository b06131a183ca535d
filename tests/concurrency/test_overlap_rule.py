"""The rule of `late_rows="overlap"` against any schedule of writers, in plain Python.

The engine gives the bound from which a run reads; the rest is a model. What commits no later than the overlap after the
watermark passed it arrives in the next run, once; what is later may be lost, and this says so.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from ematix_nb.declare.data_types import BIGINT
from ematix_nb.load.window import make_window, newer, text
from ematix_nb.state.model import Watermark


@dataclass(frozen=True)
class Write:
    """One row: the value of its watermark column, and when its transaction commits."""

    number: int
    stamp: int
    commit: int


@dataclass
class Reader:
    """A pipeline in mode append that runs at given times."""

    overlap: int
    mark: str = ""

    def bound(self) -> int | None:
        """From where the next run reads; None: everything."""
        stored = Watermark("at", self.mark, "bigint") if self.mark else None
        lower = make_window(["at"], [BIGINT], stored, self.overlap).lower
        return int(lower) if lower else None


def load(writes: list[Write], runs: list[int], overlap: int) -> tuple[Counter[int], dict[int, int]]:
    """Copies of each row in the target, and the run that brought it first."""
    reader, target = Reader(overlap), Counter[int]()
    arrived: dict[int, int] = {}
    for now in runs:
        lower = reader.bound()
        seen = [write for write in writes if write.commit <= now and (lower is None or write.stamp >= lower)]
        for write in seen:
            arrived.setdefault(write.number, now)
        target |= Counter(write.number for write in seen)
        for write in seen:
            reader.mark = newer(reader.mark, text(write.stamp), BIGINT)
    return target, arrived


times = st.integers(0, 60)
written = st.lists(st.tuples(times, st.integers(0, 15)), min_size=1, max_size=12)
schedules = st.lists(times, min_size=1, max_size=8)


def made(pairs: list[tuple[int, int]]) -> list[Write]:
    """Rows that are stamped with the time at which they are written, and commit some time later."""
    return [Write(number, stamp, stamp + lag) for number, (stamp, lag) in enumerate(pairs)]


@settings(max_examples=5_000, deadline=None)
@given(written, schedules, st.integers(0, 15))
def test_what_is_not_later_than_the_overlap_arrives_with_the_next_run(
    pairs: list[tuple[int, int]], runs: list[int], overlap: int
) -> None:
    writes, runs = made(pairs), [*sorted(runs), 100]
    target, arrived = load(writes, runs, overlap)
    assert max(target.values(), default=0) == 1
    for write in writes:
        if write.commit - write.stamp <= overlap:
            assert arrived[write.number] == next(now for now in runs if now >= write.commit)


@settings(max_examples=500, deadline=None)
@given(written, schedules)
def test_without_lag_nothing_needs_an_overlap(pairs: list[tuple[int, int]], runs: list[int]) -> None:
    """Ties included: rows of one stamp may commit before and after a run that reads it."""
    writes = made([(stamp, 0) for stamp, _ in pairs])
    target, _ = load(writes, [*sorted(runs), 100], 0)
    assert target == Counter(write.number for write in writes)


def test_what_is_later_is_lost() -> None:
    late, next_ = Write(0, 10, 40), Write(1, 30, 30)
    assert load([late, next_], [30, 50], 19)[0] == Counter([1])
    assert load([late, next_], [30, 50], 20)[0] == Counter([0, 1])
