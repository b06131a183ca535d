"""A failed read must not keep a DuckDB file open: DuckDB would wait for it, for ever, when the file is opened again."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import sys
import duckdb
from ematix_nb.backends.duckdb.config import Settings
from ematix_nb.backends.duckdb.io import DuckDBSession
from ematix_nb.declare.data_types import INTEGER
from ematix_nb.declare.spec import Column

path, how = sys.argv[1:]
with duckdb.connect(path) as made:
    made.execute("CREATE TABLE t AS SELECT CASE range WHEN 99999 THEN 'x' ELSE range::TEXT END a FROM range(100000)")
bad, columns = "SELECT CAST(a AS INTEGER) AS a FROM t", [Column("a", INTEGER)]
kept = []
for _ in range(2):
    session = DuckDBSession(Settings("d", path))
    try:
        if how == "suspended":
            reader = session.read(bad, columns)
            kept += [reader, next(reader)]
        else:
            {"read": lambda: list(session.read(bad, columns)), "fetch": lambda: session.fetch(bad),
             "describe": lambda: session.describe("SELECT a, a FROM t"),
             "execute": lambda: session.execute("CREATE TABLE z AS " + bad)}[how]()
    except Exception as error:
        kept.append(error)
    session.close()
print("opened twice,", len(kept), "kept")
"""


@pytest.mark.parametrize("how", ["suspended", "read", "fetch", "describe", "execute"])
def test_what_a_failure_keeps_does_not_block(how: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "a.duckdb"), how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("opened twice, "), done.stderr
