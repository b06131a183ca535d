"""Pages of Parquet files by the number of the row, bounds of numbers, and statistics of many rows."""

from __future__ import annotations

import decimal
import random
import threading
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ematix_nb.connections import ObjectStoreLocalConnection
from ematix_nb.declare.data_types import DataType
from ematix_nb.errors import CancelledError, DataError, TransientError
from ematix_nb.load.cancel import CancelToken
from ematix_nb.load.source import open_reader
from ematix_nb.query.paging import Condition, PreviewModel, frame_model, query_model, stats
from ematix_nb.query.paging.parquet_rows import HEAD, ParquetRows
from ematix_nb.query.paging.sql_rows import SqlRows
from ematix_nb.query.paging.stats import column_stats
from ematix_nb.query.paging.where import bounded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS = 4_000
ODD_NAMES = ("a b.parquet", "it's [1]*?.parquet", "k=v.parquet", "日.parquet")
"""Four files, by name."""


def lake_model(folder: Path, sql: str = 'SELECT * FROM "t/*.parquet"') -> PreviewModel:
    lake = ObjectStoreLocalConnection(name="lake", path=str(folder), format="parquet")
    return query_model("t", sql, lambda: open_reader(lake))


@pytest.fixture
def table() -> pa.Table:
    dice = random.Random(7)
    return pa.table(
        {
            "n": pa.array(range(ROWS), pa.int64()),
            "A word": [f"w{dice.randrange(50)}" if dice.random() > 0.1 else None for _ in range(ROWS)],
            "x": [dice.choice([None, float("nan"), dice.random()]) for _ in range(ROWS)],
            "parts": [[number % 3, None] for number in range(ROWS)],
        }
    )


@pytest.fixture
def model(tmp_path: Path, table: pa.Table) -> Iterator[PreviewModel]:
    """Rows in four files of odd names and 17 row groups."""
    (tmp_path / "t").mkdir()
    for place, name in enumerate(ODD_NAMES):
        pq.write_table(table.slice(place * 1_000, 1_000), tmp_path / "t" / name, row_group_size=240)
    found = lake_model(tmp_path)
    yield found
    found.close()


def rows_of(model: PreviewModel) -> Any:
    return model._source.rows()


def test_rows_lie_where_the_footers_say(model: PreviewModel, table: pa.Table) -> None:
    assert isinstance(rows_of(model), ParquetRows)
    for offset in (0, 239, 990, 1_999, 3_990):
        page = model.page(offset, 30)
        assert repr(page.rows.to_pylist()) == repr(table.slice(offset, 30).to_pylist())
    assert model.page(0, ROWS).rows.num_rows == ROWS
    assert model.count() == ROWS


@pytest.mark.parametrize(("order", "key"), [("A word", "A word"), ("-x", "x")])
def test_pages_far_down_a_sorted_file_continue_those_at_its_top(
    model: PreviewModel, table: pa.Table, order: str, key: str
) -> None:
    ordered = model.sort(order)
    top = ordered.page(0, HEAD).rows["n"].to_pylist()
    pages = [ordered.page(offset, 500).rows["n"].to_pylist() for offset in range(0, ROWS, 500)]
    numbers = [number for page in pages for number in page]
    assert numbers[:HEAD] == top
    assert sorted(numbers) == list(range(ROWS))
    values = table[key].take(pa.array(numbers))
    direction = "descending" if order.startswith("-") else "ascending"
    oracle = table.take(pa.compute.sort_indices(table, sort_keys=[(key, direction), ("n", "ascending")]))
    known = [value for value in values.to_pylist() if value is not None and value == value]  # noqa: PLR0124 - NaN is not
    assert known == [value for value in oracle[key].to_pylist() if value is not None and value == value]  # noqa: PLR0124
    assert values.to_pylist()[-table[key].null_count :] == [None] * table[key].null_count


def test_indexes_go_when_they_are_not_needed_any_more(model: PreviewModel) -> None:
    rows = rows_of(model)
    for number in range(20):
        model.filter(Condition("n", ">=", number)).page(HEAD, 10)
    assert len(list(rows.folder.glob("index-*"))) == 16
    folder = rows.folder
    model.close()
    assert not folder.exists()
    assert model.page(0, 1).rows.num_rows == 1


