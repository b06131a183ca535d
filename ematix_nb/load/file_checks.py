"""Checks of a load into a folder of files: made in a database of the run's own, before anything is published."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.duckdb import open_scratch
from ematix_nb.backends.scratch import scratch_folder
from ematix_nb.declare.data_types import to_arrow
from ematix_nb.declare.spec import Column, TableRef
from ematix_nb.errors import FlowError
from ematix_nb.load.batches import META_TYPES
from ematix_nb.load.checks import SqlChecks, held_against_rows, on_target
from ematix_nb.load.conversions import caster

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from ematix_nb.load.checks import CheckResult
    from ematix_nb.load.context import RunContext
    from ematix_nb.load.plan import LoadPlan

STAGE = TableRef(None, "ematix_stage")
TARGET = TableRef(None, "ematix_target")
MEMORY_BYTES = 512_000_000


class FileChecks:
    """Keeps the rows that a load adds, and makes its checks on them and on the folder as the load would leave it."""

    def __init__(self, plan: LoadPlan, session: Any, thing: str, context: RunContext) -> None:
        self._plan = plan
        self._files = session
        self._thing = thing
        self._context = context
        self._folder = scratch_folder("checks")
        self._session: Any = open_scratch(str(Path(self._folder) / "spilled"))
        context.token.on_cancel(self._session.interrupt)
        self._session.execute(f"SET memory_limit = '{MEMORY_BYTES // 1_000_000}MB'")
        given = [column for column in plan.data if column.name not in plan.hidden]
        given += [Column(name, session.store(META_TYPES[name]).type) for name in plan.meta]
        store = self._session.dialect.store
        self._columns = [Column(column.name, store(column.type).type) for column in given]
        self._casts = [
            caster(column.name, column.type, stored.type) for column, stored in zip(given, self._columns, strict=True)
        ]
        self._session.execute(self._session.dialect.create_table(STAGE, self._columns))

    def kept(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pass rows on to where they are written, and keep them."""
        import pyarrow as pa

        names = [column.name for column in self._columns]
        for batch in batches:
            arrays = [cast(batch.column(name), 0) for name, cast in zip(names, self._casts, strict=True)]
            self._session.write(STAGE, self._columns, [pa.RecordBatch.from_arrays(arrays, names=names)])
            yield batch

    def results(self, *, replaces: bool, kept_empty: bool) -> tuple[CheckResult, ...]:
        """How each check ended.

        Args:
            replaces: The new rows take the place of those in the folder.
            kept_empty: Nothing is published: the folder stays as it is.

        Raises:
            FlowError: A statement is refused; names the check.
        """
        checks = held_against_rows(self._plan.checks)
        needed = self._needed([check for check in checks if on_target(check)])
        if needed:
            dialect = self._session.dialect
            columns = [column for column in self._columns if column.name in needed]
            self._session.execute(dialect.create_table(TARGET, columns))
            if kept_empty or not replaces:
                self._fetch(columns)
            names = dialect.columns([column.name for column in columns])
            target, stage = dialect.table(TARGET), dialect.table(STAGE)
            self._session.execute(f"INSERT INTO {target} ({names}) SELECT {names} FROM {stage}")
        plan = dataclasses.replace(self._plan, ref=TARGET, data=self._data())
        return SqlChecks(plan, self._session, self._context.started, STAGE, TARGET).results()

    def _data(self) -> tuple[Column, ...]:
        """The columns of the load as this database has them; the engine's own are not the load's."""
        return tuple(column for column in self._columns if column.name not in self._plan.meta)

    def _needed(self, checks: list[Any]) -> set[str]:
        """The columns of the folder that checks of it look at; one when they only count."""
        if not checks:
            return set()
        if any(check.name == "sql" for check in checks):
            return {column.name for column in self._columns}
        named = {name for check in checks for name in check.columns}
        return named or {self._columns[0].name}

    def _fetch(self, columns: list[Column]) -> None:
        """The rows that are in the folder now; a column that they lack is NULL."""
        import pyarrow as pa

        from ematix_nb.errors import UnknownNameError
        from ematix_nb.query import open_file_query

        session = open_file_query(self._files)
        try:
            have = {column.name: column for column in session.describe(self._select(session, "*"))}
        except UnknownNameError:
            return
        found = [column for column in columns if column.name in have] or [columns[0]]
        if found[0].name not in have:
            listed, given = "*", list(have.values())
        else:
            listed, given = session.dialect.columns([one.name for one in found]), [have[one.name] for one in found]
        casts = {one.name: caster(one.name, have[one.name].type, one.type) for one in found if one.name in have}
        names = [column.name for column in columns]
        for batch in session.read(self._select(session, listed), given):
            self._context.token.check()
            arrays = [
                casts[one.name](batch.column(one.name), 0)
                if one.name in casts
                else pa.nulls(batch.num_rows, to_arrow(one.type))
                for one in columns
            ]
            self._session.write(TARGET, columns, [pa.RecordBatch.from_arrays(arrays, names=names)])

    def _select(self, session: Any, listed: str) -> str:
        return f"SELECT {listed} FROM {session.dialect.quote(self._thing)}"

    def close(self) -> None:
        """Remove the database; may be called twice."""
        self._context.token.remove(self._session.interrupt)
        with contextlib.suppress(FlowError):
            self._session.close()
        shutil.rmtree(self._folder, ignore_errors=True)
