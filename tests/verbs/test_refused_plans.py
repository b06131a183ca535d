"""A plan that is refused says which pipeline it is of, and where that is declared."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from ematix_nb import DuckDBConnection, ematix, register_connection
from ematix_nb.declare import registry
from ematix_nb.declare.cells import build_cell_pipeline, parse_cell
from ematix_nb.errors import DeclarationError, SqlError
from ematix_nb.verbs.preview import preview


@pytest.fixture(autouse=True)
def _duck(tmp_path: Path) -> None:
    duckdb.connect(tmp_path / "w.duckdb").close()
    register_connection(DuckDBConnection(name="duck", path=str(tmp_path / "w.duckdb")))


def test_of_a_function_with_file_and_line() -> None:
    with registry.scratch():

        @ematix.pipeline(target="duck:main.t", source_connection="duck", mode="merge", keys=("idd",))
        def orders(conn: object) -> str:
            return "SELECT 1 AS id"

        line = next(n for n, text in enumerate(Path(__file__).read_text().splitlines(), 1) if '"idd"' in text)
        with pytest.raises(DeclarationError) as told:
            orders.preview()
        assert told.value.where == f"pipeline `orders`, {__file__}:{line}"
        with pytest.raises(DeclarationError, match="did you mean `id`"):
            orders.sync()


def test_of_a_cell_with_what_else_is_known_of_the_place() -> None:
    text = "pipeline twice --from duck --to duck:main.t"
    cell = parse_cell(text, "SELECT 1 AS id, 2 AS id")
    with pytest.raises(SqlError) as told:
        preview(build_cell_pipeline(cell, origin=registry.NOTEBOOK))
    assert told.value.where.endswith("pipeline `twice`")
