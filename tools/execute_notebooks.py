"""Executes the worked notebooks and saves their outputs: `python tools/execute_notebooks.py [NOTEBOOK ...]`.

Metadata stays as it is in the file, so that a difference shows what the outputs say and nothing else.
Wrap it in `python -m tests.support.postgres`, which the notebook about PostgreSQL needs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def execute(path: Path) -> None:
    """Execute one notebook in its own folder and write it back."""
    notebook = nbformat.read(path, 4)
    before = notebook.metadata
    client = NotebookClient(
        notebook, timeout=600, record_timing=False, resources={"metadata": {"path": str(path.parent)}}
    )
    client.execute()
    notebook.metadata = before
    nbformat.write(notebook, path)
    print(f"executed {path}")


def main() -> None:
    """Execute the named notebooks, or all."""
    chosen = [Path(name) for name in sys.argv[1:]] or sorted(Path("notebooks").glob("*.ipynb"))
    for path in chosen:
        execute(path.resolve())


if __name__ == "__main__":
    main()
