"""A dry run and a preview count exactly and leave everything as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.declare.data_types import BIGINT, TEXT
from tests.conformance.conftest import pairs
from tests.conformance.run import counts

if TYPE_CHECKING:
    from tests.conformance.run import Bench

COLUMNS = {"id": BIGINT, "name": TEXT}
MODES: dict[str, dict[str, Any]] = {
    "append": {"incremental": True, "watermark_column": "id", "overlap": 1},
    "truncate": {},
    "merge": {"keys": ("id",), "handle_deletes": "hard"},
    "scd2": {"keys": ("id",), "handle_deletes": "soft"},
}


def state(bench: Bench) -> object:
    """Everything in both places."""
    return bench.source.everything(), bench.target.everything()


@pytest.mark.parametrize("bench", pairs("append", same=False), indirect=True)
def test_a_first_dry_run_makes_nothing(bench: Bench) -> None:
    bench.give(COLUMNS, [(1, "a"), (2, "b")])
    for mode in bench.target.modes:
        pipeline = bench.pipeline(mode, **MODES[mode])
        before = state(bench)
        assert counts(pipeline.dry_run()) == {"read": 2, "inserted": 2}
        assert state(bench) == before
        shown = pipeline.preview()
        assert shown.sample.num_rows == 2
        assert state(bench) == before


@pytest.mark.parametrize("bench", pairs("append", same=False), indirect=True)
def test_a_later_dry_run_counts_what_the_run_then_does(bench: Bench) -> None:
    for mode in bench.target.modes:
        bench.table = f"into_{mode}"
        bench.give(COLUMNS, [(1, "a"), (2, "b"), (3, "c")])
        pipeline = bench.pipeline(mode, name=f"load_{mode}", **MODES[mode])
        pipeline.sync()
        wider = {**COLUMNS, "more": TEXT}
        bench.give(wider, [(1, "a", None), (3, "changed", "x"), (4, "new", "y")])
        before = state(bench)
        told = counts(pipeline.dry_run())
        assert state(bench) == before
        pipeline.preview()
        assert state(bench) == before
        assert told == counts(pipeline.sync())
        assert state(bench) != before
    bench.check()
