"""The checks of a pipeline: planned against the columns of a load, and held against its rows before the commit.

``not_null``, ``between`` and conditions look at the rows of the load; ``unique``, ``freshness`` and ``row_count`` at
the target as the load leaves it; a SELECT reads whichever it names (``loaded``, ``target``).
"""

from __future__ import annotations

import datetime as dt
import decimal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb.connections import redact
from ematix_nb.declare.checks import QUARANTINE, WARN
from ematix_nb.declare.data_types import BOOLEAN, INTEGER_KINDS
from ematix_nb.declare.spec import IS_CURRENT, Column, TableRef
from ematix_nb.errors import CancelledError, CheckFailedError, DeclarationError, FlowError, TransientError, did_you_mean
from ematix_nb.load import window as windows
from ematix_nb.load.conversions import plain_text
from ematix_nb.sql.check import Checked, check_select
from ematix_nb.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ematix_nb.declare.checks import Bound, Check
    from ematix_nb.declare.data_types import DataType
    from ematix_nb.declare.spec import PipelineSpec
    from ematix_nb.load.plan import LoadPlan
    from ematix_nb.load.targets import TargetSide

LOADED, TARGET = "loaded", "target"
"""What a SELECT of wrong rows calls the rows of the load, and the table after it."""
SAMPLES = 5
SHOWN_COLUMNS = 6
SHOWN = 40
"""Characters of a value in a message."""
NUMBERS = (*INTEGER_KINDS, "numeric", "float", "double")
TIMES = ("date", "timestamp", "timestamptz")
OWN_ENGINE = "duckdb"
"""Whose SQL checks of targets without SQL are in."""


