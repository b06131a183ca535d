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
ADD_LOADED = "ADD _loaded_at timestamptz, ADD _batch_id uuid"
"""The two columns that the engine adds to each row."""
LOADED_VALUES = "now(), uuid 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"

ORDER_LINES = """
CREATE TABLE order_lines AS
SELECT g AS order_id, (g % 200000)::integer AS part_id, (g % 10000)::integer AS supplier_id,
       (g % 7)::integer AS line, (g % 50)::numeric(15,2) AS quantity, (g % 100000 / 7.0)::numeric(15,2) AS price,
       (g % 11 / 100.0)::numeric(15,2) AS discount, (g % 9 / 100.0)::numeric(15,2) AS tax,
       date '2020-01-01' + (g % 2500)::integer AS shipped, date '2020-01-11' + (g % 2500)::integer AS received,
       g * 0.37::double precision AS weight, left(md5(g::text), 2) AS status
FROM generate_series(1, {rows}) AS g
"""


def make(connection: psycopg.Connection, name: str, first: int, last: int) -> None:
    """Create and fill a table of customers with ids from ``first`` to ``last``."""
    connection.execute(f"DROP TABLE IF EXISTS {name}")  # names are ours
    connection.execute(CUSTOMERS.format(name=name))
    connection.execute(FILL.format(name=name, first=first, last=last))


def make_shape(connection: psycopg.Connection, name: str, *, wide: bool = False) -> None:
    """An empty table of customers without an index; with the engine's two columns when ``wide``."""
    make(connection, name, 1, 0)
    connection.execute(f"ALTER TABLE {name} DROP CONSTRAINT {name}_pkey")
    if wide:
        connection.execute(f"ALTER TABLE {name} {ADD_LOADED}")


def make_changes(connection: psycopg.Connection, name: str, total: int, changed: int, new: int) -> None:
    """A table of changed rows (spread over the ids) and new ones."""
    connection.execute(f"DROP TABLE IF EXISTS {name}")
    connection.execute(CUSTOMERS.format(name=name))
    step = total // changed
    connection.execute(
        f"INSERT INTO {name} SELECT customer_id, name || ' changed', email, note, balance + 1, updated_at, active"
        f" FROM customers WHERE customer_id % {step} = 0 LIMIT {changed}"
    )
    connection.execute(FILL.format(name=name, first=total + 1, last=total + new))
