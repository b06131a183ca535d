"""The state machine: a source that changes, and runs that are looked at, repeated, cut short and overtaken.

After each of them the target is what `tests.properties.oracle` says.
"""

from __future__ import annotations

import copy
import datetime as dt
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ematix_nb.errors import FlowError, LockedError
from ematix_nb.load import failpoints
from ematix_nb.load.failpoints import STEPS
from ematix_nb.testing import install_from
from ematix_nb.verbs.preview import preview
from ematix_nb.verbs.run import run
from tests.crash.child import declared
from tests.crash.world import _context as forkserver
from tests.properties.child import FAILED, Time, killed
from tests.properties.oracle import CURRENT, Oracle, RefusedError, Row, Rules, check_versions
from tests.properties.places import SOURCE, TARGET, Place

if TYPE_CHECKING:
    from ematix_nb.declare.spec import PipelineSpec
    from ematix_nb.verbs.results import RunResult

MINUTE = dt.timedelta(minutes=1)
LONG_AGO = dt.datetime(2024, 3, 30, 23, 50, tzinfo=dt.UTC)
OVERLAP = 10 * MINUTE
COMMITTED = STEPS[STEPS.index("commit") : STEPS.index("post_transform")]
BEFORE_TRANSACTION = ("lock", "read_state", "open_source", "stage_create", "fetch", "stage_write", "stage_done")
KILLED = -9
EXAMPLES_A_KILL = 3
"""A process of its own takes as long as many runs: one in so many examples."""
WATERMARK = {"incremental": True, "watermark_column": "at"}


@dataclass(frozen=True)
class Case:
    """One declaration, for the oracle and for the engine."""

    rules: Rules
    options: dict[str, Any] = field(default_factory=dict)


CASES = {
    "append": Case(Rules("append")),
    "append with a watermark": Case(Rules("append", watermark="at", overlap=OVERLAP), WATERMARK),
    "append with keys": Case(Rules("append", watermark="at", overlap=OVERLAP), {"keys": ("id",), **WATERMARK}),
    "truncate": Case(Rules("truncate")),
    "truncate to nothing": Case(Rules("truncate", apply_empty=True), {"empty_source": "apply"}),
    "merge": Case(Rules("merge", ("id",)), {"keys": ("id",)}),
    "merge by two keys": Case(Rules("merge", ("id", "v")), {"keys": ("id", "v")}),
    "merge with deletes": Case(Rules("merge", ("id",), deletes=True), {"keys": ("id",), "handle_deletes": "hard"}),
    "merge with a watermark": Case(
        Rules("merge", ("id",), watermark="at", overlap=OVERLAP), {"keys": ("id",), **WATERMARK}
    ),
    "merge that compares": Case(
        Rules("merge", ("id",), compare=("v",), newest_by="at"),
        {"keys": ("id",), "compare_columns": ["v"], "dedup_by": "at"},
    ),
    "merge that updates": Case(Rules("merge", ("id",), update=("v",)), {"keys": ("id",), "update_columns": ["v"]}),
    "scd2": Case(Rules("scd2", ("id",)), {"keys": ("id",)}),
    "scd2 that compares": Case(Rules("scd2", ("id",), compare=("v",)), {"keys": ("id",), "compare_columns": ["v"]}),
    "scd2 with deletes": Case(Rules("scd2", ("id",), deletes=True), {"keys": ("id",), "handle_deletes": "soft"}),
    "scd2 by event time": Case(Rules("scd2", ("id",), event="at"), {"keys": ("id",), "event_timestamp_column": "at"}),
    "scd2 by event time with deletes": Case(
        Rules("scd2", ("id",), event="at", deletes=True),
        {"keys": ("id",), "event_timestamp_column": "at", "handle_deletes": "soft"},
    ),
}  # fmt: skip

ids = st.integers(1, 3)
texts = st.sampled_from(["x", "y", "", None])
moments = st.none() | st.integers(0, 40).map(lambda minutes: LONG_AGO + minutes * MINUTE)
positions = st.integers(0, 20)
source_rows = st.fixed_dictionaries({"id": ids, "v": texts, "at": moments, "more": texts})


