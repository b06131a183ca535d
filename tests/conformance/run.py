"""Declaring and running one pipeline between two systems of the matrix."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb import ematix
from tests.support.invariants import check_rest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ematix_nb.api import Pipeline
    from ematix_nb.verbs.backfill import BackfillResult
    from ematix_nb.verbs.results import RunResult
    from tests.conformance.matrix import Columns, System

_numbers = itertools.count()


def declare(source: System, target: System, sql: str, thing: str | type, **options: Any) -> Pipeline:
    """A pipeline with a fixed query."""
    name = options.pop("name", None) or f"p{next(_numbers)}"
    options.setdefault("target", target.target(thing) if isinstance(thing, str) else thing)

    def query(_: object) -> str:
        return sql

    return ematix.pipeline(
        name=name, source_connection=source.connection, target_connection=target.connection, **options
    )(query)


@dataclass
class Bench:
    """A source table `src` and a target table `tgt`, in one system or in two."""

    target: System
    source: System
    table: str = "tgt"
    columns: Columns | None = None

    def give(self, columns: Columns, rows: Sequence[Sequence[Any]]) -> None:
        """The source holds exactly these rows."""
        self.columns = columns
        self.source.make("src", columns, rows)

    def more(self, rows: Sequence[Sequence[Any]]) -> None:
        """The source holds these rows too."""
        assert self.columns is not None
        self.source.add("src", self.columns, rows)

    def pipeline(self, mode: str, sql: str = "", **options: Any) -> Pipeline:
        """The pipeline from `src` to `tgt`."""
        options.setdefault("name", "load")
        text = sql or f"SELECT * FROM {self.source.source('src')}"
        return declare(self.source, self.target, text, self.table, mode=mode, **options)

    def rows(self, *names: str) -> list[tuple[Any, ...]]:
        """The target's rows by its own driver."""
        return self.target.rows(self.table, names)

    def check(self) -> None:
        """Nothing is left of a run but its rows."""
        check_rest(self.target, self.table)


def counts(result: RunResult | BackfillResult) -> dict[str, int]:
    """The counts of a run that are not zero, without the prefix."""
    return {name.removeprefix("rows_"): rows for name, rows in result.counts.items() if rows}
