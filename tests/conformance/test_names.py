"""Odd names of tables and columns, between all pairs and in every mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.declare.data_types import BIGINT, TEXT, TIMESTAMPTZ
from ematix_nb.errors import DeclarationError
from tests.conformance.matrix import SYSTEMS, file_hashes, open_system, url_of
from tests.conformance.run import Bench, counts

if TYPE_CHECKING:
    from pathlib import Path

PLACES = ("postgres", "mysql", "duckdb", "sqlite", "parquet")
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
    there = open_system(target, tmp_path / "to", url_of(target, request), label="to_place")
    same = source == target
    here = there if same else open_system(source, tmp_path / "from", url_of(source, request), label="from_place")
    names = [name for name in NAMES if there.can_name(name) and here.can_name(name)]
    columns = {"id key": BIGINT, **dict.fromkeys(names, TEXT), "changed at": TIMESTAMPTZ}
    here.make("src", columns, [(1, *names, None), (2, *[None] * len(names), None)])
    bench = Bench(there, here)
    some = PLACES.index(source) % 2
    for number, table in [(number, name) for number, name in enumerate(TABLES) if there.can_name(name)][some::2]:
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
        assert sorted(bench.rows("id key", *names), key=repr) == [(1, *names), (2, *[None] * len(names))]
        assert pipeline.preview().sample.num_rows == 2
    assert there.leftovers() == []


@pytest.mark.parametrize("name", ["parquet", "csv", "jsonl"])
def test_a_folder_may_have_any_name_that_stays_inside(name: str, tmp_path: Path) -> None:
    place = open_system(name, tmp_path / "place", None, label="place")
    place.make("src", {"id": BIGINT}, [(1,)])
    for number, folder in enumerate(
        ('"', 'a "b" c', '"quoted"', "v1.2.3", "a..b", "deep/er 2.0/er", "-x", "50%", "a=b")
    ):
        bench = Bench(place, place, table=folder)
        pipeline = bench.pipeline("append", name=f"load{number}")
        assert counts(pipeline.sync()) == {"read": 1, "inserted": 1}, folder
        assert pipeline.preview().targets[0].plan.target_exists, folder
        assert bench.rows("id") == [(1,)]
        assert (tmp_path / "place" / "files" / folder).is_dir()


@pytest.mark.parametrize(
    ("folder", "problem"),
    {
        "../out": "it leaves the folder",
        "in/../../out": "it leaves the folder",
        "in\\..\\out": "it leaves the folder",
        "/tmp/out": "it is absolute",
        "~/out": "it is absolute",
        "file:///tmp/out": "it is absolute",
        "nul\0here": "it holds control characters",
        "line\nfeed": "it holds control characters",
    }.items(),
)
def test_a_folder_never_lies_outside(folder: str, problem: str, tmp_path: Path) -> None:
    place = open_system("parquet", tmp_path / "place", None, label="place")
    place.make("src", {"id": BIGINT}, [(1,)])
    before = file_hashes(tmp_path)
    with pytest.raises(DeclarationError, match=problem):
        Bench(place, place, table=folder).pipeline("append").sync()
    assert file_hashes(tmp_path) == before


@pytest.mark.parametrize("name", [name for name, system in SYSTEMS.items() if system.is_sql])
def test_odd_tables_are_read_by_their_names(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    place = open_system(name, tmp_path / "place", url_of(name, request), label="place")
    for number, table in enumerate(filter(place.can_name, TABLES)):
        place.make(table, {"id": BIGINT}, [(number,)])
        bench = Bench(place, place, table=f"t{number}")
        pipeline = bench.pipeline("append", sql=f"SELECT * FROM {place.source(table)}", name=f"load{number}")
        assert counts(pipeline.sync()) == {"read": 1, "inserted": 1}
        assert bench.rows("id") == [(number,)]
