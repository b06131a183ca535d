"""A DuckDB file of odd values, and the notebook that previews it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import duckdb

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 137
SCRIPT = "<script>window.hacked=1</script>"
IMAGE = '<img src=x onerror="window.hacked=1">'
RIGHT_TO_LEFT = "שלום עולם"
NAME = 'say "hi" <b onclick="window.hacked=1">'
TEXTS = [
    SCRIPT, IMAGE, "🦆 émoji 日本", RIGHT_TO_LEFT, "", "NULL", None, "x" * 1_000_000, "\u202egnp.exe", "two\nlines",
]  # fmt: skip
"""The texts of the first rows, in this order."""
_QUOTED = '"' + NAME.replace('"', '""') + '"'
CELLS = (
    "%load_ext ematix_nb",
    '%%flow connection wh\nkind = "duckdb"\npath = "odd.duckdb"',
    f"%%flow pipeline odd --from wh --to wh:out.odd --mode merge --keys id\nSELECT id, {_QUOTED}, amount FROM raw.odd",
    "p = %flow preview odd\np",
)


def write_odd(folder: Path) -> None:
    """Make the file and the notebook ``odd.ipynb``; four of the rows that both tables have differ."""
    with duckdb.connect(str(folder / "odd.duckdb")) as db:
        db.execute("CREATE SCHEMA raw; CREATE SCHEMA out")
        db.execute(f"CREATE TABLE raw.odd (id BIGINT, {_QUOTED} VARCHAR, amount DECIMAL(18, 2))")
        for number in range(ROWS):
            text = TEXTS[number] if number < len(TEXTS) else f"plain {number}"
            db.execute("INSERT INTO raw.odd VALUES (?, ?, ?)", [number + 1, text, 1000 * number - 12345.67])
        db.execute("CREATE TABLE out.odd AS FROM raw.odd WHERE id <= 40")
        db.execute("ALTER TABLE out.odd ADD PRIMARY KEY (id)")
        db.execute(f"UPDATE out.odd SET {_QUOTED} = 'NULL' WHERE id = 7")
        db.execute(f"UPDATE out.odd SET {_QUOTED} = NULL WHERE id IN (1, 6)")
        db.execute("UPDATE out.odd SET amount = amount + 1 WHERE id = 20")
    (folder / "odd.ipynb").write_text(json.dumps(_notebook()), encoding="utf-8")


def _notebook() -> dict[str, object]:
    cells: list[dict[str, object]] = [
        {
            "id": f"cell-{number}",
            "cell_type": "code",
            "metadata": {},
            "source": text,
            "outputs": [],
            "execution_count": None,
        }
        for number, text in enumerate(CELLS)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}
