"""Tests of pipelines: a few rows go through the real load, in DuckDB, and what comes out is compared."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ematix_nb.backends.duckdb.dialect import DIALECT
from ematix_nb.backends.registry import backend_for, open_session
from ematix_nb.connections import Connection, DuckDBConnection, ObjectStoreLocalConnection, resolve
from ematix_nb.declare.data_types import TEXT, DataType
from ematix_nb.declare.spec import Column, TableRef
from ematix_nb.errors import EXIT_FAILED, EXIT_OK, FlowError, RunError, UnknownNameError, UsageError, known_names
from ematix_nb.load.targets import target_ref
from ematix_nb.verbs.cells import show
from ematix_nb.verbs.preview_html import escape, framed
from ematix_nb.verbs.results import Result, count_words
from ematix_nb.verbs.run import run as run_pipeline
from ematix_nb.verbs.sandbox import moved
from ematix_nb.verbs.text import neutral
from ematix_nb.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ematix_nb.declare.cases import Case, Rows
    from ematix_nb.declare.spec import PipelineSpec, Query
    from ematix_nb.load.cancel import CancelToken

SHOWN = 50
"""Rows of each kind that a failed test lists."""
HTML_BYTES = 50_000
_FILES = "datafusion"


@dataclass(frozen=True, repr=False)
class CaseResult(Result):
    """How a test of a pipeline ended."""

    kind: ClassVar[str] = "test"

    pipeline: str
    name: str
    counts: dict[str, int]
    """Of the load."""
    columns: tuple[str, ...]
    """Those that are compared."""
    rows: int
    """Expected."""
    missing: tuple[tuple[str | None, ...], ...]
    """Expected, and not in the target."""
    extra: tuple[tuple[str | None, ...], ...]
    """In the target, and not expected."""
    keys: tuple[str, ...] = ()
    """By which a missing and an extra row belong together."""

    @property
    def passed(self) -> bool:
        """Whether the target holds what is expected, and nothing else."""
        return not self.missing and not self.extra

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # computed from the rows
        """0 when it passed, else 1."""
        return EXIT_OK if self.passed else EXIT_FAILED

    def title(self) -> str:
        """What was tested."""
        return f"test {self.pipeline}" + (f" / {self.name}" if self.name else "")

    def words(self) -> str:
        """How it ended, in a few words."""
        if self.passed:
            return f"passed ({counted(self.rows, 'row')})"
        parts = [f"{counted(len(self.missing), 'row')} missing"] if self.missing else []
        parts += [f"{counted(len(self.extra), 'row')} not expected"] if self.extra else []
        return f"failed: {', '.join(parts)}"

    def differences(self) -> list[tuple[str, str, list[tuple[str, str | None, str | None]]]]:
        """``(mark, key, [(column, expected, found)])``: ``-`` is missing, ``+`` not expected, ``~`` differs."""
        at = [self.columns.index(key) for key in self.keys if key in self.columns]
        by_key = {tuple(row[n] for n in at): row for row in self.extra} if at else {}
        found: list[tuple[str, str, list[tuple[str, str | None, str | None]]]] = []
        paired = set()
        for row in self.missing:
            key = tuple(row[n] for n in at)
            other = by_key.get(key) if at and key not in paired else None
            if other is None:
                found.append(("-", "", [(name, value, None) for name, value in zip(self.columns, row, strict=True)]))
                continue
            paired.add(key)
            cells = zip(self.columns, row, other, strict=True)
            head = ", ".join(f"{self.columns[n]}={_cell(row[n])}" for n in at)
            found.append(("~", head, [(name, want, got) for name, want, got in cells if want != got]))
        alone = (row for row in self.extra if not at or tuple(row[n] for n in at) not in paired)
        found += [("+", "", [(n, None, value) for n, value in zip(self.columns, row, strict=True)]) for row in alone]
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "pipeline": self.pipeline,
            "test": self.name,
            "passed": self.passed,
            "counts": self.counts,
            "columns": list(self.columns),
            "missing": [list(row) for row in self.missing],
            "extra": [list(row) for row in self.extra],
        }

    def to_text(self) -> str:
        """One line when it passed; a line a row that differs when it did not."""
        lines = [f"{self.title()}: {self.words()}"]
        for mark, key, cells in self.differences()[:SHOWN]:
            if mark == "~":
                told = ", ".join(f"{name} is {_cell(got)}, expected {_cell(want)}" for name, want, got in cells)
            else:
                told = ", ".join(f"{name}={_cell(want if mark == '-' else got)}" for name, want, got in cells)
            lines.append(f"  {mark} {': '.join(part for part in (key, told) if part)}")
        if not self.passed:
            lines.append(f"  the load: {count_words(self.counts)}")
        return "\n".join(neutral(line, newlines=False) for line in lines)

    def to_html(self) -> str:
        """A small card, with the rows that differ."""
        tone = "ef-good" if self.passed else "ef-bad"
        head = f'<p><b>{escape(self.title())}</b> <span class="{tone}">{escape(self.words())}</span></p>'
        rows, size = [], 0
        for mark, key, cells in self.differences()[:SHOWN]:
            row = f"<tr><td>{mark}</td><td>{escape(key)}</td><td>{_cells_html(cells)}</td></tr>"
            size += len(row.encode())
            if size > HTML_BYTES:
                break
            rows.append(row)
        return framed(head + (f"<table><tbody>{''.join(rows)}</tbody></table>" if rows else ""))


def _cell(value: str | None) -> str:
    return "NULL" if value is None else show(value, 60)


def _cells_html(cells: Sequence[tuple[str, str | None, str | None]]) -> str:
    return "<br>".join(
        f"<small>{escape(name, 60)}</small> expected {escape(_cell(want))}, found {escape(_cell(got))}"
        for name, want, got in cells[:20]
    )


def run_case(case: Case, spec: PipelineSpec, token: CancelToken | None = None) -> CaseResult:
    """Load the given rows into an empty DuckDB database, and compare what its first target holds.

    The pipeline runs as it is declared: mode, keys, cleaning, checks. What belongs to other systems is left out: late
    rows by transaction, partitions, post-transforms, alerts. SQL of other systems is translated to DuckDB's.

    Args:
        case: The test.
        spec: The pipeline.
        token: To stop it from elsewhere.

    Raises:
        FlowError: The load fails, the rows do not fit, or a table of the query has no rows in the test.
    """
    with tempfile.TemporaryDirectory(prefix="ematix-test-") as folder:
        target = DuckDBConnection(name="target", path=str(Path(folder) / "target.duckdb"))
        source = _source(spec, Path(folder), target)
        query = _query(spec, [str(rows.ref) for rows in case.given])
        changes: dict[str, Any] = {"query": query, "source_connection": source, "params": ()}
        changes |= {"late_rows": "overlap", "partition_column": None, "partitions": 1, "depends_on": ()}
        ready = dataclasses.replace(moved(spec, target), **changes)
        if isinstance(source, DuckDBConnection):
            _fill(source, list(case.given))
        else:
            _write_files(Path(folder), list(case.given))
        ref = target_ref(ready.targets[0])
        if case.target is not None:
            _fill(target, [dataclasses.replace(case.target, ref=ref)])
        elif source is not target:
            _fill(target, [])
        done = run_pipeline(ready, trigger="test", token=token)
        counts = done.raise_for_status().counts
        wanted, found = _compared(target, ref, case.expect)
    missing, extra = Counter(wanted) - Counter(found), Counter(found) - Counter(wanted)
    names = tuple(name for name, _ in case.expect.columns)
    keys = spec.targets[0].keys or (spec.targets[0].table.primary_key if spec.targets[0].table else ())
    return CaseResult(
        case.pipeline,
        case.name,
        counts,
        names,
        len(wanted),
        tuple(missing.elements()),
        tuple(extra.elements()),
        tuple(keys),
    )


def _source(spec: PipelineSpec, folder: Path, target: DuckDBConnection) -> Connection:
    """Where the given rows are: files for a source of files, else a database; the target's own where it is one."""
    known = resolve_or_none(spec.source)
    if known is not None and not backend_for(known.kind).capabilities.has_sql:
        (folder / "files").mkdir()
        return ObjectStoreLocalConnection(name="source", path=str(folder / "files"), format="parquet")
    if known is not None and known == resolve_or_none(spec.targets[0].connection):
        return target
    return DuckDBConnection(name="source", path=str(folder / "source.duckdb"))