class Loads(RuleBasedStateMachine):
    """One pipeline on one place."""

    place: ClassVar[Place]
    done: ClassVar[Counter[str]] = Counter()
    """How often each thing was done, in all examples."""

    @initialize(case=st.sampled_from(tuple(CASES)), turn=st.integers(1, EXAMPLES_A_KILL))
    def declare(self, case: str, turn: int) -> None:
        """A pipeline into a target that is not there yet."""
        self.case = CASES[case]
        self.place.fresh()
        self.oracle = Oracle(self.case.rules)
        self.source: list[Row] = []
        self.columns: tuple[str, ...] = ("id", "v", "at")
        self.changes = self.place.pace
        """Of the source, since it was written."""
        self.untouched = False
        """Whether nothing changed since the last run that committed."""
        self.options = {
            "name": "load",
            "target": f"target:{TARGET}",
            "source_connection": "source",
            "sql": f"SELECT * FROM {SOURCE}",
            "mode": self.case.rules.mode,
            **self.case.options,
        }
        self.spec: PipelineSpec = declared(self.options, self.place.target_url, self.place.source_url)
        self.done["example"] += 1
        self.may_kill = turn == EXAMPLES_A_KILL

    # -- the source -------------------------------------------------------------------------------------------

    @rule(rows=st.lists(source_rows, min_size=1, max_size=3))
    def insert(self, rows: list[Row]) -> None:
        """New rows, perhaps for keys that are there, perhaps early ones."""
        self.source += [self._fitting(row) for row in rows]
        self._change()

    @precondition(lambda self: self.source)
    @rule(position=positions, row=source_rows)
    def update(self, position: int, row: Row) -> None:
        """Other values for a row; its place stays."""
        at = position % len(self.source)
        self.source[at] = {**self._fitting(row), "id": self.source[at]["id"]}
        self._change()

    @precondition(lambda self: self.source)
    @rule(position=positions)
    def delete(self, position: int) -> None:
        """A row goes."""
        del self.source[position % len(self.source)]
        self._change()

    @precondition(lambda self: self.source)
    @rule(position=positions)
    def duplicate(self, position: int) -> None:
        """A row is there twice."""
        self.source.append(dict(self.source[position % len(self.source)]))
        self._change()

    @precondition(lambda self: len(self.source) > 1)
    @rule(position=positions)
    def reorder(self, position: int) -> None:
        """The rows come in another order."""
        at = position % len(self.source)
        self.source = [*self.source[at:], *reversed(self.source[:at])]
        self._change()

    @precondition(lambda self: self.source)
    @rule()
    def empty(self) -> None:
        """All rows go."""
        self.source = []
        self._change()

    @rule(turn=st.booleans())
    def change_schema(self, turn: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
        """A column comes or goes, and the others stand in another order."""
        columns = set(self.columns) ^ {"more"}
        self.columns = tuple(sorted(columns, reverse=turn))
        self.source = [self._fitting(row) for row in self.source]
        self._change()

    def _fitting(self, row: Row) -> Row:
        """The row with the columns that the source has; the times of versions are given."""
        found = {name: row.get(name) for name in self.columns}
        if self.case.rules.event and found["at"] is None:
            found["at"] = LONG_AGO
        if "v" in self.case.rules.keys and found["v"] is None:
            found["v"] = ""
        return found

    @property
    def is_changed(self) -> bool:
        """Whether a run is worth its time."""
        return self.changes >= self.place.pace

    def _change(self) -> None:
        self.changes += 1
        self.untouched = False

    # -- runs -------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.is_changed)
    @rule()
    def run(self) -> None:
        """One run."""
        expected = self._expected()
        self._settle(expected, self._result())

    @precondition(
        lambda self: self.untouched and not (self.case.rules.mode == "append" and not self.case.rules.watermark)
    )
    @rule()
    def run_again(self) -> None:
        """A run after which nothing is other than before."""
        before = bag(self.place.rows())
        expected = self._expected()
        result = self._result()
        self._settle(expected, result)
        changed = {"inserted", "updated", "closed", "deleted"}
        # rows without a watermark are read each time: one of them may be all that is read of its key
        if expected is not None and bag(expected.rows) == before:
            assert not any(result.counts[f"rows_{name}"] for name in changed), result.counts
        else:
            assert self.case.rules.mode == "truncate" or any(row["at"] is None for row in self.source)

    @precondition(lambda self: self.case.rules.watermark)
    @rule()
    def run_whole(self) -> None:
        """One run that reads everything."""
        expected = self._expected(full=True)
        self._settle(expected, self._result(full_refresh=True))

    @precondition(lambda self: self.is_changed)
    @rule(step=st.sampled_from(STEPS[:-1]), how=st.sampled_from(["raise", "raise:memory", "raise:user", "interrupt"]))
    def fail(self, step: str, how: str) -> None:
        """An error in the middle of a run: before the commit nothing of it stays, after it all does."""
        expected = self._expected()
        visits = install_from(f"{step}={how}")
        try:
            result = run(self.spec)
            committed = result.status == "success"
        except (KeyboardInterrupt, MemoryError, ValueError):
            committed = step in COMMITTED
        finally:
            failpoints.install(None)
        self.done[f"fail at {step}" if visits[step] else "fail at no step"] += 1
        if visits[step]:
            assert committed == (step in COMMITTED)
        elif expected is not None:
            assert committed
        self._after(expected if committed else self.oracle)

    @precondition(lambda self: self.is_changed and self.may_kill)
    @rule(step=st.sampled_from(STEPS[:-1]))
    def kill(self, step: str) -> None:
        """The process of a run ends in the middle of it; the next run takes over."""
        self.may_kill = False
        expected = self._expected()
        urls = (self.place.target_url, self.place.source_url)
        process = forkserver.Process(target=killed, args=(self.options, urls, f"{step}=kill", Time.current))
        process.start()
        process.join(60)
        assert process.exitcode in ((KILLED, 0) if expected is not None else (KILLED, FAILED))
        committed = expected is not None and (process.exitcode == 0 or step in COMMITTED)
        self.done[f"kill at {step}" if process.exitcode == KILLED else "kill at no step"] += 1
        self.oracle = expected if committed and expected is not None else self.oracle
        self._compare()
        self.run()

    @precondition(lambda self: self.is_changed)
    @rule(step=st.sampled_from((*BEFORE_TRANSACTION, "release")))
    def run_beside(self, step: str) -> None:
        """A second run starts while the first one works: it is told to wait, or it comes after."""
        expected = self._expected()
        other: list[RunResult | LockedError] = []

        def start() -> None:
            try:
                other.append(self._result())
            except LockedError as error:
                other.append(error)

        result = self._interrupted(step, start)
        if step != "release" or not other:
            self._settle(expected, result)
            assert all(isinstance(one, LockedError) for one in other)
            return
        assert result.status == "success"
        assert expected is not None
        assert not isinstance(other[0], LockedError)
        expected.run(self.source, self.columns, Time.current)
        self._settle(expected, other[0])

    @precondition(lambda self: self.is_changed and self.place.overtaken)
    @rule(step=st.sampled_from(BEFORE_TRANSACTION))
    def overtake(self, step: str) -> None:
        """A run hangs until its lease is over; another one takes it and commits: the first one must not."""
        expected = self._expected()
        other: list[RunResult] = []

        def start() -> None:
            self.place.expire_lease()
            other.append(self._result())

        result = self._interrupted(step, start)
        if not other:
            self._settle(expected, result)
            return
        assert result.status == "failed"
        self._settle(expected, other[0])

    @precondition(lambda self: self.is_changed)
    @rule()
    def look(self) -> None:
        """A preview and a dry run write nothing; what the dry run counts is what the run does."""
        self._expected()
        before = self.place.everything()
        seen: RunResult | None = None
        try:
            preview(self.spec)
            seen = run(self.spec, dry=True)
        except FlowError:
            seen = None
        assert self.place.everything() == before
        expected = self._expected()
        result = self._result()
        self._settle(expected, result)
        if seen is not None and seen.status == "dry-run":
            assert {name: rows for name, rows in seen.counts.items() if rows} == {
                name: rows for name, rows in result.counts.items() if rows
            }

    # -- what holds -------------------------------------------------------------------------------------------

    @invariant()
    def versions_are_in_order(self) -> None:
        """Of the oracle, and so of each target that equals it."""
        if getattr(self, "oracle", None) is not None and any(CURRENT in row for row in self.oracle.rows):
            check_versions(self.oracle.rows, self.case.rules.keys)

    def _expected(self, *, full: bool = False) -> Oracle | None:
        """The source as it is now is written; what the target has to be after a run that starts now; None: it fails."""
        if self.changes:
            self.place.tables.give(self.columns, self.source)
            self.changes = 0
        after = copy.deepcopy(self.oracle)
        try:
            after.run(self.source, self.columns, Time.next(), full=full)
        except RefusedError:
            return None
        return after

    def _result(self, **options: Any) -> RunResult:
        try:
            return run(self.spec, **options)
        finally:
            self.done["run"] += 1

    def _interrupted(self, step: str, start: Any) -> RunResult:
        """A run in the middle of which something else happens, once."""

        def reached(found: str) -> None:
            if found == step:
                failpoints.install(None)
                start()

        failpoints.install(reached)
        try:
            return self._result()
        finally:
            failpoints.install(None)

    def _settle(self, expected: Oracle | None, result: RunResult) -> None:
        """A run ended as it had to."""
        told = [str(outcome.error) for outcome in result.targets if outcome.error]
        assert (result.status == "success") == (expected is not None), told
        self._after(expected)

    def _after(self, expected: Oracle | None) -> None:
        """The target holds what it has to; None: what it held before."""
        if expected is not None:
            self.untouched = self.untouched or expected is not self.oracle
            self.oracle = expected
        self._compare()
        assert self.place.rest() == []
        if self.oracle.watermark is not None:
            assert dt.datetime.fromisoformat(self.place.watermark() or "") == self.oracle.watermark

    def _compare(self) -> None:
        found, wanted = bag(self.place.rows()), bag(self.oracle.rows)
        assert found == wanted, f"too many: {shown(found - wanted)}\nmissing: {shown(wanted - found)}"


def shown(rows: Counter[Any]) -> str:
    """Rows for the message of a failure."""
    return "".join(f"\n  {dict(sorted(row))} {count} times" for row, count in rows.items())


def bag(rows: list[Row]) -> Counter[Any]:
    """Rows without their order; columns that are NULL are as good as none."""
    return Counter(frozenset((name, value) for name, value in row.items() if value is not None) for row in rows)
