"""Commits that others came before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from ematix_nb.backends.delta import commits
from ematix_nb.declare.data_types import BIGINT, TEXT, TIMESTAMP
from ematix_nb.declare.spec import Column

if TYPE_CHECKING:
    from pathlib import Path

ID, NAME, AT = Column("id", BIGINT), Column("name", TEXT), Column("at", TIMESTAMP)


def features(place: Path) -> list[str]:
    return list(DeltaTable(place).protocol().writer_features or ())


def test_times_without_a_zone_are_allowed_once(tmp_path: Path) -> None:
    write_deltalake(tmp_path, pa.table({"id": [1]}))
    commits.allow_plain_times(DeltaTable(tmp_path), [ID, NAME])
    assert DeltaTable(tmp_path).version() == 0
    table = DeltaTable(tmp_path)
    commits.allow_plain_times(table, [ID, AT])
    assert table.version() == DeltaTable(tmp_path).version() == 1
    assert "timestampNtz" in features(tmp_path)
    commits.allow_plain_times(table, [ID, AT])
    assert DeltaTable(tmp_path).version() == 1


def test_a_protocol_is_not_raised_over_a_commit_that_came_before(tmp_path: Path) -> None:
    write_deltalake(tmp_path, pa.table({"id": [1]}))
    table = DeltaTable(tmp_path)
    write_deltalake(tmp_path, pa.table({"id": [2]}), mode="append")
    with pytest.raises(CommitFailedError, match="Failed to commit"):
        commits.allow_plain_times(table, [ID, AT])
    assert "timestampNtz" not in features(tmp_path)
