"""Reading the cells of a notebook file; nothing in it is executed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ematix_nb.errors import UsageError

_FORMAT = 4


@dataclass(frozen=True)
class NotebookCell:
    """A cell as the file or the kernel has it."""

    source: str
    kind: str = "code"
    """``code``, ``markdown`` or ``raw``."""
    tags: tuple[str, ...] = ()
    number: int = 0
    """As people count them, from 1; 0 when unknown."""

    @property
    def place(self) -> str:
        """For messages."""
        return f"cell {self.number}" if self.number else "a cell"


def read_notebook(path: str | Path) -> list[NotebookCell]:
    """The cells of a notebook file, in its order.

    Raises:
        UsageError: The file is missing, not JSON, no notebook of format 4, or empty.
    """
    file = Path(path)
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no notebook `{path}`", hint="give the path of an .ipynb file") from None
    except OSError as error:
        raise UsageError(f"`{path}` cannot be read: {error.strerror or error}", hint="give an .ipynb file") from None
    if not content.strip():
        raise UsageError(f"`{path}` is empty", hint="save the notebook in Jupyter first")
    try:
        data = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise UsageError(f"`{path}` is not a notebook: it is not JSON", hint="give an .ipynb file") from None
    return notebook_cells(data, str(path))


def notebook_cells(data: Any, name: str) -> list[NotebookCell]:
    """The cells of a notebook's JSON.

    Raises:
        UsageError: It is no notebook of format 4, or holds no cells.
    """
    found = data.get("nbformat") if isinstance(data, dict) else None
    if isinstance(found, int) and found != _FORMAT:
        hint = f"open and save it in a current Jupyter, or: jupyter nbconvert --to notebook --inplace {name}"
        raise UsageError(f"`{name}` is a notebook of format {found}; format {_FORMAT} is understood", hint=hint)
    cells = data.get("cells") if isinstance(data, dict) else None
    if not isinstance(cells, list):
        raise UsageError(f"`{name}` is JSON, but no notebook: it has no list of cells", hint="give an .ipynb file")
    if not cells:
        raise UsageError(f"`{name}` is empty: it has no cells", hint="write a %%flow pipeline cell and save it")
    return [_cell(cell, number, name) for number, cell in enumerate(cells, start=1)]


def _cell(cell: Any, number: int, name: str) -> NotebookCell:
    source = cell.get("source") if isinstance(cell, dict) else None
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    if not isinstance(source, str):
        raise UsageError(f"`{name}` is damaged: cell {number} has no source", hint="open and save it in Jupyter")
    metadata = cell.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    words = tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()
    return NotebookCell(source.replace("\r\n", "\n"), str(cell.get("cell_type", "code")), words, number)
