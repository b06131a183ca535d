"""Times that other programs wrote as text: every form of a moment is the same watermark."""

from __future__ import annotations

import datetime as dt
import sqlite3
from typing import TYPE_CHECKING

import pytest

from ematix_nb.config import connect
from ematix_nb.declare.pipelines import build_pipeline
from ematix_nb.verbs.run import run

if TYPE_CHECKING:
    from pathlib import Path

    from ematix_nb.verbs.results import RunResult


def load(folder: Path, *, same: bool, overlap: dt.timedelta | None) -> RunResult:
    connect(f"sqlite:///{folder}/source.db", name="source")
    connect(f"sqlite:///{folder}/{'source' if same else 'target'}.db", name="target")
    return run(
        build_pipeline(
            name="times", target="target:loaded", source_connection="source", sql="SELECT id, ts FROM events",
            mode="append", incremental=True, watermark_column="ts", overlap=overlap,
        )
    )  # fmt: skip


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("form", ["2026-01-01 {}:00", "2026-01-01T{}:00", "2026-01-01 {}:00.000000", "2026-01-01T{}"])
@pytest.mark.parametrize("overlap", [None, dt.timedelta(0)])
def test_ties_are_read_and_nothing_twice(tmp_path: Path, form: str, same: bool, overlap: dt.timedelta | None) -> None:  # noqa: FBT001
    source = sqlite3.connect(tmp_path / "source.db", isolation_level=None)
    source.execute("CREATE TABLE events (id BIGINT, ts TIMESTAMP)")
    source.executemany("INSERT INTO events VALUES (?, ?)", [(1, form.format("09:00")), (2, form.format("10:00"))])
    assert load(tmp_path, same=same, overlap=overlap).rows_inserted == 2
    source.executemany("INSERT INTO events VALUES (?, ?)", [(3, form.format("10:00")), (4, form.format("11:00"))])
    source.close()
    again = load(tmp_path, same=same, overlap=overlap)
    assert (again.rows_inserted, again.targets[0].watermark_after) == (2, "2026-01-01 11:00:00.000000")
    assert load(tmp_path, same=same, overlap=overlap).rows_inserted == 0
