"""Odd names of tables and columns, between all pairs and in every mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.declare.data_types import BIGINT, TEXT, TIMESTAMPTZ
from tests.conformance.matrix import SYSTEMS, open_system
from tests.conformance.run import Bench, counts

if TYPE_CHECKING:
    from pathlib import Path

PLACES = ("postgres", "duckdb", "sqlite", "parquet")
TABLES = ("select", "my table", 'say "hi"', "MixedCase", "größe_表", "🦆🚀", "semi;colon--", "it's", "a.b")
NAMES = (
    "order",
    "group by",
    'quo"te',
    "Mixed Case",
    "größe",
    "表",
    "🦆",
    "semi;colon",
    "it's",
    "per%cent",
    "dollar$1",
    "ques?tion",
    "a.b",
)


@pytest.mark.parametrize("target", PLACES)
@pytest.mark.parametrize("source", PLACES)
def test_odd_names(source: str, target: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    urls = {"postgres": request.getfixturevalue("pg_url")} if "postgres" in (source, target) else {}
    there = open_system(target, tmp_path / "to", urls.get(target), label="to_place")
    here = there if source == target else open_system(source, tmp_path / "from", urls.get(source), label="from_place")
    columns = {"id key": BIGINT, **dict.fromkeys(NAMES, TEXT), "changed at": TIMESTAMPTZ}
    here.make("src", columns, [(1, *NAMES, None), (2, *[None] * len(NAMES), None)])
    bench = Bench(there, here)
    some = PLACES.index(source) % 2
    for number, table in list(enumerate(TABLES))[some::2]:
        if not there.is_sql and '"' in table:
            continue  # refused: a quote begins a quoted name
        bench.table = table
        mode = there.modes[number % len(there.modes)]
        keys: dict[str, Any] = {"keys": ("id key",)} if mode in ("merge", "scd2") else {}
        if mode == "append":
            keys = {"incremental": True, "watermark_column": "changed at"}
        pipeline = bench.pipeline(mode, name=f"load{number}", **keys)
        assert counts(pipeline.sync()) == {"read": 2, "inserted": 2}, table
        again = counts(pipeline.sync())
        assert "updated" not in again
        assert "closed" not in again
        assert sorted(bench.rows("id key", *NAMES), key=repr) == [(1, *NAMES), (2, *[None] * len(NAMES))]
        assert pipeline.preview().sample.num_rows == 2
    assert there.leftovers() == []


@pytest.mark.parametrize("name", [name for name, system in SYSTEMS.items() if system.is_sql])
def test_odd_tables_are_read_by_their_names(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("pg_url") if name == "postgres" else None
    place = open_system(name, tmp_path / "place", url, label="place")
    for number, table in enumerate(TABLES):
        place.make(table, {"id": BIGINT}, [(number,)])
        bench = Bench(place, place, table=f"t{number}")
        pipeline = bench.pipeline("append", sql=f"SELECT * FROM {place.source(table)}", name=f"load{number}")
        assert counts(pipeline.sync()) == {"read": 1, "inserted": 1}
        assert bench.rows("id") == [(number,)]