def test_picked_and_renamed_columns_are_found_by_their_new_names(model: PreviewModel, tmp_path: Path) -> None:
    sql = 'SELECT "A word" AS word, n FROM "t/*.parquet"'
    found = lake_model(tmp_path, sql)
    assert isinstance(rows_of(found), ParquetRows)
    page = found.filter(Condition("word", "=", "w7")).sort("-n").page(0, 3)
    assert page.rows.column_names == ["word", "n"]
    assert set(page.rows["word"].to_pylist()) == {"w7"}
    found.close()


@pytest.mark.parametrize(
    "sql",
    ['SELECT n + 1 AS n FROM "t/*.parquet"', 'SELECT DISTINCT "A word" FROM "t/*.parquet"', 'SELECT * FROM "u.csv"'],
)
def test_other_queries_are_answered_by_the_file_query(model: PreviewModel, tmp_path: Path, sql: str) -> None:
    (tmp_path / "u.csv").write_text("a,b\n1,x\n")
    assert type(rows_of(lake_model(tmp_path, sql))) is SqlRows


def test_names_that_differ_by_case_alone_are_left_to_the_file_query(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    pq.write_table(pa.table({"a": [2, 1], "A": ["x", "y"]}), tmp_path / "t" / "1.parquet")
    found = lake_model(tmp_path)
    assert type(rows_of(found)) is SqlRows
    assert found.sort("A").page(0, 2).rows.to_pylist() == [{"a": 2, "A": "x"}, {"a": 1, "A": "y"}]


def test_files_of_other_types_are_left_to_the_file_query(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    pq.write_table(pa.table({"a": pa.array([2], pa.int32())}), tmp_path / "t" / "1.parquet")
    pq.write_table(pa.table({"a": pa.array([1], pa.int64())}), tmp_path / "t" / "2.parquet")
    found = lake_model(tmp_path)
    assert type(rows_of(found)) is SqlRows
    assert found.sort("a").page(0, 2).rows["a"].to_pylist() == [1, 2]


def test_a_file_that_changed_is_no_more_read(model: PreviewModel, tmp_path: Path) -> None:
    assert model.page(0, 5).rows.num_rows == 5
    pq.write_table(pa.table({"n": [1]}), tmp_path / "t" / ODD_NAMES[2])
    with pytest.raises(TransientError, match=r"k=v\.parquet changed while it was read"):
        model.page(0, 5)
    model.close()
    assert model.columns[0].name == "n"


def test_a_request_in_another_thread_is_stopped_while_it_runs(tmp_path: Path) -> None:
    """An index of four million rows takes longer than the token gives it."""
    (tmp_path / "t").mkdir()
    texts = pa.array([f"{number * 7919 % 4_000_037:08d}" for number in range(1_000_000)])
    with pq.ParquetWriter(tmp_path / "t" / "1.parquet", pa.schema([("s", pa.string())])) as writer:
        for _ in range(4):
            writer.write_table(pa.table({"s": texts}))
    found = lake_model(tmp_path)
    token = CancelToken()
    ended = threading.Event()
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            found.sort("-s").page(2_000_000, 10, token)
        except CancelledError as error:
            errors.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=ask)
    thread.start()
    assert not ended.wait(0.3)
    token.cancel()
    assert ended.wait(2.0)
    thread.join()
    assert len(errors) == 1
    assert found.page(3_999_999, 10).rows.num_rows == 1
    found.close()


def test_of_very_many_rows_a_sample_is_looked_at_and_that_is_said(
    model: PreviewModel, monkeypatch: pytest.MonkeyPatch, table: pa.Table
) -> None:
    for module in ("model", "sql_rows", "parquet_rows", "frame_rows"):
        monkeypatch.setattr(f"ematix_nb.query.paging.{module}.SAMPLE_ABOVE", 1_000)
        if module != "model":
            monkeypatch.setattr(f"ematix_nb.query.paging.{module}.SAMPLE_ROWS", 400)
    for each in (model, frame_model("t", table), query_model("t", "SELECT * FROM t", lambda: opened(table))):
        found = each.stats("n")
        assert 250 < found.rows < 600
        assert found.total == ROWS
        assert found.is_sampled
        assert found.covers() == f"sampled {found.rows} of 4,000 rows"
        assert found.high > 3_600
        assert found.low < 300
        assert each.filter(Condition("n", ">=", 3_900)).stats("n").covers() == "all 100 rows"
        assert 80 < each.filter(Condition("n", ">=", 2_000)).stats("n").rows <= 800
    assert model.stats("n") == model.stats("n")


def opened(table: pa.Table) -> Any:
    from ematix_nb.query import open_frames

    return open_frames({"t": table})


def test_too_many_distinct_values_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "MOST_DISTINCT", 100)
    monkeypatch.setattr(stats, "_TRIED_ROWS", 150)
    monkeypatch.setattr(stats, "_JOINED_ROWS", 1_000)

    def looked(values: list[list[int]]) -> Any:
        found = column_stats("a", "bigint", iter(pa.array(each, pa.int64()) for each in values), None)
        return found.distinct, found.is_distinct_exact, found.common

    assert looked([[number] * 2 for number in range(50)] * 30) == (50, True, tuple((n, 60) for n in range(5)))
    assert looked([list(range(90)), list(range(90))]) == (90, True, tuple((n, 2) for n in range(5)))
    assert looked([list(range(200))]) == (100, False, ())
    assert looked([list(range(90)), list(range(100))] * 8 + [list(range(101))]) == (100, False, ())
    assert looked([]) == (0, True, ())