@dataclass(frozen=True)
class CheckResult:
    """How one check of one load ended."""

    check: str
    """The check as a call."""
    status: str
    """``passed``, ``warned`` or ``failed``."""
    rows: int = 0
    """Rows that break it (of ``unique``: keys that are there more than once)."""
    told: str = ""
    """For people: what was found, with up to five rows."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"check": self.check, "status": self.status, "rows": self.rows, "told": self.told}


def on_target(check: Check, dialect: str = OWN_ENGINE) -> bool:
    """Whether a check has to see the target, not just the rows of the load."""
    if check.name == "sql":
        return check.is_select and TARGET in _names(select_of(check, dialect))
    return check.name in ("unique", "freshness", "row_count")


def held_against_rows(checks: Sequence[Check]) -> tuple[Check, ...]:
    """The checks that are made when the rows are there; those with ``quarantine`` are made on their way."""
    return tuple(check for check in checks if check.on_fail != QUARANTINE)


# -- planning -----------------------------------------------------------------------------------------------------


def plan_checks(spec: PipelineSpec, side: TargetSide, data: Sequence[Column], meta: Sequence[str]) -> tuple[Check, ...]:
    """The checks of a load, refused where they cannot be made on this target.

    Args:
        spec: Declares them.
        side: The target.
        data: The columns that it gets from the source.
        meta: The engine's own columns that it gets.

    Raises:
        DeclarationError: A check names a column that is not there, compares what has no order, or its SQL is wrong.
    """
    kinds = {column.name: column.type for column in data}
    there = {column.name: column.type for column in side.info.columns} if side.info is not None else {}
    for check in spec.all_checks:
        if check.name == "sql":
            _plan_sql(check, side)
            continue
        known = list(kinds)
        if on_target(check):
            # of a folder only the columns of the load are read again
            known = list(dict.fromkeys((*kinds, *(there if side.capabilities.executor != "files" else ()), *meta)))
        for name in check.columns:
            if name not in known:
                message = f"check `{check}` names column `{name}`, which the {_place(check)} does not have"
                raise DeclarationError(message, did_you_mean(name, known) or f"it has {', '.join(known)}")
        if check.name == "between":
            _plan_between(check, kinds[check.columns[0]])
        elif check.name == "freshness":
            _plan_freshness(check, {**there, **kinds}.get(check.columns[0]))
    return tuple(spec.all_checks)


def _place(check: Check) -> str:
    return "target" if on_target(check) else "load"


def _dialect(side: TargetSide) -> str:
    return str(side.dialect.name) if side.capabilities.has_sql else OWN_ENGINE


def _plan_between(check: Check, kind: DataType) -> None:
    name = check.columns[0]
    if kind.kind not in (*NUMBERS, *TIMES):
        message = f"check `{check}`: column `{name}` is {kind}; between() compares numbers, dates and times"
        raise DeclarationError(message, 'say it in SQL: checks.sql("...")')
    for bound in (check.low, check.high):
        if bound is not None:
            bound_value(check, bound, kind)


def bound_value(check: Check, bound: Bound, kind: DataType) -> Any:
    """A bound as a value of the column's kind: a decimal, a date or a time.

    Raises:
        DeclarationError: It is none.
    """
    found = _number(bound) if kind.kind in NUMBERS else _moment(bound)
    if found is None:
        wanted = "a number" if kind.kind in NUMBERS else "a date or a time as ISO 8601 text"
        message = f"check `{check}`: the bound {bound!r} is not {wanted}, and column `{check.columns[0]}` is {kind}"
        raise DeclarationError(message, "write 100, 0.5, or 2026-01-31T12:00:00Z in quotes")
    return found if isinstance(found, decimal.Decimal) else _of_kind(found, kind)


def _number(bound: Bound) -> decimal.Decimal | None:
    try:
        found = decimal.Decimal(str(bound))
    except decimal.InvalidOperation:
        return None
    return found if found.is_finite() else None


def _moment(bound: Bound) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(bound) if isinstance(bound, str) else None
    except ValueError:
        return None


def _of_kind(moment: dt.datetime, kind: DataType) -> dt.datetime | dt.date:
    if kind.kind == "date":
        return moment.date()
    if kind.kind == "timestamptz":
        return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    return moment.astimezone(dt.UTC).replace(tzinfo=None) if moment.tzinfo is not None else moment


def _plan_freshness(check: Check, kind: DataType | None) -> None:
    if kind is not None and kind.kind not in TIMES:
        message = f"check `{check}`: column `{check.columns[0]}` is {kind}; freshness() needs a date or a timestamp"
        raise DeclarationError(message, "name another column, or cast it in the SELECT")


def select_of(check: Check, dialect: str) -> Checked:
    """The SELECT of the rows that break an SQL check.

    Raises:
        SqlError: It is not one SELECT that only reads.
    """
    if check.is_select:
        return check_select(check.text, dialect)
    return check_select(f"SELECT * FROM {LOADED} WHERE NOT (\n{check.text}\n)", dialect)


def _names(checked: Checked) -> set[str]:
    """Which of the two tables a SELECT reads; both when that is not known."""
    if not checked.parsed:
        return {LOADED, TARGET}
    return {name.lower() for name in checked.tables} & {LOADED, TARGET}


def _plan_sql(check: Check, side: TargetSide) -> None:
    try:
        checked = select_of(check, _dialect(side))
    except FlowError as error:
        raise DeclarationError(f"check `{check}`: {error.what}", error.hint, error.where) from None
    if side.capabilities.has_sql or not checked.parsed:
        return
    for name in checked.tables:
        if name.lower() not in (LOADED, TARGET):
            message = f"check `{check}` reads `{name}`, and beside `{side.connection}` there are no other tables"
            raise DeclarationError(
                message, f"read `{LOADED}` (the rows of the load) and `{TARGET}` (the table after it)"
            )


# -- holding rows against them ------------------------------------------------------------------------------------


class SqlChecks:
    """Makes the checks of one load in the session that holds its rows, and the target as it leaves it.

    Args:
        plan: The load; its columns are those of both tables.
        session: Inside the transaction of the load.
        now: When the run started.
        stage: The rows of the load.
        target: The table after it.
    """

    def __init__(self, plan: LoadPlan, session: Any, now: dt.datetime, stage: TableRef, target: TableRef) -> None:
        self._plan = plan
        self._session = session
        self._dialect = session.dialect
        self._now = now
        self._stage = self._dialect.table(stage)
        self._loaded = f"{self._stage} AS {self._dialect.quote(LOADED)}"
        self._target = self._dialect.table(target)
        self._names = [column.name for column in plan.data if column.name not in plan.hidden]
        self._kinds = {column.name: column.type for column in plan.data}

    def results(self) -> tuple[CheckResult, ...]:
        """How each check ended, in the order of their declaration.

        Raises:
            FlowError: The statement of a check is refused by the system; names the check.
        """
        found = []
        for check in held_against_rows(self._plan.checks):
            try:
                rows, told = getattr(self, f"_{check.name}")(check)
            except (CancelledError, TransientError):
                raise
            except FlowError as error:
                raise type(error)(f"check `{check}`: {error.what}", error.hint, error.where) from error
            status = "passed" if not told else "warned" if check.on_fail == WARN else "failed"
            found.append(CheckResult(str(check), status, rows, redact(told)))
        return tuple(found)

    # -- the rows of the load ---------------------------------------------------------------------------------

    def _not_null(self, check: Check) -> tuple[int, str]:
        wrong = " OR ".join(f"{self._dialect.quote(name)} IS NULL" for name in check.columns)
        return self._rows(check, wrong)

    def _between(self, check: Check) -> tuple[int, str]:
        name = check.columns[0]
        kind = self._kinds[name]
        pairs = (("<", check.low), (">", check.high))
        wrong = [self._beyond(check, name, kind, sign, bound) for sign, bound in pairs if bound is not None]
        return self._rows(check, " OR ".join(wrong))

    def _beyond(self, check: Check, name: str, kind: DataType, sign: str, bound: Bound) -> str:
        value = bound_value(check, bound, kind)
        if isinstance(value, decimal.Decimal):
            return str(self._dialect.beyond(self._dialect.quote(name), kind, sign, value))
        return windows.compared(self._dialect, name, kind, sign, windows.text(value))

    def _rows(self, check: Check, wrong: str) -> tuple[int, str]:
        """Count the rows that are wrong, and show some: their keys and what is checked, never whole rows."""
        rows = int(self._session.fetch(f"SELECT count(*) FROM {self._loaded} WHERE {wrong}")[0][0])
        if not rows:
            return 0, ""
        names = list(dict.fromkeys((*(self._plan.keys or self._names[:2]), *check.columns)))
        shown = [*names[: SHOWN_COLUMNS - len(check.columns)], *check.columns]
        names = list(dict.fromkeys(shown))
        texts = ", ".join(self._as_text(name) for name in names)
        found = self._session.fetch(f"SELECT {texts} FROM {self._loaded} WHERE {wrong} LIMIT {SAMPLES}")
        return rows, _told(rows, "row breaks it", "rows break it", names, found)

    def _as_text(self, name: str) -> str:
        return str(self._dialect.as_text(self._dialect.quote(name), self._kinds[name]))

    # -- SQL --------------------------------------------------------------------------------------------------

    def _sql(self, check: Check) -> tuple[int, str]:
        checked = select_of(check, self._dialect.name)
        if not check.is_select:
            return self._rows(check, f"NOT (\n{check.text}\n)")
        quote = self._dialect.quote
        tables = {LOADED: f"SELECT {self._dialect.columns(self._names)} FROM {self._stage}"}
        tables[TARGET] = f"SELECT * FROM {self._target}"
        used = [f"{quote(name)} AS (\n{tables[name]}\n)" for name in sorted(_names(checked))]
        head = f"WITH {', '.join(used)}\n" if used else ""
        source = self._dialect.wrap(checked.sql, "wrong")
        rows = int(self._session.fetch(f"{head}SELECT count(*) FROM {source}")[0][0])
        if not rows:
            return 0, ""
        found = self._session.fetch(f"{head}SELECT * FROM {source} LIMIT {SAMPLES}")
        names = list(checked.select_names or self._names)
        if found and len(names) != len(found[0]):
            names = [str(number) for number in range(1, len(found[0]) + 1)]
        return rows, _told(rows, "row is wrong", "rows are wrong", names, found)

    # -- the target -------------------------------------------------------------------------------------------

    def _current(self, head: str = "WHERE") -> str:
        """Of a table with versions only the current ones count."""
        if self._plan.mode != "scd2":
            return ""
        return f" {head} {self._dialect.quote(IS_CURRENT)} = {self._dialect.literal(True, BOOLEAN)}"

    def _unique(self, check: Check) -> tuple[int, str]:
        dialect = self._dialect
        quoted = {name: dialect.quote(name) for name in check.columns}
        kinds = self._target_kinds(check.columns)
        grouped = ", ".join(dialect.comparable(quoted[name], kinds[name]) for name in check.columns)
        texts = ", ".join(
            f"{dialect.as_text(quoted[name], kinds[name])} AS {dialect.quote(f'c{index}')}"
            for index, name in enumerate(check.columns)
        )
        given = " AND ".join(f"{name} IS NOT NULL" for name in quoted.values())
        twice = (
            f"SELECT {texts}, count(*) AS {dialect.quote('times')} FROM {self._target} WHERE {given}"
            f"{self._current('AND')} GROUP BY {grouped} HAVING count(*) > 1"
        )
        rows = int(self._session.fetch(f"SELECT count(*) FROM {dialect.wrap(twice, 'twice')}")[0][0])
        if not rows:
            return 0, ""
        found = self._session.fetch(f"{twice} LIMIT {SAMPLES}")
        names = [*check.columns, "times"]
        return rows, _told(rows, "key is there more than once", "keys are there more than once", names, found)

    def _target_kinds(self, names: Sequence[str]) -> dict[str, DataType]:
        """The types of columns of the target, which may have some that the load does not give."""
        if all(name in self._kinds for name in names):
            return self._kinds
        info = self._session.table(self._plan.ref)
        return {**{column.name: column.type for column in info.columns}, **self._kinds}

    def _freshness(self, check: Check) -> tuple[int, str]:
        dialect = self._dialect
        (name,) = check.columns
        kind = self._target_kinds(check.columns)[name]
        newest = f"max({dialect.ordered(dialect.quote(name), kind)})"
        query = f"SELECT {dialect.as_text(newest, kind)} FROM {self._target}{self._current()}"
        top = self._session.fetch(query)[0][0]
        if top is None:
            return 0, f"the target has no value in `{name}`"
        value = windows.parse(str(top), kind)
        if not isinstance(value, dt.datetime):  # a date holds until its end
            value = dt.datetime.combine(value, dt.time.max)
        moment = value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value
        age = self._now - moment
        if check.max_age is None or age <= check.max_age:
            return 0, ""
        return 0, f"the newest `{name}` is {windows.text(windows.parse(str(top), kind))}, {_age(age)} before this run"

    def _row_count(self, check: Check) -> tuple[int, str]:
        rows = int(self._session.fetch(f"SELECT count(*) FROM {self._target}{self._current()}")[0][0])
        low, high = check.low, check.high
        if (low is None or rows >= int(low)) and (high is None or rows <= int(high)):
            return rows, ""
        bounds = [f"{word} {bound:,}" for word, bound in (("at least", low), ("at most", high)) if bound is not None]
        return rows, f"the target would have {counted(rows, 'row')}; wanted: {' and '.join(bounds)}"


def _age(age: dt.timedelta) -> str:
    return str(dt.timedelta(seconds=int(age.total_seconds())))


def _told(rows: int, one: str, several: str, names: Sequence[str], found: Sequence[Sequence[Any]]) -> str:
    shown = [
        ", ".join(f"{name}={_value(value)}" for name, value in list(zip(names, row, strict=True))[:SHOWN_COLUMNS])
        for row in found
    ]
    more = f"; and {rows - len(shown):,} more" if rows > len(shown) else ""
    return f"{counted(rows, one, several)}: {'; '.join(shown)}{more}"


def _value(value: Any) -> str:
    if value is None:
        return "NULL"
    text = plain_text(value).replace("\n", " ")
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def settle(results: Sequence[CheckResult]) -> list[str]:
    """The warnings of a load's checks.

    Raises:
        CheckFailedError: Names every check that failed, with some of the rows.
    """
    failed = [result for result in results if result.status == "failed"]
    if failed:
        words = "\n  ".join(f"`{result.check}`: {result.told}" for result in failed)
        message = f"{counted(len(failed), 'check')} failed; nothing was written\n  {words}"
        hint = (
            "correct the rows or the check; on_fail='warn' loads them all the same, --no-checks skips the checks once"
        )
        raise CheckFailedError(message, hint)
    return [f"check `{result.check}`: {result.told}" for result in results if result.status == "warned"]


__all__ = ["CheckResult", "SqlChecks", "on_target", "plan_checks", "settle"]
