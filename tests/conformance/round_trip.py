"""Sending a column of odd values from one system to another, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import BIGINT, DataType, to_arrow
from ematix_nb.errors import FlowError
from ematix_nb.load.source import open_reader
from tests.conformance.run import declare
from tests.conformance.values import canon

if TYPE_CHECKING:
    from tests.conformance.matrix import System
    from tests.conformance.type_cases import Case

LONGEST_SHOWN = 60


@dataclass
class PairResult:
    """What one pair of systems did with all values."""

    values: int = 0
    refused: list[tuple[str, str, str]] = field(default_factory=list)
    """``(column type, value, reason)``."""
    verdicts: list[tuple[str, str, str, str]] = field(default_factory=list)
    """``(column type, type in the target, verdict, reason)``."""
    wrong: list[str] = field(default_factory=list)
    """Values that came out differently: there must be none."""


def send(source: System, target: System, case: Case, result: PairResult) -> None:
    """Send all values of a column; where that is refused, each alone."""
    result.values += len(case.values)
    if _try(source, target, case, list(case.values), result, f"t_{case.name}") is None:
        return
    for index, value in enumerate(case.values):
        error = _try(source, target, case, [value], result, f"t_{case.name}_{index}")
        if error is not None:
            shown = repr(value) if len(repr(value)) <= LONGEST_SHOWN else f"{repr(value)[:LONGEST_SHOWN]}..."
            assert "`odd v`" in error, f"the refusal does not name the column: {error}"
            result.refused.append((str(case.kind), shown, error))


def _try(
    source: System, target: System, case: Case, values: list[Any], result: PairResult, table: str
) -> str | None:
    """None when the values arrived (right or wrong), else why they were refused."""
    columns = {"id": BIGINT, "odd v": case.kind}
    source.make(f"s_{case.name}", columns, list(enumerate(values)))
    pipeline = declare(source, target, f"SELECT * FROM {source.source(f's_{case.name}')}", table, mode="truncate")
    try:
        plan = pipeline.sync().targets[0].plan
    except FlowError as error:
        assert not target.has(table), f"{case.name}: refused, yet the target was made"
        return str(error)
    assert plan is not None
    column = next(column for column in plan.columns if column.name == "odd v")
    line = (str(case.kind), str(column.target_type), column.verdict.value, column.reason)
    if line not in result.verdicts:
        result.verdicts.append(line)
    wanted = [_same(target, value, case.kind) for value in values]
    native = [_same(target, row[1], case.kind) for row in sorted(target.rows(table, ["id", "odd v"]), key=_first)]
    by_engine = [_same(target, value, case.kind) for value in engine_column(target, table, "odd v")]
    for name, found in (("driver", native), ("engine", by_engine)):
        if found != wanted:
            pairs = [(w, f) for w, f in zip(wanted, found, strict=False) if w != f] or [(len(wanted), len(found))]
            shown = "; ".join(f"{str(w)[:80]!r} became {str(f)[:80]!r}" for w, f in pairs)
            result.wrong.append(f"{case.name} by the {name}: {shown}")
    return None


def _first(row: tuple[Any, ...]) -> int:
    return int(row[0])


def _same(target: System, value: Any, kind: DataType) -> Any:
    """The common form; SQLite has no negative zero."""
    if target.name == "sqlite" and kind.kind in ("float", "double") and value is not None:
        value = float(value) + 0.0
    return canon(value, kind)


def engine_column(system: System, table: str, name: str) -> list[Any]:
    """One column of a target as the engine itself reads it, ordered by ``id``."""
    import pyarrow as pa

    session = open_reader(system.connection)
    try:
        thing = session.dialect.quote(table)
        sql = f"SELECT * FROM {thing}"
        columns = session.describe(sql)
        schema = pa.schema([pa.field(column.name, to_arrow(column.type)) for column in columns])
        found = pa.Table.from_batches(list(session.read(sql, columns)), schema=schema).sort_by("id")
        return list(found.column(name).to_pylist())
    finally:
        session.close()