def resolve_or_none(connection: Any) -> Any:
    """A connection; None when it is not configured where the test runs, which needs none."""
    try:
        return resolve(connection)
    except FlowError:
        return None


def _query(spec: PipelineSpec, given: Sequence[str]) -> Query:
    """The query of a pipeline in DuckDB's words.

    Raises:
        UsageError: It reads a table of which the test gives no rows, or it cannot be translated.
    """
    known = resolve_or_none(spec.source)
    kind = known.kind if known is not None else "duckdb"
    query = spec.query
    if query.sql is not None:
        return dataclasses.replace(query, sql=_translated(spec, query.sql, kind, given))
    if query.function is None:
        if query.source_table not in given:
            raise _not_given(query.source_table or "", given)
        return query
    function = query.function

    @functools.wraps(function)
    def translated(*connections: Any) -> Any:
        found = function(*connections)
        return _translated(spec, found, kind, given) if isinstance(found, str) else found

    return dataclasses.replace(query, function=translated)


def _translated(spec: PipelineSpec, sql: str, kind: str, given: Sequence[str]) -> str:
    import sqlglot
    from sqlglot.errors import SqlglotError

    from ematix_nb.sql.check import check_select, dialect_of
    from ematix_nb.sql.parameters import bind

    dialect = dialect_of(kind)
    bound = bind(sql, dict(spec.params), DIALECT) if spec.params else sql
    checked = check_select(bound, dialect)
    for table in checked.tables if checked.parsed else ():
        if table not in given and not any(table == one.rpartition(".")[2] for one in given):
            raise _not_given(table, given)
    if dialect == _FILES:
        for name in given:
            bound = bound.replace(f'"{name}"', f'"{_file(name)}"')
        return bound
    if dialect == "duckdb":
        return bound
    try:
        return str(sqlglot.transpile(bound, read=dialect, write="duckdb")[0])
    except SqlglotError as error:
        what = f"the query of `{spec.name}` cannot be translated for the test: {str(error).splitlines()[0][:200]}"
        raise UsageError(what, hint="try it with %flow run --sandbox") from None


