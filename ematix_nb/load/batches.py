"""The source's rows on their way: cast, counted, watched for the watermark, stopped when asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ematix_nb.backends.base import Verdict
from ematix_nb.declare.arrow_values import constant, moment, text
from ematix_nb.declare.data_types import TIMESTAMPTZ, UUID, Stored
from ematix_nb.declare.spec import BATCH_ID, LOADED_AT
from ematix_nb.events import SILENT, BatchRead
from ematix_nb.load import window as windows
from ematix_nb.load.conversions import caster, nulls
from ematix_nb.load.failpoints import failpoint
from ematix_nb.load.partitions import read_in_partitions
from ematix_nb.load.quarantine import Held
from ematix_nb.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from ematix_nb.declare.data_types import DataType
    from ematix_nb.load.context import RunContext
    from ematix_nb.load.plan import LoadPlan
    from ematix_nb.load.source import OpenSource

NUL = "\x00"
META_TYPES = {LOADED_AT: TIMESTAMPTZ, BATCH_ID: UUID}


class SourceBatches:
    """Reads the source of one plan once.

    Args:
        plan: What is read.
        source: From where.
        context: Of the run.
        store: How the target stores a type.
        encoded: The target takes columns of one value as dictionaries (``Capabilities.takes_dictionaries``).
    """

    def __init__(
        self,
        plan: LoadPlan,
        source: OpenSource,
        context: RunContext,
        store: Callable[[DataType], Stored],
        *,
        encoded: bool = False,
    ) -> None:
        self._plan = plan
        self._source = source
        self._context = context
        self._store = store
        self._encoded = encoded
        self._constants: list[tuple[str, pa.Scalar]] = []
        self._kinds = {column.name: column.type for column in plan.source_columns}
        self.rows = 0
        self.bytes = 0
        self._expected: int | None = None
        self.stripped = 0
        """Texts that lost a NUL character."""
        self.watermark = ""
        """The largest watermark seen that is not in the future, as text."""
        self.ahead = 0
        """Rows whose watermark is in the future."""
        self._newest: Any = None
        self.held = Held(plan, context) if plan.quarantine is not None else None
        """The rows that do not fit the target."""

    @property
    def quarantined(self) -> int:
        """How many rows do not fit the target."""
        return self.held.rows if self.held is not None else 0

    def staged(self) -> Iterator[pa.RecordBatch]:
        """All data columns, the hidden ones included."""
        return self._cast([column.name for column in self._plan.data], meta=False)

    def final(self) -> Iterator[pa.RecordBatch]:
        """What the target's table holds: data columns and the engine's own."""
        names = [column.name for column in self._plan.data if column.name not in self._plan.hidden]
        return self._cast(names, meta=True)

    def _cast(self, names: list[str], *, meta: bool) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        types = {column.name: column.type for column in self._plan.data}
        casts = [self._caster(name, types[name]) for name in names]
        self._expect(self._plan.source_sql)
        for whole in self._read():
            self._context.token.check()
            failpoint("fetch")
            self._watch(whole)
            batch = whole if self.held is None else self.held.take(whole, self.rows)
            arrays = [cast(batch.column(name), self.rows) for cast, name in zip(casts, names, strict=True)]
            if self._plan.strip_nul:
                arrays = [self._without_nul(array) for array in arrays]
            extra = self._meta(batch.num_rows) if meta else []
            self._count(whole.num_rows, whole.nbytes)
            everything = [*zip(names, arrays, strict=True), *extra]
            yield pa.RecordBatch.from_arrays([array for _, array in everything], names=[name for name, _ in everything])

    def _caster(self, name: str, target: DataType) -> Callable[[pa.Array, int], pa.Array]:
        """The cast of a column; of one whose values go into quarantine only NULLs are left."""
        refused = {column.name for column in self._plan.columns if column.verdict is Verdict.REFUSED}
        return nulls(target) if name in refused else caster(name, self._kinds[name], target)

    def _read(self) -> Iterator[pa.RecordBatch]:
        """The rows as the source gives them, by one session or several."""
        session, plan = self._source.session, self._plan
        if plan.partitions == 1:
            return session.read(plan.source_sql, plan.source_columns)  # type: ignore[no-any-return]
        return read_in_partitions(session, plan, self._context.token)

    def _without_nul(self, array: pa.Array) -> pa.Array:
        import pyarrow.compute as pc
        import pyarrow.types as pt

        if not pt.is_string(array.type):
            return array
        self.stripped += pc.sum(pc.match_substring(array, NUL)).as_py() or 0
        return pc.replace_substring(array, NUL, "")

    def chunks(self, query: str) -> Iterator[bytes]:
        """The rows of a query in the system's own form (copy-through)."""
        self._expect(query)
        for chunk, rows in self._source.session.copy_out(query):
            self._context.token.check()
            failpoint("fetch")
            self._count(rows, len(chunk))
            yield chunk

    def _meta(self, rows: int) -> list[tuple[str, pa.Array]]:
        import pyarrow as pa

        if not self._constants:
            values = {LOADED_AT: moment(self._context.started), BATCH_ID: text(self._context.run_id)}
            for name in self._plan.meta:
                cast = caster(name, META_TYPES[name], self._store(META_TYPES[name]).type)
                self._constants.append((name, cast(pa.repeat(values[name], 1), 0)[0]))
        make = constant if self._encoded else pa.repeat
        return [(name, make(value, rows)) for name, value in self._constants]

    def _watch(self, batch: pa.RecordBatch) -> None:
        window = self._plan.window
        if window is None:
            return
        import pyarrow.compute as pc

        kinds = [self._kinds[name] for name in window.columns]
        columns = _complete([_values(batch.column(name)) for name in window.columns])
        top = pc.max(columns[0])
        if not top.is_valid:
            return
        # rows that are found by their transaction need no watermark that stays behind
        limit = None if window.horizon else windows.limit(kinds[0], self._context.clock.now())
        if limit is not None and (newest := plain_value(top)) > limit:
            come = pc.less_equal(columns[0], limit)
            self.ahead += pc.sum(pc.invert(come)).as_py()
            self._newest = newest if self._newest is None else max(newest, self._newest)
            columns = [column.filter(come) for column in columns]
        if found := _largest(columns):
            self.watermark = windows.newer(self.watermark, windows.written(found, kinds), *kinds)

    def warnings(self) -> list[str]:
        """What somebody should know of the rows that were read."""
        found = []
        if self.stripped:
            found.append(f"{counted(self.stripped, 'text', 'texts')} lost NUL characters (on_nul='strip')")
        if self.ahead and self._plan.window is not None:
            now = self._context.clock.now()
            found.append(windows.ahead_words(self._plan.window.column, self.ahead, self._newest, now))
        return found

    def _expect(self, query: str) -> None:
        """Ask for the number of rows when somebody looks on and the source can tell it without reading them."""
        estimate = getattr(self._source.session, "estimate", None)
        if estimate is not None and self._context.listener is not SILENT:
            self._expected = estimate(query)

    def _count(self, rows: int, size: int) -> None:
        self.rows += rows
        self.bytes += size
        self._context.listener.on_event(
            BatchRead(
                run_id=self._context.run_id,
                pipeline=self._plan.pipeline,
                rows=self.rows,
                bytes=self.bytes,
                expected=self._expected,
            )
        )