def test_values_without_an_order_have_no_extremes() -> None:
    found = column_stats("a", "array(bigint)", iter([pa.array([[1], None, [1, 2]])]), None)
    assert (found.rows, found.nulls, found.low, found.high, found.bars) == (3, 1, None, None, ())


def test_a_reader_and_what_is_no_frame_are_refused(table: pa.Table) -> None:
    with pytest.raises(DataError, match="`t` is a reader, whose rows come once only"):
        frame_model("t", table.to_reader()).page()
    with pytest.raises(DataError, match="`t` is a int; expected an Arrow, polars or pandas frame"):
        frame_model("t", 5).count()


INTEGERS = {"tinyint": 8, "usmallint": 16, "integer": 32, "bigint": 64, "ubigint": 64}
KINDS = [DataType(kind) for kind in INTEGERS] + [DataType("numeric", precision=5, scale=2)]
EXACT = {
    "=": Decimal.__eq__, "<>": Decimal.__ne__, "<": Decimal.__lt__, "<=": Decimal.__le__, ">": Decimal.__gt__,
    ">=": Decimal.__ge__,
}  # fmt: skip


def held(kind: DataType, value: Decimal) -> bool:
    """Whether a column of the type can hold a number."""
    if kind.kind == "numeric":
        return abs(value) < 1000 and value == value.quantize(Decimal("0.01"))
    bits = INTEGERS[kind.kind]
    low, high = (0, 2**bits) if kind.kind.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1))
    return value == value.to_integral_value() and low <= value < high


@given(
    st.sampled_from(KINDS),
    st.sampled_from(list(EXACT)),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**25), max_value=10**25, places=4)
    | st.integers(-70_000, 70_000).map(Decimal)
    | st.decimals(min_value=-1000, max_value=1000, places=3),
    st.integers(-(10**5), 10**5),
)
def test_a_comparison_with_any_number_is_never_rounded(
    kind: DataType, operator: str, value: Decimal, number: int
) -> None:
    """For each value that the column can hold, the bounded comparison says what the wanted one says."""
    with decimal.localcontext(prec=60):
        column = Decimal(number) / 100 if kind.kind == "numeric" else Decimal(number)
        near = [column, value.quantize(Decimal("0.01") if kind.kind == "numeric" else Decimal(1))]
        found = bounded(kind, operator, value)
        if found not in (None, ("", 0)):
            assert held(kind, Decimal(found[1]))
        for each in near:
            if held(kind, each):
                told = bool(found) if found in (None, ("", 0)) else EXACT[found[0]](each, Decimal(found[1]))
                assert told == EXACT[operator](each, value)
