"""Nested values of a frame in every mode of every system, as JSON where the system has no such type."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from ematix_nb import ematix
from tests.conformance.conftest import pairs
from tests.conformance.matrix import BUCKETS
from tests.conformance.run import counts

if TYPE_CHECKING:
    from ematix_nb.api import Pipeline
    from tests.conformance.run import Bench

LINE = pa.struct(
    [("sku", pa.string()), ("price", pa.decimal128(9, 2)), ("due", pa.date32()), ("tags", pa.list_(pa.string()))]
)
SCHEMA = pa.schema([("id", pa.int64()), ("lines", pa.list_(LINE)), ("first", LINE)])
PEN = {"sku": 'a "b" é\n', "price": Decimal("1.10"), "due": dt.date(2024, 2, 29), "tags": ["x", None]}
INK: dict[str, Any] = {"sku": None, "price": None, "due": None, "tags": []}
ROWS: list[dict[str, Any]] = [
    {"id": 1, "lines": [PEN, INK, None], "first": PEN},
    {"id": 2, "lines": [], "first": INK},
    {"id": 3, "lines": None, "first": None},
]
CHANGED = [*ROWS[1:], {"id": 1, "lines": [INK], "first": PEN}]
LEFT_OUT = ("csv", *BUCKETS)
"""A format without a form for nested values; buckets, which hold the same files as a folder."""
MODES = ("append", "truncate", "merge", "scd2")


def _plain(value: Any) -> Any:
    """A value as JSON has it, decimals as texts; JSON of a system as its value."""
    if isinstance(value, str) and value[:1] in "[{":
        value = json.loads(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Decimal):
        return str(value)
    return value.isoformat() if isinstance(value, dt.date) else value


def _expected(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted(((row["id"], _plain(row["lines"]), _plain(row["first"])) for row in rows), key=lambda row: row[0])


def _pipeline(bench: Bench, mode: str, rows: list[dict[str, Any]]) -> Pipeline:
    table = pa.Table.from_pylist(rows, SCHEMA)
    keys = {"keys": ("id",)} if mode in ("merge", "scd2") else {}

    @ematix.pipeline(
        name="load", target=bench.target.target("tgt"), target_connection=bench.target.connection, mode=mode, **keys
    )
    def load() -> pa.Table:
        return table

    return load


def _found(bench: Bench, *, current: bool = False) -> list[tuple[Any, ...]]:
    names = ("id", "lines", "first", *(("is_current",) if current else ()))
    found = [row for row in bench.rows(*names) if not current or row[3]]
    return sorted(((row[0], _plain(row[1]), _plain(row[2])) for row in found), key=lambda row: row[0])


CASES = [
    pytest.param(*found.values, mode, id=f"{mode}-{found.id}", marks=found.marks)
    for mode in MODES
    for found in pairs(mode, same=False)
    if found.values[0][0] not in LEFT_OUT
]


@pytest.mark.parametrize(("bench", "mode"), CASES, indirect=["bench"])
def test_nested_values_of_a_frame(bench: Bench, mode: str) -> None:
    assert counts(_pipeline(bench, mode, ROWS).sync())["inserted"] == 3
    assert _found(bench) == _expected(ROWS)
    again = counts(_pipeline(bench, mode, CHANGED).sync())
    if mode in ("merge", "scd2"):
        assert again["unchanged"] == 2
        assert _found(bench, current=mode == "scd2") == _expected(CHANGED)
    elif mode == "truncate":
        assert _found(bench) == _expected(CHANGED)
    else:
        assert len(_found(bench)) == 6
    bench.check()