def _complete(columns: list[pa.Array]) -> list[pa.Array]:
    """The columns of the rows that have a watermark: of several columns none may be NULL."""
    import functools

    import pyarrow.compute as pc

    if len(columns) == 1:
        return columns
    known = functools.reduce(pc.and_, (pc.is_valid(column) for column in columns))
    return [column.filter(known) for column in columns]


def _largest(columns: list[pa.Array]) -> tuple[Any, ...]:
    """The values of the largest row, compared column by column; none when there is no row."""
    import pyarrow.compute as pc

    found = []
    while columns:
        top = pc.max(columns[0])
        if not top.is_valid:
            return ()
        found.append(plain_value(top))
        same = pc.equal(columns[0], top) if len(columns) > 1 else None
        columns = [column.filter(same) for column in columns[1:]]
    return tuple(found)


def _values(column: pa.Array) -> pa.Array:
    """A column without a dictionary."""
    import pyarrow.types as pt

    return column.dictionary_decode() if pt.is_dictionary(column.type) else column


def plain_value(scalar: pa.Scalar) -> Any:
    """An Arrow scalar as a Python value; nanoseconds are cut to microseconds (a watermark may be a little early)."""
    import pyarrow as pa
    import pyarrow.types as pt

    if pt.is_timestamp(scalar.type) and scalar.type.unit == "ns":
        scalar = scalar.cast(pa.timestamp("us", tz=scalar.type.tz), safe=False)
    return scalar.as_py()
