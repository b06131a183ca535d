"""Rows as frames of the notebook: `%%flow query NAME`, `%flow run NAME --into LIBRARY`; frames to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ematix_nb.errors import UsageError
from ematix_nb.verbs.preview_html import escape, framed
from ematix_nb.verbs.results import Result
from ematix_nb.verbs.text import neutral
from ematix_nb.words import counted

from .working import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

    from ematix_nb.declare.cells import Cell
    from ematix_nb.load.cancel import CancelToken
    from ematix_nb.verbs.grammar import Parsed
    from ematix_nb.verbs.results import PreviewResult

_SHOWN_COLUMNS = 200
PREVIEW = "preview"
"""What `%%flow query ... --into` takes besides libraries."""


@dataclass(frozen=True, repr=False)
class FrameCard(Result):
    """What a `%%flow query` cell left in a variable; the rows are there, not here."""

    kind: ClassVar[str] = "frame"

    name: str
    """The variable."""
    library: str
    rows: int
    columns: tuple[tuple[str, str], ...]
    """Names and Arrow types."""

    def head(self) -> str:
        """The frame in one line."""
        size = f"{counted(self.rows, 'row')}, {counted(len(self.columns), 'column')}"
        return f"frame {self.name}: {size} ({self.library})"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        columns = [{"name": name, "type": kind} for name, kind in self.columns]
        return {"frame": self.name, "library": self.library, "rows": self.rows, "columns": columns}

    def to_text(self) -> str:
        """A line a column."""
        width = max((len(name) for name, _ in self.columns), default=0)
        lines = [self.head(), *(f"  {name:<{width}}  {kind}" for name, kind in self.columns)]
        return "\n".join(neutral(line, newlines=False) for line in lines)

    def to_html(self) -> str:
        """A small card."""
        rows = [
            f"<tr><td><small>{escape(name)}</small></td><td>{escape(kind)}</td></tr>"
            for name, kind in self.columns[:_SHOWN_COLUMNS]
        ]
        return framed(f"<p><b>{escape(self.head())}</b></p><table>{''.join(rows)}</table>")


def query(cell: Cell, variables: dict[str, Any]) -> FrameCard | PreviewResult:
    """Read the rows of a `%%flow query` cell into a frame, and give it its name; after an error nothing has changed.

    With `--into preview` the name stands for a view of the rows, which stay where they are.

    Args:
        cell: Of kind ``query``.
        variables: The notebook's.

    Raises:
        FlowError: The library, the connection or the SELECT is wrong; or the rows could not be read.
    """
    from ematix_nb.declare.cells import cell_values
    from ematix_nb.interop.frames import check_ready
    from ematix_nb.verbs.read import query as read

    from .cells import check_body

    wanted = cell.options.get("into", "polars")
    library = wanted if wanted == PREVIEW else check_ready(wanted)
    connection = _resolved(cell)
    values = cell_values(cell, variables)
    check_body(cell, connection.kind, values)
    if library == PREVIEW:
        variables[cell.name] = shown = _preview(connection, cell, values)
        return shown
    limit = cell.options.get("limit")
    table = _read(lambda token: read(connection, cell.body, params=values, limit=limit, token=token))
    variables[cell.name] = _made(table, library)
    columns = tuple((field.name, str(field.type)) for field in table.schema)
    return FrameCard(cell.name, library, table.num_rows, columns)


def _preview(connection: Any, cell: Cell, values: Mapping[str, Any]) -> PreviewResult:
    from ematix_nb.load.cancel import CancelToken
    from ematix_nb.verbs.preview import preview_query

    token = CancelToken()
    limit = cell.options.get("limit") or 50
    return wait_for(
        lambda: preview_query(connection, cell.body, params=values, limit=limit, name=cell.name, token=token), token
    )


def frame_preview(parsed: Parsed, variables: dict[str, Any]) -> PreviewResult | None:
    """The view of a frame in a variable, for `%flow preview NAME`; None when NAME is something else.

    A pipeline of that name comes first.
    """
    from ematix_nb.declare import registry
    from ematix_nb.load.cancel import CancelToken
    from ematix_nb.load.source import is_frame
    from ematix_nb.verbs.preview import preview_frame

    name = str(parsed.options.get("name") or "")
    frame = variables.get(name)
    if parsed.verb != "preview" or parsed.module or name in registry.pipelines() or not is_frame(frame):
        return None
    if parsed.options.get("as_of") is not None:
        message = f"`{name}` is a frame, which holds no versions"
        raise UsageError(message, "`--as-of` looks at tables of mode scd2")
    limit = parsed.options["limit"]
    return wait_for(lambda: preview_frame(name, frame, limit=limit), CancelToken())


def _resolved(cell: Cell) -> Any:
    from ematix_nb.connections import resolve

    return resolve(cell.options["source_connection"])


def pipeline_frame(parsed: Parsed, library: str) -> Any:
    """The rows that a pipeline would load, as a frame; nothing is written, and no run is recorded.

    Raises:
        UsageError: Not one pipeline is named, or an option of real runs is given.
        FlowError: The library is wrong, or the rows could not be read.
    """
    from ematix_nb.declare import registry
    from ematix_nb.interop.frames import check_ready
    from ematix_nb.verbs.dispatch import prepare
    from ematix_nb.verbs.read import read

    names = parsed.options["names"]
    if len(names) != 1:
        raise UsageError(
            f"--into takes one pipeline, got {len(names)}", hint="usage: df = %flow run NAME --into polars"
        )
    given = [option for option in ("bg", "wait", "full_refresh", "continue", "sandbox") if parsed.options.get(option)]
    for option in (*given, *(["format"] if parsed.format != "text" else [])):
        flag = f"--{option.replace('_', '-')}"
        what = f"`{flag}` means nothing with `--into`: all rows go into a frame, and nothing is written"
        raise UsageError(what, hint=f"take `{flag}` away")
    check_ready(library)
    prepare(parsed, registry_ready=True)  # --profile and --module
    spec = registry.get_pipeline(names[0])
    return _made(_read(lambda token: read(spec, token=token)), library)


def _read(work: Callable[[CancelToken], pa.Table]) -> pa.Table:
    """Read in a worker, so that Kernel > Interrupt gets through."""
    from ematix_nb.load.cancel import CancelToken

    token = CancelToken()
    return wait_for(lambda: work(token), token)


def _made(table: pa.Table, library: str) -> Any:
    from ematix_nb.interop.frames import as_frame

    return as_frame(table, library)
