"""The conditions of a window, against rows compared in plain Python: in DuckDB, with times to the nanosecond."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ematix_nb.backends.duckdb.dialect import DIALECT
from ematix_nb.declare.data_types import BIGINT, TEXT, DataType
from ematix_nb.load import batches
from ematix_nb.load import window as windows
from ematix_nb.state.model import Watermark, join_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

Row = tuple[int | None, str | None, int | None]
NANOSECONDS = DataType("timestamp", precision=9)
KINDS = (NANOSECONDS, TEXT, BIGINT)
ARROW = (pa.timestamp("ns"), pa.string(), pa.int64())
NAMES = ("a", "b", "c")

moments = st.sampled_from([0, 1, 400, 999, 1000, 1001, 5000])
"""Nanoseconds since 1970: several within one microsecond."""
texts = st.sampled_from(["", "B", "a", "Z ", "Z", "\uff5e", "\U0001f600", "it's"])
numbers = st.sampled_from([-1, 9, 10])
orders = st.sampled_from([(0,), (1,), (0, 1), (1, 0), (2, 0), (1, 2), (2, 1, 0), (0, 1, 2)])


def rows(least: int) -> st.SearchStrategy[list[Row]]:
    """Some rows; a few of their values are missing."""
    row = st.tuples(*(st.one_of(values, values, values, st.none()) for values in (moments, texts, numbers)))
    return st.lists(row, min_size=least, max_size=6)


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def largest(committed: list[list[Row]], order: tuple[int, ...]) -> str:
    """What the state remembers of rows that came in batches."""
    kinds, found = [KINDS[place] for place in order], ""
    for batch in committed:
        arrays = [pa.array([row[place] for row in batch], ARROW[place]) for place in order]
        if top := batches._largest(batches._complete(arrays)):
            found = windows.newer(found, windows.written(top, kinds), *kinds)
    return found


@settings(max_examples=300, deadline=None)
@given(st.lists(rows(1), min_size=1, max_size=3), rows(0), orders, st.sampled_from([None, 0, 600]))
def test_conditions_tell_new_rows_from_others(
    database: duckdb.DuckDBPyConnection,
    committed: list[list[Row]],
    others: list[Row],
    order: tuple[int, ...],
    overlap: int | None,
) -> None:
    kinds, names = [KINDS[place] for place in order], [NAMES[place] for place in order]
    value = largest(committed, order)
    known = [row for batch in committed for row in batch]
    whole = [tuple(row[place] for place in order) for row in known]
    top: Any = max((row for row in whole if None not in row), default=None)
    assert bool(value) == (top is not None and top != ("",))
    if not value:
        return
    types = join_parts([kind.kind for kind in kinds], composite=len(order) > 1)
    stored = Watermark(join_parts(names, composite=len(order) > 1), value, types)
    back = overlap if kinds[0] == NANOSECONDS else None
    window = windows.make_window(names, kinds, stored, back)
    everything = [*known, *others]
    columns = [pa.array([row[place] for row in everything], ARROW[place]) for place in range(3)]
    table = pa.table([pa.array(range(len(everything))), *columns], ["id", *NAMES])
    new, again = windows.tail(DIALECT, window, kinds)
    database.register("t", table)
    answers = database.execute(
        f"SELECT ({windows.wanted(DIALECT, window, kinds)}), ({new}), ({again}) FROM t ORDER BY id"
    ).fetchall()
    for place, (row, (wanted, is_new, is_again)) in enumerate(zip(everything, answers, strict=True)):
        parts = tuple(row[column] for column in order)
        missing = None in parts
        assert bool(is_new) != bool(is_again), "each row is in one of the two"
        assert not is_new or (place >= len(known) and not missing), "what was committed is never taken for new"
        assert wanted or not (missing or parts >= top), "nothing that may be new is left out"
        assert wanted or not back, "all of them lie within the overlap"
