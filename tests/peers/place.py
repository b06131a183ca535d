"""Two databases of PostgreSQL and a folder, in which a case makes its source and looks at its target."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from ematix_nb.config import connect
from ematix_nb.declare.pipelines import build_pipeline
from ematix_nb.errors import FlowError
from ematix_nb.verbs.run import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from ematix_nb.verbs.results import RunResult
    from tests.crash.world import World

EXTREMES = (
    (
        "(1, 1234567890123456789012345678.0123456789, 'NaN', 'infinity', '0044-03-15 BC', 5e-324, repeat('ä', 500000),"
        " '{\"n\": 12345678901234567890.10}', '6b8e2b2e-8e4f-4e53-9a3a-0d6f5b0c1a2b', '\\x00ff5c0a')"
    ),
    (
        "(2, -0.0000000001, '1e-30', '-infinity', '9999-12-31', '-Infinity', E'\\U0001F600 ''\"\\\\N\\t\\r\\n', 'null',"
        " '00000000-0000-0000-0000-000000000000', '\\x')"
    ),
    "(3, 0, '1.500', '2024-03-31 00:30:00.000001+02', '0001-01-01', 'NaN', '', '[]', gen_random_uuid(), '\\x5c2e')",
    "(4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
)
"""Rows of int, numeric, numeric, timestamptz, date, double precision, text, jsonb, uuid, bytea."""


@dataclass
class Place:
    """The source is `source`, the target `target`, files are in `lake`."""

    source: str
    """URL of a database."""
    target: str
    """URL of another one."""
    folder: Path
    make_world: Callable[..., World]

    def __post_init__(self) -> None:
        self.name = f"p_{uuid.uuid4().hex[:8]}"
        connect(self.source, name="source")
        connect(self.target, name="target")
        connect(f"file:///{self.folder}?format=jsonl", name="lake")

    def give(self, *statements: str) -> None:
        """Statements in the source's database."""
        execute(self.source, *statements)

    def options(self, sql: str, mode: str, **options: Any) -> dict[str, Any]:
        """The declaration of a load into the table of this place."""
        usual = {"name": self.name, "target": f"target:public.{self.name}", "source_connection": "source"}
        return {**usual, "sql": sql, "mode": mode, **options}

    def load(self, sql: str, mode: str, **options: Any) -> RunResult:
        """Run it.

        Raises:
            FlowError: It did not load.
        """
        return run(build_pipeline(**self.options(sql, mode, **options))).raise_for_status()

    def refused(self, sql: str, mode: str, **options: Any) -> str:
        """Run what cannot be loaded: the message, after a look whether anything was written."""
        try:
            self.load(sql, mode, **options)
        except FlowError as error:
            assert self.missing(), "a load that failed made a table"
            return f"refused: {error.what}"
        return "loaded"

    def rows(self, columns: str = "id", where: str = "true", order: str = "1") -> list[tuple[Any, ...]]:
        """Rows of the target."""
        return execute(self.target, f'SELECT {columns} FROM "{self.name}" WHERE {where} ORDER BY {order}')

    def missing(self) -> bool:
        """Whether the target is not there."""
        return execute(self.target, f"SELECT to_regclass('public.{self.name}') IS NULL") == [(True,)]


def execute(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Statements by the driver, each committed; the rows of the last one."""
    with psycopg.connect(url, autocommit=True) as session:
        for statement in statements:
            answer = session.execute(statement.encode())
        return answer.fetchall() if answer.description else []


def told(found: Iterable[object], expected: Iterable[object]) -> str:
    """How many rows there are, and which are missing or too many."""
    have, want = Counter(found), Counter(expected)
    return f"{have.total()} rows: {(want - have).total()} lost, {(have - want).total()} doubled"
