"""Previews built by hand, of harmless and of hostile content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ematix_nb.declare.data_types import BIGINT, TEXT
from ematix_nb.declare.spec import Column, TableRef
from ematix_nb.errors import RunError
from ematix_nb.load.plan import ColumnPlan, LoadPlan, SchemaChange, Window
from ematix_nb.query.paging import PreviewModel
from ematix_nb.verbs.results import PreviewResult, TargetPreview

if TYPE_CHECKING:
    from collections.abc import Callable

    from ematix_nb.query.paging import Stop
    from ematix_nb.query.paging.wanted import Wanted

__all__ = ["preview"]


class PagedRows:
    """Rows that a function makes, page by page."""

    columns: tuple[Column, ...] = (Column("id", BIGINT), Column("name", TEXT))

    def __init__(self, page: Callable[[int, int], Any]) -> None:
        self._page = page

    def select(self, wanted: Wanted) -> str:
        return f"SELECT * FROM made -- {len(wanted.conditions)} conditions"

    def read(self, wanted: Wanted, offset: int, limit: int, stop: Stop) -> Any:  # noqa: ARG002 - as the protocol says
        stop.check()
        return self._page(offset, limit)

    def count(self, wanted: Wanted, stop: Stop) -> int:  # noqa: ARG002 - as the protocol says
        message = "nobody counted them"
        raise RunError(message)

    def values(self, wanted: Wanted, column: str, total: int, stop: Stop) -> Any:  # noqa: ARG002 - as the protocol says
        message = "nobody looked at them"
        raise RunError(message)


def paged(page: Callable[[int, int], Any]) -> PreviewModel:
    """A source of which a function gives any page."""
    return PreviewModel("made", lambda: PagedRows(page))


def plan(word: str) -> LoadPlan:
    """A plan in which every text is, or holds, a word."""
    return LoadPlan(
        pipeline=word,
        state_name="orders",
        fingerprint="sha256:00",
        mode="merge",
        source=word,
        target=f"wh:{word}",
        ref=TableRef(None, word),
        source_sql=f"SELECT '{word}'",
        source_columns=(Column("id", BIGINT), Column(word, TEXT)),
        columns=(ColumnPlan("id", "id", BIGINT, BIGINT), ColumnPlan(word, word, TEXT, TEXT, reason=word)),
        data=(Column("id", BIGINT), Column(word, TEXT)),
        keys=("id", word),
        keys_reason=word,
        update_columns=(word,),
        compare_columns=(word,),
        route="arrow",
        route_reason=word,
        staged=True,
        schema_changes=(SchemaChange(f"create table {word}", f"CREATE TABLE {word}"),),
        statements=(f"INSERT INTO {word}",),
        window=Window(word, word, word, word),
        warnings=(word,),
        notes=(word,),
    )


def preview(
    word: str = "name", rows: int = 3, *, complete: bool = True, model: PreviewModel | None = None
) -> PreviewResult:
    """A preview of one pipeline whose texts are all, or hold, one word."""
    sample = pa.table({"id": list(range(rows)), word: [f"{word} {number}" for number in range(rows)]})
    profile = (
        {"name": "id", "type": "int64", "nulls": 0, "distinct": rows, "min": "0", "max": str(rows - 1), "bars": [1, 2]},
        {"name": word, "type": word, "nulls": 0, "distinct": 1, "min": word, "max": word, "bars": []},
    )
    diff: tuple[dict[str, Any], ...] = (
        {"change": "insert", "key": {"id": 1}, "before": None, "after": {"id": 1, word: word}},
        {"change": "update", "key": {"id": 2}, "before": {"id": 2, word: "old"}, "after": {"id": 2, word: word}},
        {"change": "close", "key": {word: word}, "before": {word: word, "id": 3}, "after": None},
        {"change": "same", "key": {"id": 4}, "before": {"id": 4}, "after": {"id": 4}},
    )
    target = TargetPreview(plan(word), {"insert": 1, "update": 1, "close": 1, "sampled": 1}, diff, word)
    return PreviewResult(word, f"SELECT '{word}'", sample, 50, complete, profile, (target,), model)
