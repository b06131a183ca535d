"""Two machines whose clocks differ: no version ends before it began."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from ematix_nb.declare import registry
from ematix_nb.declare.data_types import BIGINT, TEXT
from ematix_nb.load.context import RunContext
from ematix_nb.load.run import run_target
from tests.conformance.matrix import open_system
from tests.conformance.run import Bench

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_a_clock_that_is_behind_closes_no_version_before_its_begin(kind: str, tmp_path: Path) -> None:
    place = open_system(kind, tmp_path, None, label="a")
    bench = Bench(place, place)
    bench.give({"id": BIGINT, "city": TEXT}, [(1, "Rome")])
    with registry.scratch():
        pipeline = bench.pipeline("scd2", keys=("id",))
        pipeline.sync()
        bench.give({"id": BIGINT, "city": TEXT}, [(1, "Oslo")])
        behind = RunContext()
        behind.started -= dt.timedelta(seconds=30)
        outcome = run_target(pipeline.spec, pipeline.spec.targets[0], behind)
        assert outcome.status == "failed"
        assert "1 current version begins after this run" in str(outcome.error)
        assert bench.rows("city", "valid_to") == [("Rome", None)]
        pipeline.sync()
    assert [row[0] for row in bench.rows("city")] == ["Oslo", "Rome"]
