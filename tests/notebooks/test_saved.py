"""The notebooks as they are saved: what somebody sees who has no kernel. (`make test` executes and compares them.)"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
LIMIT = 100_000
"""Bytes of one output."""


def code_cells(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]


def test_there_are_three() -> None:
    assert [path.name for path in NOTEBOOKS] == [
        "01_first_pipeline.ipynb",
        "02_dimensions_scd2.ipynb",
        "03_duckdb_to_postgres.ipynb",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_executed_from_top_to_bottom(path: Path) -> None:
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert kinds <= {"stream", "execute_result", "display_data"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_everything_shows_without_a_kernel(path: Path) -> None:
    shown = 0
    for cell in code_cells(path):
        for output in cell["outputs"]:
            assert len(json.dumps(output).encode()) <= LIMIT
            data = output.get("data", {"text/plain": ""})
            assert set(data) <= {"text/plain", "text/html"}
            shown += "text/html" in data
    assert shown > 5
    assert "widgets" not in json.loads(path.read_text("utf-8"))["metadata"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_of_the_machine_is_in_it(path: Path) -> None:
    text = path.read_text("utf-8")
    assert re.findall(r"/(?:home|root|work|tmp|Users)/[^\s\"']*|postgres(?:ql)?://(?!user@host)[^\s\"'`]*", text) == []
