"""The preview of a Parquet file of 10,000,000 rows and ten columns: first row, pages, order, conditions, statistics."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from ematix_nb.query.paging import PreviewModel

ROWS = 10_000_000
PAGE = 25
STARTS = 5
"""Processes that ask for the first row."""
GOALS = {
    "first row, ms": 1000,
    "first row, MB more": 100,
    "any page, p95 ms": 300,
    "sorted page, p95 ms": 300,
    "first page of a new order, p95 ms": 300,
    "filtered page, p95 ms": 300,
    "first page of new conditions, p95 ms": 300,
    "statistics of ten columns, ms": 3000,
    "cancel, p95 ms": 2000,
}
"""What this project wants to stay within; a line without a goal says what a first time costs."""
MAKE = """
COPY (
  SELECT i AS id, TIMESTAMP '2024-01-01' + i * INTERVAL 1 SECOND AS at, (hash(i) % 1000000)::INTEGER AS amount,
         (hash(i * 7) % 1000000) / 7.0 AS price, 'customer ' || (hash(i * 3) % 200000) AS customer,
         ['new', 'paid', 'sent', 'closed'][1 + (hash(i * 5) % 4)::INTEGER] AS status,
         md5((i % 1000000)::VARCHAR)[:12] AS token, hash(i * 11) % 2 = 0 AS active,
         CASE WHEN hash(i * 13) % 10 > 0 THEN (hash(i * 17) % 100)::INTEGER END AS score,
         DATE '2020-01-01' + (hash(i * 19) % 2000)::INTEGER AS day
  FROM range({rows}) AS r(i)
) TO '{path}' (FORMAT parquet, COMPRESSION zstd)
"""
CONDITIONS = (
    ("customer", "=", "customer 777"), ("amount", ">", "999990"), ("token", "contains", "abcdef"),
    ("id", "=", "7654321"), ("status", "=", "paid"), ("score", "is null", None), ("at", ">=", "2024-04-25"),
    ("day", "<", "2020-01-03"), ("price", "<=", "0.5"), ("active", "=", "true"),
)  # fmt: skip


def preview_10m(rows: int = ROWS) -> dict[str, float]:
    """The figures, each measured in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        import duckdb

        path = Path(folder) / "big.parquet"
        duckdb.sql(MAKE.format(rows=rows, path=path))
        path.read_bytes()  # no side pays for the disk
        starts = [_child(folder, "first") for _ in range(STARTS)]
        found = {name: statistics.median(start[name] for start in starts) for name in starts[0]}
        return {**found, **_child(folder, "requests")}


def _child(folder: str, what: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.preview", folder, what]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": "ignore"}
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _model(folder: str) -> PreviewModel:
    from ematix_nb.connections import ObjectStoreLocalConnection
    from ematix_nb.load.source import open_reader
    from ematix_nb.query.paging import query_model

    lake = ObjectStoreLocalConnection(name="lake", path=folder, format="parquet")
    return query_model("big", 'SELECT * FROM "big.parquet"', lambda: open_reader(lake))


def first(folder: str) -> dict[str, float]:
    """What `%flow preview lake:big.parquet` does until rows are there; the libraries are loaded before."""
    import duckdb  # noqa: F401 - as in every case, libraries are no part of what is measured
    import psutil
    import pyarrow.parquet  # noqa: F401
    import sqlglot  # noqa: F401

    from ematix_nb.connections import ObjectStoreLocalConnection, register_connection
    from ematix_nb.verbs.preview import preview

    register_connection(ObjectStoreLocalConnection(name="lake", path=folder, format="parquet"))
    process = psutil.Process()
    before = process.memory_info().rss
    start = time.perf_counter()
    assert len(preview("lake:big.parquet").to_html()) > 1000
    seconds = time.perf_counter() - start
    return {"first row, ms": seconds * 1000, "first row, MB more": (process.memory_info().rss - before) / 1e6}


def requests(folder: str) -> dict[str, float]:
    """Requests of one view, one after the other, as a person would make them."""
    import psutil

    from ematix_nb.query.paging import Condition

    model = _model(folder)
    model.page(0, PAGE)
    before = psutil.Process().memory_info().rss
    dice = random.Random(1)  # noqa: S311 - any places will do
    total = model.count()
    found: dict[str, float] = {}
    found["any page, p95 ms"] = _p95([_ms(model.page, dice.randrange(total - PAGE), PAGE) for _ in range(40)])
    orders = [model.sort(sign + column.name) for column in model.columns for sign in ("", "-")]
    found["first page of a new order, p95 ms"] = _p95([_ms(each.page, 0, PAGE) for each in orders])
    by_price = model.sort("-price")
    found["index of an order, once, ms"] = _ms(by_price.page, total // 2, PAGE)
    places = [PAGE * number for number in range(1, 9)] + [dice.randrange(total - PAGE) for _ in range(12)]
    found["sorted page, p95 ms"] = _p95([_ms(by_price.page, place, PAGE) for place in places])
    narrowed = [model.filter(Condition(*condition)) for condition in CONDITIONS]
    found["first page of new conditions, p95 ms"] = _p95([_ms(each.page, 0, PAGE) for each in narrowed])
    found["filtered page, p95 ms"] = _p95([_ms(each.page, PAGE, PAGE) for each in narrowed])
    found["count under conditions, p95 ms"] = _p95([_ms(each.count) for each in narrowed])
    found["statistics of ten columns, ms"] = sum(_ms(model.stats, column.name) for column in model.columns)
    found["cancel, p95 ms"] = _p95([_cancelled(model, order) for order in ("customer", "token", "-amount", "day")])
    found["all requests, MB more"] = (psutil.Process().memory_info().rss - before) / 1e6
    model.close()
    return found


def _cancelled(model: PreviewModel, order: str) -> float:
    """How long a request goes on after it was stopped in its midst: the index of an order takes seconds."""
    import threading

    from ematix_nb.errors import CancelledError
    from ematix_nb.load.cancel import CancelToken

    token = CancelToken()
    stopped = [0.0]

    def stop() -> None:
        stopped[0] = time.perf_counter()
        token.cancel()

    timer = threading.Timer(0.8, stop)
    timer.start()
    try:
        model.sort(order, "active").page(5_000_000, PAGE, token)
    except CancelledError:
        return (time.perf_counter() - stopped[0]) * 1000
    finally:
        timer.cancel()
    return 0.0


def _ms(ask: Callable[..., Any], *given: Any) -> float:
    start = time.perf_counter()
    ask(*given)
    return (time.perf_counter() - start) * 1000


def _p95(times: list[float]) -> float:
    return sorted(times)[max(0, -(-95 * len(times) // 100) - 1)]


if __name__ == "__main__":
    print(json.dumps({"first": first, "requests": requests}[sys.argv[2]](sys.argv[1])))
