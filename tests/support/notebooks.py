"""Notebooks for tests: files, and cells declared as a kernel would."""

from __future__ import annotations

import json
import linecache
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ematix_nb.connections import connection_from_settings, register_connection
from ematix_nb.declare import cells, registry
from ematix_nb.declare.fingerprint import fingerprint
from ematix_nb.export.notebook_file import NotebookCell

ORIGIN = "the notebook"
ROOT = Path(__file__).parents[2]
_FINGERPRINTS = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
importlib.import_module(sys.argv[2])
from ematix_nb.declare import registry
from ematix_nb.declare.fingerprint import fingerprint
assert "IPython" not in sys.modules, "IPython was imported"
print(json.dumps({name: fingerprint(spec) for name, spec in registry.pipelines().items()}))
"""


def notebook_cells(*sources: str) -> list[NotebookCell]:
    """Code cells, numbered from 1."""
    return [NotebookCell(source, number=number) for number, source in enumerate(sources, start=1)]


def write_notebook(path: Path, *sources: str | tuple[str, str] | tuple[str, str, list[str]]) -> Path:
    """A notebook file; a cell is its source, or (kind, source), or (kind, source, tags)."""
    found: list[dict[str, Any]] = []
    for one in sources:
        kind, source, tags = ("code", one, []) if isinstance(one, str) else (*one, [])[:3]
        cell: dict[str, Any] = {"cell_type": kind, "metadata": {"tags": tags} if tags else {}, "source": source}
        found.append(cell | ({"outputs": [], "execution_count": None} if kind == "code" else {}))
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": found}), encoding="utf-8")
    return path


def declare(*sources: str) -> dict[str, str]:
    """Run cells in an empty registry, Python with its source at hand; the fingerprints by name."""
    with registry.scratch(), registry.registering_from(ORIGIN):
        names: dict[str, Any] = {"__name__": "__main__"}
        for number, source in enumerate(sources):
            if source.startswith("%%flow"):
                _declare_cell(source)
                continue
            file = f"<ipython-input-{number}-test>"
            linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
            exec(compile(source, file, "exec"), names)
        return {name: fingerprint(spec) for name, spec in registry.pipelines().items()}


def _declare_cell(source: str) -> None:
    line, _, body = source.partition("\n")
    cell = cells.parse_cell(line.removeprefix("%%flow").strip(), body)
    if cell.kind == "connection":
        register_connection(connection_from_settings(cell.name, cell.settings))
    elif cell.kind == "table":
        registry.register_table(cells.table_spec(cell), origin=ORIGIN)
    else:
        registry.register_pipeline(cells.build_cell_pipeline(cell, origin=ORIGIN))


def module_fingerprints(folder: Path, name: str, **environment: str) -> dict[str, str]:
    """The fingerprints of a module, imported by a fresh Python without a notebook."""
    done = subprocess.run(
        [sys.executable, "-c", _FINGERPRINTS, str(folder), name],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder), **environment},
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def ruff(*arguments: str, text: str) -> str:
    """What ruff says to a text, with its default settings; empty when it is content."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ruff")), *arguments, "--isolated", "-"],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr
