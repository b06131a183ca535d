"""What a kernel has executed, for an export without the notebook's file."""

from __future__ import annotations

from ematix_nb.export.notebook_file import NotebookCell


class CellLog:
    """The cells that ran without error, in the order of their first execution.

    A cell whose id is known (JupyterLab and others send it) takes the place of its earlier self. Without ids, a
    definition takes the place of the earlier one of the same name, which the export sees to.

    Example:
        >>> log = CellLog()
        >>> log.record("x = 1", cell_id="a")
        >>> log.record("y = 2", cell_id="b")
        >>> log.record("x = 3", cell_id="a")
        >>> [cell.source for cell in log.export_cells()]
        ['x = 3', 'y = 2']
    """

    def __init__(self) -> None:
        self._sources: dict[str, str] = {}
        self._count = 0

    def record(self, source: str, cell_id: str | None = None) -> None:
        """Note an executed cell.

        Args:
            source: Its text as the user wrote it, magics included.
            cell_id: What the front end calls it; None when it has no name.
        """
        self._count += 1
        self._sources[f"id {cell_id}" if cell_id else f"number {self._count}"] = source

    def clear(self) -> None:
        """Forget all cells, as ``%reset`` does."""
        self._sources.clear()

    def export_cells(self) -> list[NotebookCell]:
        """The cells for `export_notebook`; tags and text cells are not known to a kernel."""
        return [NotebookCell(source, number=number) for number, source in enumerate(self._sources.values(), start=1)]


LOG = CellLog()
"""The cells of this process; the magics feed it."""
