"""Sessions of the SQL systems for tests of their contract: what is opened, and how each system says what differs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.registry import open_session
from ematix_nb.connections import DuckDBConnection, MySQLConnection, PostgresConnection, SQLiteConnection

if TYPE_CHECKING:
    from pathlib import Path

EMBEDDED = ("duckdb", "sqlite")
SQL = (*EMBEDDED, "postgres", "mysql")
DRIVERS = {"duckdb": "duckdb", "sqlite": "sqlite3", "postgres": "psycopg", "mysql": "pymysql"}
ENDLESS = {
    "duckdb": "SELECT range AS n FROM range(100000000000)",
    "sqlite": "WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r",
    "postgres": "SELECT generate_series(1, 1000000000000) AS n",
    "mysql": "SELECT a.seq + b.seq AS n FROM seq_1_to_1000000 AS a JOIN seq_1_to_1000000 AS b",
}
"""A query with a column `n` of whole numbers that does not come to its end."""


ODD_FILES = {"duckdb": "s p a#ce.duckdb", "sqlite": "s p?a#ce.db"}
"""DuckDB itself takes what follows a question mark for options."""


@dataclass(frozen=True)
class Place:
    """One database, to be opened any number of times."""

    system: str
    at: str
    """File or URL."""

    def open(self, *, read_only: bool = False) -> Any:
        """A session; the caller closes it."""
        return open_session(self.connection, read_only=read_only)

    @property
    def connection(self) -> Any:
        """The typed connection."""
        if self.system == "postgres":
            return PostgresConnection(name="place", url=self.at)
        if self.system == "mysql":
            return MySQLConnection(name="place", url=self.at)
        kind = {"duckdb": DuckDBConnection, "sqlite": SQLiteConnection}[self.system]
        return kind(name="place", path=self.at)


def embedded(system: str, folder: Path, name: str = "") -> Place:
    """A database file below a folder; it need not exist."""
    return Place(system, str(folder / (name or ODD_FILES[system])))
