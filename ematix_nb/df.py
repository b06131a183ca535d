"""Frames and connections: ``read_df`` brings rows into a frame, ``write_df`` loads a frame like any pipeline does.

Both are methods of a connection as well: ``get_connection("wh").read_df("SELECT ...")``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ematix_nb.connections import resolve
from ematix_nb.declare.address import suggested_name
from ematix_nb.declare.pipelines import build_pipeline
from ematix_nb.interop.frames import as_frame, check_ready, from_pyspark, to_pandas, to_polars, to_pyspark
from ematix_nb.query.spark import is_spark_frame

if TYPE_CHECKING:
    from ematix_nb.verbs.results import RunResult

__all__ = ["from_pyspark", "read_df", "to_pandas", "to_polars", "to_pyspark", "write_df"]


def read_df(connection: Any, sql: str, prefer: str = "auto", *, limit: int | None = None, **options: Any) -> Any:
    """The rows of a SELECT as a frame, exact in every value.

    Args:
        connection: Its name, or the connection itself.
        sql: One SELECT in the SQL of that system.
        prefer: ``polars`` (what ``auto`` means), ``pandas``, ``arrow`` or ``pyspark``.
        limit: Stop after so many rows; None for all.
        options: ``arrow_types=False`` for pandas' own types, ``spark=`` for the Spark session.

    Raises:
        SqlError: When it is not one SELECT, or the system refuses it.
        DeclarationError: When the library is unknown.
        MissingDriverError: When it is not installed.
    """
    from ematix_nb.verbs.read import query

    library = check_ready("polars" if prefer == "auto" else prefer, **options)
    return as_frame(query(connection, sql, limit=limit), library, **options)


def write_df(connection: Any, frame: Any, table: str, *, mode: str = "append", **options: Any) -> RunResult:
    """Load a frame into a table, in one transaction, with the checks, the history and the modes of a pipeline.

    Args:
        connection: The target's name, or the connection itself.
        frame: An Arrow, polars, pandas or Spark frame, or a record batch reader.
        table: ``schema.table``, or the folder of a file target. It is created when it does not exist.
        mode: ``append``, ``truncate``, ``merge`` or ``scd2``.
        options: Those of ``ematix.pipeline``: ``keys=``, ``update_columns=``, ``target=`` (a table class), ``name=``.

    Raises:
        FlowError: What stopped the load; the target is as it was.
    """
    from ematix_nb.verbs.run import run

    where = resolve(connection)
    rows = from_pyspark(frame) if is_spark_frame(frame) else frame
    options.setdefault("name", f"write_df_{suggested_name(table)}")
    options.setdefault("target", f"{where.name}:{table}")

    def given() -> Any:
        return rows

    spec = build_pipeline(given, target_connection=where, source_connection=where, mode=mode, **options)
    return run(spec, trigger="python").raise_for_status()
