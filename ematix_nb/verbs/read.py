"""All rows that a pipeline's query gives, or a query on a connection, as an Arrow table; writes nothing."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.registry import backend_for
from ematix_nb.connections import resolve
from ematix_nb.declare.address import is_address, parse_address
from ematix_nb.declare.data_types import to_arrow
from ematix_nb.declare.parameters import read_parameters
from ematix_nb.errors import UsageError
from ematix_nb.load.cancel import CancelToken
from ematix_nb.load.reading import plan_reading
from ematix_nb.load.source import open_reader, open_source
from ematix_nb.load.targets import file_thing, target_ref
from ematix_nb.sql.check import check_select
from ematix_nb.sql.parameters import bind
from ematix_nb.verbs.run import spec_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from ematix_nb.declare.spec import Column, PipelineSpec, TargetSpec
    from ematix_nb.sql.dialect import Dialect


def read(subject: str | PipelineSpec, *, limit: int | None = None, token: CancelToken | None = None) -> pa.Table:
    """The rows of a pipeline's source under the target's names, cleaned as a run would; or those of any table or file.

    The watermark is left aside: all rows are read. They are held in memory.

    Args:
        subject: A pipeline's name or declaration, or an address as ``connection:thing``.
        limit: Stop after so many rows, at least 1; None for all.
        token: To stop it from elsewhere.

    Raises:
        UsageError: When the name is unknown, the limit out of range, or the query wrong.
        DataError: When a value does not fit its type.
    """
    check_limit(limit)
    if isinstance(subject, str) and is_address(subject):
        address = parse_address(subject)
        with reader(address.connection, token) as session:
            return rows_of(session, f"SELECT * FROM {session.dialect.named(address.thing)}", None, limit)
    spec = spec_of(subject)
    target = spec.targets[0]
    source = open_source(spec, resolve(spec.source), resolve(target.connection), None)
    with _stopped_by(source.session, token), contextlib.closing(source):
        reading = plan_reading(spec, target, source, None)
        return rows_of(source.session, reading.sql, reading.columns, limit)


def read_target(spec: PipelineSpec) -> pa.Table:
    """All rows that the first target of a pipeline holds."""
    target = spec.targets[0]
    with reader(target.connection, None) as session:
        return rows_of(session, f"SELECT * FROM {name_of(target, session.dialect)}", None, None)


def name_of(target: TargetSpec, dialect: Dialect) -> str:
    """A target as it stands behind FROM."""
    has_tables = backend_for(resolve(target.connection).kind).capabilities.has_sql
    return dialect.table(target_ref(target)) if has_tables else dialect.named(file_thing(target))


def query(
    connection: Any,
    sql: str,
    *,
    params: Mapping[str, Any] | None = None,
    limit: int | None = None,
    token: CancelToken | None = None,
) -> pa.Table:
    """The rows of a SELECT on a connection.

    Args:
        connection: Its name, or the connection itself.
        sql: One SELECT, in the SQL of that system; over files that of DataFusion.
        params: Values of ``{{name}}`` in it.
        limit: Stop after so many rows, at least 1; None for all.
        token: To stop it from elsewhere.

    Raises:
        SqlError: When it is not one SELECT, or the system refuses it.
        DataError: When a value does not fit its type.
    """
    check_limit(limit)
    values = dict(read_parameters(params)) if params else {}
    with reader(connection, token) as session:
        sql = bind(sql, values, session.dialect) if values else sql
        check_select(sql, session.dialect.name)
        return rows_of(session, sql, None, limit)


def check_limit(limit: object) -> None:
    """Refuse a limit that is no number of rows.

    Raises:
        UsageError: It is not a whole number from 1 on.
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        message = f"limit must be a whole number from 1 on, got {limit!r}"
        raise UsageError(message, "leave it out for all rows")


@contextlib.contextmanager
def reader(connection: Any, token: CancelToken | None) -> Iterator[Any]:
    """A session that answers SELECT, tied to a cancel token; closed at the end."""
    session = open_reader(resolve(connection))
    with _stopped_by(session, token), contextlib.closing(session):
        yield session


@contextlib.contextmanager
def _stopped_by(session: Any, token: CancelToken | None) -> Iterator[None]:
    token = token or CancelToken()
    token.on_cancel(session.interrupt)
    try:
        yield
    finally:
        token.remove(session.interrupt)


def rows_of(session: Any, sql: str, columns: Sequence[Column] | None, limit: int | None) -> pa.Table:
    """The rows of a query, in memory; its columns are asked for when they are not given."""
    import pyarrow as pa

    found = session.describe(sql) if columns is None else columns
    schema = pa.schema([pa.field(column.name, to_arrow(column.type)) for column in found])
    batches, seen = [], 0
    with contextlib.closing(session.read(sql, found)) as given:
        for batch in given:
            batches.append(batch)
            seen += batch.num_rows
            if limit is not None and seen >= limit:
                break
    table = pa.Table.from_batches(batches, schema=schema)
    return table if limit is None else table.slice(0, limit)
