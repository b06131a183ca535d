"""This project's side of each case."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from benchmarks.data import COLUMNS

from . import FOLDER, MARIADB, SOURCE, TARGET, side

CUSTOMERS = f"SELECT {COLUMNS} FROM customers"
CHANGED = f"SELECT {COLUMNS} FROM changes"
READY = f'SELECT {COLUMNS} FROM "ready.parquet"'
CHANGES = f'SELECT {COLUMNS} FROM "changes.parquet"'
FIRST_FILE = re.compile(r'"\w+[.](parquet|csv)"')
KEYED = {"keys": ("customer_id",)}

MOVES: dict[str, tuple[str, str, str, str, dict[str, Any]]] = {
    "pg_pg": ("target:public.copied", "source", CUSTOMERS, "append", {}),
    "same_db": ("source:public.inside", "source", CUSTOMERS, "append", {}),
    "parquet_pg": ("target:public.loaded", "lake", READY, "append", {}),
    "merge": ("target:public.merged", "source", CHANGED, "merge", KEYED),
    "scd2": ("target:public.versions", "source", CHANGED, "scd2", KEYED),
    "pg_parquet": ("lake:out_ours", "source", CUSTOMERS, "truncate", {}),
    "csv_parquet": ("lake:from_csv", "texts", 'SELECT * FROM "ready.csv"', "truncate", {}),
    "parquet_delta": ("delta:ours", "lake", READY, "truncate", {}),
    "delta_merge": ("delta:merged", "lake", CHANGES, "merge", KEYED),
    "parquet_mariadb": ("mariadb:loaded", "lake", READY, "append", {}),
}
"""Target, source, query, mode and other options of each case."""


def _run(target: str, source: str, sql: str, mode: str, options: dict[str, Any]) -> None:
    from ematix_nb import (
        DeltaLocalConnection,
        MySQLConnection,
        ObjectStoreLocalConnection,
        PostgresConnection,
        ematix,
        register_connection,
    )

    register_connection(PostgresConnection(name="source", url=SOURCE))
    register_connection(PostgresConnection(name="target", url=TARGET))
    register_connection(ObjectStoreLocalConnection(name="lake", path=str(FOLDER / "lake"), format="parquet"))
    register_connection(ObjectStoreLocalConnection(name="texts", path=str(FOLDER / "texts"), format="csv"))
    register_connection(DeltaLocalConnection(name="delta", path=str(FOLDER / "delta")))
    if MARIADB:
        register_connection(MySQLConnection(name="mariadb", url=MARIADB))

    @ematix.pipeline(name="bench", target=target, source_connection=source, mode=mode, **options)
    def bench() -> str:
        return sql

    bench.sync()


def _first(target: str, source: str, sql: str, mode: str, options: dict[str, Any]) -> None:
    """A first run in the process: the same move of one row, elsewhere."""
    one = FIRST_FILE.sub(r'"first.\1"', sql)
    _run(f"{target}_first", source, f"{sql} LIMIT 1" if one == sql else one, mode, options)


for _case, _move in MOVES.items():
    side(_case, "ours", before=partial(_first, *_move))(partial(_run, *_move))


def _arrow(query: str) -> None:
    """Every row as Arrow, and dropped."""
    from ematix_nb import PostgresConnection
    from ematix_nb.backends.registry import open_session

    session = open_session(PostgresConnection(name="source", url=SOURCE), read_only=True)
    for _ in session.read(query, session.describe(query)):
        pass
    session.close()


for _case, _query in {"pg_arrow_numbers": "SELECT * FROM order_lines", "pg_arrow_texts": CUSTOMERS}.items():
    side(_case, "ours", before=partial(_arrow, f"{_query} LIMIT 1"))(partial(_arrow, _query))


@side("scd2", "first")
def scd2_first() -> None:
    """The versions that the measured load meets."""
    _run("target:public.versions", "source", CUSTOMERS, "scd2", KEYED)


def _one_row() -> None:
    _run("target:public.copied", "source", f"{CUSTOMERS} WHERE customer_id = 1", "append", {})


side("overhead", "ours", before=_one_row)(_one_row)
side("overhead", "cold")(_one_row)
