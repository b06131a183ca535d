"""Sending a column of odd values from one system to another, and what came of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import BIGINT, DataType, to_arrow
from ematix_nb.errors import FlowError
from ematix_nb.load.source import open_reader
from tests.conformance.run import declare
from tests.conformance.values import canon

if TYPE_CHECKING:
    from tests.conformance.matrix import SqlSystem, System
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


def send_all(source: System, target: System, cases: list[Case], result: PairResult) -> None:
    """Send all columns in one table; a column that is refused goes again alone, value by value."""
    result.values += sum(len(case.values) for case in cases)
    left = list(cases)
    for attempt in range(len(cases) + 1):
        error = _try(source, target, left, result, f"wide_{attempt}")
        if error is None:
            return
        refused = next((case for case in left if f"`{_column(case)}`" in error), None)
        assert refused is not None, f"the refusal does not name the column: {error}"
        left.remove(refused)
        _send_alone(source, target, refused, result)


def _send_alone(source: System, target: System, case: Case, result: PairResult) -> None:
    for index, value in enumerate(case.values):
        one = dataclasses.replace(case, values=(value,))
        error = _try(source, target, [one], result, f"t_{case.name}_{index}")
        if error is not None:
            shown = repr(value) if len(repr(value)) <= LONGEST_SHOWN else f"{repr(value)[:LONGEST_SHOWN]}..."
            assert f"`{_column(case)}`" in error, f"the refusal does not name the column: {error}"
            result.refused.append((str(case.kind), shown, error.replace(f"`{_column(case)}`", "`v`")))


def send_natives(source: SqlSystem, target: System, result: PairResult) -> None:
    """Values of types that only the source has: they arrive in the nearest form (told by the plan), or are refused."""
    own = source.natives()
    if isinstance(target, type(source)):
        own = [pair for pair in own if pair in target.natives()]
    left = {f"odd {number}": pair for number, pair in enumerate(own)}
    result.values += len(left)
    while True:
        error = _try_natives(source, target, left, f"own_{len(left)}")
        if error is None:
            return
        name = next((name for name in left if f"`{name}`" in error), None)
        assert name is not None, f"the refusal does not name the column: {error}"
        kind, literal = left.pop(name)
        result.refused.append((kind, literal, error.replace(f"`{name}`", "`v`")))


def _try_natives(source: SqlSystem, target: System, columns: dict[str, tuple[str, str]], table: str) -> str | None:
    declared = ", ".join(f"{source.quote(name)} {kind}" for name, (kind, _) in columns.items())
    values = [
        literal if source.name in ("sqlite", "mysql") else f"CAST({literal} AS {kind})"
        for kind, literal in columns.values()
    ]
    source.execute(f"DROP TABLE IF EXISTS s_{table}")
    source.execute(f"CREATE TABLE s_{table} (id INTEGER, {declared})")
    source.execute(f"INSERT INTO s_{table} VALUES (1, {', '.join(values)})")
    try:
        result = declare(source, target, f"SELECT * FROM s_{table}", table, mode="truncate").sync()
    except FlowError as error:
        assert not target.has(table), f"{table}: refused, yet the target was made"
        return str(error)
    assert result.rows_inserted == 1
    return None


def _column(case: Case) -> str:
    return f"odd {case.name}"


def _try(source: System, target: System, cases: list[Case], result: PairResult, table: str) -> str | None:
    """None when the values arrived (right or wrong), else why they were refused."""
    columns = {"id": BIGINT, **{_column(case): case.kind for case in cases}}
    length = max(len(case.values) for case in cases)
    padded = [(*case.values, *[None] * (length - len(case.values))) for case in cases]
    source.make(f"s_{table}", columns, list(zip(range(length), *padded, strict=True)))
    pipeline = declare(source, target, f"SELECT * FROM {source.source(f's_{table}')}", table, mode="truncate")
    try:
        plan = pipeline.sync().targets[0].plan
    except FlowError as error:
        assert not target.has(table), f"{table}: refused, yet the target was made"
        return str(error)
    assert plan is not None
    planned = {column.name: column for column in plan.columns}
    for index, case in enumerate(cases):
        column = planned[_column(case)]
        line = (str(case.kind), str(column.target_type), column.verdict.value, column.reason)
        if line not in result.verdicts:
            result.verdicts.append(line)
        _compare(target, table, case, [_same(target, value, case.kind) for value in padded[index]], result)
    return None


def _compare(target: System, table: str, case: Case, wanted: list[Any], result: PairResult) -> None:
    """What the system's own driver and what the engine reads, against what was sent."""
    rows = sorted(target.rows(table, ["id", _column(case)]), key=_first)
    native = [_same(target, row[1], case.kind) for row in rows]
    by_engine = [_same(target, value, case.kind) for value in engine_column(target, table, _column(case))]
    for name, found in (("driver", native), ("engine", by_engine)):
        if found != wanted:
            pairs = [(w, f) for w, f in zip(wanted, found, strict=False) if w != f] or [(len(wanted), len(found))]
            shown = "; ".join(f"{str(w)[:80]!r} became {str(f)[:80]!r}" for w, f in pairs)
            result.wrong.append(f"{case.name} by the {name}: {shown}")


def _first(row: tuple[Any, ...]) -> int:
    return int(row[0])


def _same(target: System, value: Any, kind: DataType) -> Any:
    """The common form; SQLite and MySQL have no negative zero."""
    if target.name in ("sqlite", "mysql") and kind.kind in ("float", "double") and value is not None:
        value = float(value) + 0.0
    return canon(value, kind)


def engine_column(system: System, table: str, name: str) -> list[Any]:
    """One column of a target as the engine itself reads it, ordered by ``id``."""
    import pyarrow as pa

    session = open_reader(system.connection)
    try:
        thing = session.dialect.quote(table)
        sql = f"SELECT id, {session.dialect.quote(name)} FROM {thing}"
        columns = session.describe(sql)
        schema = pa.schema([pa.field(column.name, to_arrow(column.type)) for column in columns])
        found = pa.Table.from_batches(list(session.read(sql, columns)), schema=schema).sort_by("id")
        return list(found.column(name).to_pylist())
    finally:
        session.close()
