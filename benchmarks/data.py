"""The tables that the benchmarks move: made in PostgreSQL itself, the same every time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg

CUSTOMERS = """
CREATE TABLE {name} (
  customer_id bigint PRIMARY KEY, name text, email text, note text, balance numeric(12,2),
  updated_at timestamptz, active boolean)
"""

FILL = """
INSERT INTO {name}
SELECT g, 'customer ' || g, 'user' || g || '@example.com', CASE WHEN g % 3 = 0 THEN NULL ELSE md5(g::text) END,
       (g % 100000) / 7.0, timestamptz '2026-01-01 00:00:00+00' + g * interval '1 second', g % 2 = 0
FROM generate_series({first}, {last}) AS g
"""

COLUMNS = "customer_id, name, email, note, balance, updated_at, active"


def make(connection: psycopg.Connection, name: str, first: int, last: int) -> None:
    """Create and fill a table of customers with ids from ``first`` to ``last``."""
    connection.execute(f"DROP TABLE IF EXISTS {name}")  # type: ignore[arg-type]  # names are ours
    connection.execute(CUSTOMERS.format(name=name))  # type: ignore[arg-type]
    connection.execute(FILL.format(name=name, first=first, last=last))  # type: ignore[arg-type]


def make_changes(connection: psycopg.Connection, name: str, total: int, changed: int, new: int) -> None:
    """A table of changed rows (spread over the ids) and new ones."""
    connection.execute(f"DROP TABLE IF EXISTS {name}")  # type: ignore[arg-type]
    connection.execute(CUSTOMERS.format(name=name))  # type: ignore[arg-type]
    step = total // changed
    connection.execute(  # type: ignore[call-overload]
        f"INSERT INTO {name} SELECT customer_id, name || ' changed', email, note, balance + 1, updated_at, active"
        f" FROM customers WHERE customer_id % {step} = 0 LIMIT {changed}"
    )
    connection.execute(FILL.format(name=name, first=total + 1, last=total + new))  # type: ignore[arg-type]
