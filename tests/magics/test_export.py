from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nbformat

from ematix_nb.declare import registry
from ematix_nb.declare.fingerprint import fingerprint
from ematix_nb.verbs.export import export
from ematix_nb.verbs.modules import load_modules

if TYPE_CHECKING:
    from pathlib import Path

FORMAT: Any = nbformat  # ships no types
LATER = """
from ematix_nb import ematix

DAY = dt.date(2024, 1, 2)

@ematix.pipeline(target="src:later", source_connection="src")
def later(conn):
    return f"SELECT id FROM t WHERE id > {DAY.day}"
"""
CELLS = [
    "import datetime as dt",
    "%load_ext ematix_nb",
    "%%flow connection src\nkind = 'duckdb'\npath = 'src.duckdb'",
    "%%flow pipeline broken --from src\nSELECT 1",
    "%%flow pipeline orders --from src --to src:orders2 --mode merge --keys id\nSELECT * FROM t WHERE id < 5",
    "%%flow pipeline orders --from src --to src:orders2 --mode merge --keys id\nSELECT * FROM t WHERE id < 7",
    LATER,
    "%flow list",
]


def test_the_kernel_and_the_file_give_the_same_module(bare: Any, tmp_path: Path) -> None:
    for cell in CELLS:
        bare.run(cell)
    shown = bare.run("%flow export --out pipelines.py")[0]
    bare.run("%unload_ext ematix_nb")
    shown.raise_error()
    book = FORMAT.v4.new_notebook(cells=[FORMAT.v4.new_code_cell(cell) for cell in CELLS if "broken" not in cell])
    FORMAT.write(book, tmp_path / "book.ipynb")
    text = (tmp_path / "pipelines.py").read_text()
    assert text == export(str(tmp_path / "book.ipynb")).text
    assert "broken" not in text
    assert "get_ipython" not in text
    assert "id < 7" in text
    before = {name: fingerprint(spec) for name, spec in registry.pipelines().items()}
    with registry.scratch():
        load_modules((str(tmp_path / "pipelines.py"),))
        assert {name: fingerprint(spec) for name, spec in registry.pipelines().items()} == before
