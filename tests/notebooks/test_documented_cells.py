"""The examples of the README and of the guides: each cell is understood, each piece of Python and TOML is valid."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from ematix_nb.declare import cells, registry
from ematix_nb.verbs.grammar import parse

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    pytest.param(found[1], found[2], id=f"{page.stem}:{page.read_text('utf-8').count(chr(10), 0, found.start()) + 1}")
    for page in PAGES
    for found in FENCE.finditer(page.read_text("utf-8"))
]
ONLY_IN_NOTEBOOKS = ("cancel", "debug")


@pytest.mark.parametrize(("language", "text"), BLOCKS)
def test_a_block_is_understood(language: str, text: str) -> None:
    if language == "toml":
        assert tomllib.loads(text)
    elif language == "python":
        compile(text, "<page>", "exec")
    elif text.startswith("%%flow"):
        declared(text)
    for line in re.findall(r"^(?:\w+ = )?%flow (.+)$", text, re.MULTILINE):
        if line.split()[0] not in ONLY_IN_NOTEBOOKS:
            assert parse(line.replace("--bg", "").split(), prog="%flow").verb.split()[0] == line.split()[0]
    for line in re.findall(r"^\$ flow (.+)$", text, re.MULTILINE):
        assert parse(line.split()).verb.split()[0] == line.split()[0]


def declared(text: str) -> None:
    line, _, body = text.partition("\n")
    cell = cells.parse_cell(line.removeprefix("%%flow").strip(), body)
    assert cell.name
    if cell.kind == "pipeline":
        with registry.scratch():
            if "table" in cell.options:
                table = cells.parse_cell(f"table {cell.options['table']}", "order_id bigint pk")
                registry.register_table(cells.table_spec(table), origin="the page")
            assert cells.build_cell_pipeline(cell, origin="the page").name == cell.name


def test_each_mode_has_its_example() -> None:
    page = (ROOT / "docs" / "modes.md").read_text("utf-8")
    assert [
        mode
        for mode in ("append", "truncate", "merge", "scd2")
        if f"--mode {mode} " in f"{page} " or f"--mode {mode}\n" in page
    ] == [
        "append",
        "truncate",
        "merge",
        "scd2",
    ]
