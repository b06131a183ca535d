"""One row of the catalogue of wrong input, and what a good answer to it looks like."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MAX_LINES = 11
TRACES = ("Traceback", 'File "', "site-packages", "ematix_nb/", "internal error")
SECRET = "hunter22"

SETTINGS = """\
modules = ["shop.py"]

[connections.lake]
kind = "object_store_local"
path = "data"
format = "csv"

[connections.warehouse]
kind = "duckdb"
path = "warehouse.duckdb"
"""

HEAD = """\
from typing import Annotated

from ematix_nb import Target, ematix, natural_key, pk
from ematix_nb.normalize import default, derive, lower, trim
from ematix_nb.types import BigInt, Boolean, Double, Numeric, String, Text, TimestampTZ, UUID

"""

ORDERS = """\
@ematix.pipeline(target="warehouse:main.orders", source_connection="lake", mode="merge", keys=("id",))
def orders(conn):
    return 'SELECT id, name, amount FROM "orders.csv"'


@ematix.pipeline(target="warehouse:main.stock", source_connection="lake", mode="append", schedule="*/15 * * * *")
def stock(conn):
    return 'SELECT id, name FROM "orders.csv"'
"""

ROWS = "id,name,amount\n1,ann,1.5\n2,bob,2.5\n3,cat,3.5\n"


@dataclass(frozen=True)
class Case:
    """A wrong input: what is written or typed, and what has to be said about it."""

    row: str
    """Its number in the catalogue, with a letter when there are several."""
    words: tuple[str, ...]
    """The line, as words."""
    says: tuple[str, ...]
    """What the message has to hold."""
    hint: str = ""
    """What the one hint has to hold; empty when the message needs none."""
    code: int = 2
    module: str = ORDERS
    """The pipelines of the project."""
    settings: str = SETTINGS
    environ: dict[str, str] = field(default_factory=dict)
    files: dict[str, str | bytes] = field(default_factory=dict)
    """Further files of the project."""

    @property
    def id(self) -> str:
        """The number, and the line as a name."""
        return f"{self.row}-{'_'.join(self.words)[:40]}"


def check_message(text: str, says: tuple[str, ...], hint: str) -> None:
    """Whether a message is one that a user can act upon."""
    for piece in says:
        assert piece in text, f"{piece!r} is not said in:\n{text}"
    hints = re.findall(r"^hint: (.*)", text, re.MULTILINE)
    assert len(hints) == (1 if hint else 0), text
    assert hint in text[text.index("hint: ") :] if hint else True, f"{hint!r} is not the hint of:\n{text}"
    assert len(text.strip().splitlines()) <= MAX_LINES, text
    for trace in TRACES:
        assert trace not in text, text
    assert SECRET not in text


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder with the hash of its bytes; what Python itself leaves behind does not count."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
