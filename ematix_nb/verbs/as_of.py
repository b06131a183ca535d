"""The versions of a target of mode scd2 that held at an instant: ``as_of`` of a handle, ``preview --as-of``."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb.connections import resolve
from ematix_nb.declare.address import is_address, parse_address
from ematix_nb.declare.data_types import TIMESTAMPTZ
from ematix_nb.declare.spec import VALID_FROM, VALID_TO
from ematix_nb.errors import DeclarationError, UsageError
from ematix_nb.interop.frames import Frames
from ematix_nb.load import window as windows
from ematix_nb.load.source import open_reader
from ematix_nb.schedule.due import parse_now
from ematix_nb.verbs.preview import sampled
from ematix_nb.verbs.read import check_limit, name_of, reader, rows_of
from ematix_nb.verbs.run import spec_of

if TYPE_CHECKING:
    import pyarrow as pa

    from ematix_nb.declare.spec import PipelineSpec, TargetSpec
    from ematix_nb.load.cancel import CancelToken
    from ematix_nb.verbs.results import PreviewResult


@dataclass(frozen=True)
class AsOf(Frames):
    """The versions that hold at an instant; read anew whenever they are asked for.

    A version holds from its ``valid_from`` on, up to its ``valid_to``, which is no part of it.
    """

    connection: Any
    """The connection of the table, or its name."""
    thing: str
    """The table, or folder, as its system calls it."""
    at: dt.datetime
    """The instant, in UTC."""
    target: TargetSpec | None = None
    """Where it was declared; None when it was given as an address."""

    def to_arrow(self, *, limit: int | None = None) -> pa.Table:
        """The versions, with all columns of the table; they are held in memory.

        Args:
            limit: Stop after so many rows, at least 1; None for all.

        Raises:
            UsageError: The table holds no versions, or the limit is out of range.
        """
        check_limit(limit)
        with reader(self.connection, None) as session:
            return rows_of(session, self.query(session), None, limit)

    def preview(self, limit: int, token: CancelToken | None = None) -> PreviewResult:
        """The first of the versions, with their profile."""
        with reader(self.connection, token) as session:
            name = f"{resolve(self.connection).name}:{self.thing} as of {windows.text(self.at)}"
            connection = resolve(self.connection)
            return sampled(session, name, self.query(session), limit, lambda: open_reader(connection))

    def query(self, session: Any) -> str:
        """The SELECT, in the words of the system.

        Raises:
            UsageError: The table holds no versions.
        """
        dialect = session.dialect
        name = name_of(self.target, dialect) if self.target is not None else dialect.named(self.thing)
        sql = f"SELECT * FROM {name}"
        have = {column.name for column in session.describe(sql)}
        if not {VALID_FROM, VALID_TO} <= have:
            message = f"`{self.thing}` holds no versions: it has no columns {VALID_FROM} and {VALID_TO}"
            raise UsageError(message, "as_of reads targets of mode scd2")
        moment = windows.text(self.at)
        begun = windows.compared(dialect, VALID_FROM, TIMESTAMPTZ, "<=", moment)
        lasts = windows.compared(dialect, VALID_TO, TIMESTAMPTZ, ">", moment)
        return f"{sql} WHERE {begun} AND ({dialect.quote(VALID_TO)} IS NULL OR {lasts})"


def as_of(subject: str | PipelineSpec, moment: dt.date | str) -> AsOf:
    """The versions of a pipeline's first target of mode scd2, or of any table as ``connection:thing``.

    Args:
        subject: A pipeline's name or declaration, or an address.
        moment: An instant; a date means its first moment, and what has no time zone is UTC. As text in ISO 8601.

    Raises:
        UsageError: The text is no ISO 8601 date or time, or the pipeline has no such target.
    """
    at = instant(moment)
    if isinstance(subject, str) and is_address(subject):
        address = parse_address(subject)
        return AsOf(address.connection, address.thing, at)
    spec = spec_of(subject)
    target = next((one for one in spec.targets if one.mode == "scd2"), None)
    if target is None:
        message = f"pipeline `{spec.name}` has no target of mode scd2, so it keeps no versions"
        raise UsageError(message, "`as_of` reads what mode scd2 wrote")
    return AsOf(target.connection, str(target.table.ref) if target.table else target.thing, at, target)


def instant(moment: dt.date | str) -> dt.datetime:
    """A moment in UTC.

    Raises:
        UsageError: The text is no ISO 8601 date or time.
        DeclarationError: It is neither a time nor a text.

    Example:
        >>> instant("2026-01-01").isoformat(), instant("2026-01-01T01:00+01:00").isoformat()
        ('2026-01-01T00:00:00+00:00', '2026-01-01T00:00:00+00:00')
    """
    if isinstance(moment, str):
        return parse_now(moment).at
    if not isinstance(moment, dt.date):
        raise DeclarationError(f"{moment!r} is no instant", 'give a date, a datetime or a text: "2026-01-01T12:00Z"')
    if not isinstance(moment, dt.datetime):
        moment = dt.datetime(moment.year, moment.month, moment.day, tzinfo=dt.UTC)
    return moment.replace(tzinfo=dt.UTC) if moment.utcoffset() is None else moment.astimezone(dt.UTC)
