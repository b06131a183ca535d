"""Arrow tables as frames of polars, pandas and Spark, and back; no value changes on the way.

polars and Spark take the Arrow data as it is. pandas gets columns of Arrow types by default, because its own types turn
whole numbers with NULLs into floats, decimals into objects and times beyond the year 2262 into errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ematix_nb.errors import DeclarationError, MissingDriverError, did_you_mean
from ematix_nb.interop.spark import INSTALL_SPARK, session_of, to_pyspark
from ematix_nb.query.spark import from_pyspark

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

__all__ = ["as_frame", "check_library", "check_ready", "from_pyspark", "to_pandas", "to_polars", "to_pyspark"]

Library = Literal["polars", "pandas", "arrow", "pyspark"]
LIBRARIES: tuple[Library, ...] = ("polars", "pandas", "arrow", "pyspark")

INSTALL = {"pyspark": INSTALL_SPARK}
"""What to do about a missing library that is no dependency of ours."""


def as_frame(table: pa.Table, library: str = "polars", **options: Any) -> Any:
    """A table as the frame of a library.

    Args:
        table: The rows.
        library: ``polars``, ``pandas``, ``arrow`` or ``pyspark``.
        options: ``arrow_types=`` for pandas, ``spark=`` for pyspark.

    Raises:
        DeclarationError: When the library is another one.
        MissingDriverError: When it is not installed.

    Example:
        >>> import pyarrow as pa
        >>> as_frame(pa.table({"n": [1, None]}), "pandas").dtypes.to_dict()
        {'n': int64[pyarrow]}
    """
    if check_library(library) == "arrow":
        return table
    make = {"polars": to_polars, "pandas": to_pandas, "pyspark": to_pyspark}[library]
    return make(table, **options)


def check_library(name: str) -> str:
    """The name itself, when it is that of a library.

    Raises:
        DeclarationError: Otherwise; lists them.
    """
    if name in LIBRARIES:
        return name
    message = f"`{name}` is no library for frames; expected one of {', '.join(LIBRARIES)}"
    raise DeclarationError(message, did_you_mean(name, LIBRARIES) or 'for example "polars"')


def check_ready(library: str, **options: Any) -> str:
    """The name itself, when frames of that library can be made here and now; asked before rows are read.

    Args:
        library: ``polars``, ``pandas``, ``arrow`` or ``pyspark``.
        options: As `as_frame` takes them.

    Raises:
        DeclarationError: The library is another one, does not know an option, or no Spark session is there.
        MissingDriverError: It is not installed.
    """
    from importlib.util import find_spec

    known = {"pandas": ("arrow_types",), "pyspark": ("spark",)}.get(check_library(library), ())
    for name in options:
        if name not in known:
            message = f"frames of {library} have no option `{name}`"
            raise DeclarationError(message, did_you_mean(name, known) or f"known: {', '.join(known) or 'none'}")
    if library != "arrow" and find_spec(library) is None:
        message = f"{library} is not installed"
        raise MissingDriverError(message, INSTALL.get(library, f"pip install {library}"))
    if library == "pyspark":
        session_of(options.get("spark"))
    return library


def to_polars(table: pa.Table) -> pl.DataFrame:
    """A polars frame over the same memory where polars allows it."""
    import polars as pl

    frame = pl.from_arrow(table)
    return frame if isinstance(frame, pl.DataFrame) else frame.to_frame()


def to_pandas(table: pa.Table, *, arrow_types: bool = True) -> pd.DataFrame:
    """A pandas frame.

    Args:
        table: The rows.
        arrow_types: Keep the Arrow types (exact). False gives pandas' own ones, with what they lose.
    """
    if not arrow_types:
        return table.to_pandas()
    import pandas as pd

    return table.to_pandas(types_mapper=pd.ArrowDtype)


class Frames:
    """Gives a class with ``to_arrow`` the frames of the other libraries."""

    def to_arrow(self) -> pa.Table:
        """The rows as an Arrow table."""
        raise NotImplementedError  # the class says which rows

    def to_polars(self) -> pl.DataFrame:
        """The rows as a polars frame."""
        return to_polars(self.to_arrow())

    def to_pandas(self, *, arrow_types: bool = True) -> pd.DataFrame:
        """The rows as a pandas frame; ``arrow_types=False`` gives pandas' own types, with what they lose."""
        return to_pandas(self.to_arrow(), arrow_types=arrow_types)

    def to_pyspark(self, *, spark: Any = None) -> Any:
        """The rows as a Spark frame, in the given session or the active one."""
        return to_pyspark(self.to_arrow(), spark=spark)