def _not_given(table: str, given: Sequence[str]) -> UnknownNameError:
    return UnknownNameError(
        f"the test gives no rows of `{table}`", f"add `given {table}`; {known_names(table, list(given), 'tables')}"
    )


def _fill(connection: DuckDBConnection, tables: Sequence[Rows]) -> None:
    """Make the database, and the tables with their rows."""
    session = open_session(connection)
    try:
        for rows in tables:
            ref: TableRef = rows.ref  # type: ignore[assignment]  # the target's rows have been given its name
            if ref.schema:
                session.execute(DIALECT.create_schema(ref.schema))
            columns = [Column(name, _stored(kind)) for name, kind in rows.columns]
            session.execute(DIALECT.create_table(ref, columns))
            for number, row in enumerate(rows.rows, start=1):
                try:
                    session.execute(f"INSERT INTO {DIALECT.table(ref)} VALUES ({_literals(rows, row)})")
                except FlowError as error:
                    what = f"row {number} of `{ref}` does not fit: {error.what.splitlines()[0]}"
                    raise UsageError(what, hint="correct the value or the type behind the column's name") from None
    finally:
        session.close()


def _file(name: str) -> str:
    """The Parquet file, or pattern, in place of a file of another kind; folders and tables keep their names."""
    return f"{name}.parquet" if "." in name and not name.endswith(".parquet") else name


def _write_files(folder: Path, tables: Sequence[Rows]) -> None:
    """Write each table as one Parquet file, with the types of its columns."""
    import pyarrow.parquet as pq

    from ematix_nb.verbs.read import rows_of

    made = DuckDBConnection(name="given", path=str(folder / "given.duckdb"))
    for number, rows in enumerate(tables):
        place = TableRef(None, f"given_{number}")
        _fill(made, [dataclasses.replace(rows, ref=place)])
        session = open_session(made, read_only=True)
        try:
            table = rows_of(session, f"SELECT * FROM {DIALECT.table(place)}", None, None)
        finally:
            session.close()
        name = _file(str(rows.ref)).replace("*", "given")
        path = folder / "files" / (name if name.endswith(".parquet") else f"{name}/given.parquet")
        if not path.resolve().is_relative_to((folder / "files").resolve()):
            raise UsageError(
                f"`given {rows.ref}` lies outside of the connection's folder", hint="given orders/*.parquet"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)


def _stored(kind: DataType | None) -> DataType:
    return DIALECT.store(kind or TEXT).type


def _literals(rows: Rows, row: Sequence[str | None]) -> str:
    pairs = zip(row, rows.columns, strict=True)
    return ", ".join(
        f"CAST({DIALECT.literal(value)} AS {DIALECT.type_sql(_stored(kind))})" for value, (_, kind) in pairs
    )


Texts = list[tuple[str | None, ...]]


def _compared(connection: DuckDBConnection, ref: TableRef, expect: Rows) -> tuple[Texts, Texts]:
    """Expected rows and those of the target, as texts of the target's types."""
    session = open_session(connection, read_only=True)
    try:
        info = session.table(ref)
        have = {column.name: column.type for column in info.columns} if info is not None else {}
        for name, _ in expect.columns:
            if name not in have:
                hint = known_names(name, list(have), "columns")
                raise UnknownNameError(f"the target has no column `{name}`", hint)
        names = [name for name, _ in expect.columns]
        kinds = [DIALECT.type_sql(DIALECT.store(have[name]).type) for name in names]
        listed = ", ".join(f"CAST({DIALECT.quote(name)} AS VARCHAR)" for name in names)
        found = session.fetch(f"SELECT {listed} FROM {DIALECT.table(ref)}")
        wanted = []
        for number, row in enumerate(expect.rows, start=1):
            cells = ", ".join(
                f"CAST(CAST({DIALECT.literal(value)} AS {kind}) AS VARCHAR)"
                for value, kind in zip(row, kinds, strict=True)
            )
            try:
                wanted += session.fetch(f"SELECT {cells}")
            except FlowError as error:
                what = f"row {number} of `expect` does not fit the target: {error.what.splitlines()[0]}"
                raise UsageError(what, hint="write values of the target's types") from None
        return [tuple(row) for row in wanted], [tuple(row) for row in found]
    finally:
        session.close()


def failure(result: CaseResult) -> RunError | None:
    """The error of a test that failed; None when it passed."""
    return None if result.passed else RunError(f"{result.title()} {result.words()}")
