from __future__ import annotations

import threading
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter

from ematix_nb.connections import connection_from_settings, register_connection
from ematix_nb.magics.metadata import WAIT_SECONDS, Metadata


def completed(notebook: Any, text: str) -> list[str]:
    """What Tab at the end of a text (or at its `|`) gives, as a kernel asks for it: whole words."""
    before = text.partition("|")[0]
    with provisionalcompleter():
        found = list(notebook.shell.Completer.completions(text.replace("|", ""), len(before)))
    return [before[max(before.rfind(" "), before.rfind("\n")) + 1 : one.start] + one.text for one in found]


def answered(notebook: Any, text: str) -> list[str]:
    """The same, once the connection has answered: the first Tab may come too early on a busy machine."""
    for _ in range(100):
        if len(found := completed(notebook, text)) > 1 or not text.partition("|")[0].endswith(tuple(found)):
            break
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%flow prev", ["preview"]),
        ("p = %flow preview or", ["orders"]),
        ("%flow preview orders --li", ["--limit"]),
        ("%flow run orders --b", ["--bg"]),
        ("%flow deb", ["debug"]),
        ("%flow run-due --catch-up ", ["all", "latest", "none"]),
        ("%flow connections check s", ["src"]),
        ("%%flow pi", ["pipeline"]),
        ("%%flow pipeline orders --mo", ["--mode"]),
        ("%%flow pipeline orders --mode s", ["scd2"]),
        ("%%flow pipeline orders --from t", ["tgt"]),
        ("%%flow pipeline orders --to t", ["tgt:"]),
    ],
)
def test_tab_completes(notebook: Any, text: str, expected: list[str]) -> None:
    assert completed(notebook, text) == expected


@pytest.fixture
def lake(notebook: Any) -> Any:
    """A notebook with `src` (tables `t`, `raw.orders`, `raw."Odd Name"`) and files in `lake`."""
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq

    with duckdb.connect("src.duckdb") as connection:
        connection.execute('CREATE SCHEMA raw; CREATE TABLE raw.orders (order_id INT, "Due Date" DATE, amount INT)')
        connection.execute('CREATE TABLE raw."Odd Name" (x INT)')
    notebook.cell("import os; os.makedirs('files/events')")
    pq.write_table(pa.table({"kind": ["a"], "at": [1]}), "files/events/one.parquet")
    notebook.cell("%%flow connection lake\nkind = 'object_store_local'\npath = 'files'\nformat = 'parquet'")
    notebook.cell("since = 5; sinker = [1]; nothing = print")
    return notebook


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%flow preview src:", ["src:main.", "src:raw."]),
        ("%flow preview src:raw.o", ["src:raw.orders"]),
        ("p = %flow preview lake:e", ["lake:events"]),
        ("%%flow pipeline p --from src --to src:raw.or", ["src:raw.orders"]),
        ("%%flow pipeline p --from src --to tgt:p --source-table raw.or", ["raw.orders"]),
        ("%%flow query q --from src\nSELECT * FROM raw.or", ["raw.orders"]),
        ("%%flow query q --from src\nSELECT *\nfrom t JOIN ord", ["raw.orders"]),
        ('%%flow query q --from src\nSELECT * FROM raw."Od', ['raw."Odd Name"']),
        ('%%flow query q --from lake\nSELECT * FROM "ev', ["events"]),
        ("%%flow query q --from src\nSELECT du| FROM raw.orders", ['"Due Date"']),
        ("%%flow query q --from src\nSELECT am| FROM t", ["amount"]),
        ("%%flow query q --from src\nSELECT id, o| FROM t JOIN raw.orders AS o USING (id)", ["order_id"]),
        ("%%flow query q --from src\nSELECT o.am| FROM t, x JOIN raw.orders o", ["o.amount"]),
        ("%%flow query q --from src\nSELECT orders.order| FROM raw.orders WHERE 1 = 1", ["orders.order_id"]),
        ("%%flow pipeline p --from src --to tgt:p\n-- FROM\nSELECT n| FROM t", ["name"]),
        ("%%flow pipeline p \\\n --from src --to tgt:p\nSELECT n| FROM t", ["name"]),
        ("%%flow pipeline p \\\n --from src --mo|\nSELECT n FROM t", ["--mode"]),
        ("%%flow pipeline p --from src --to tgt:p --keys id,na|\nSELECT * FROM t", ["id,name"]),
        ("%%flow pipeline p --from src --to tgt:p --watermark am|\nSELECT * FROM t", ["amount"]),
        ("%%flow query q --from lake\nSELECT ki| FROM events", ["kind"]),
        ("%%flow query q --from src\nSELECT {{sin", ["{{since}}", "{{sinker}}"]),
        ("%%flow query q --from src\nSELECT {{sinc|}}", ["{{since"]),
        ("%%flow table t\nid big", ["bigint"]),
        ("%%flow check orders\nnot_n", ["not_null("]),
    ],
)
def test_tab_completes_what_connections_hold(lake: Any, text: str, expected: list[str]) -> None:
    assert answered(lake, text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "%%flow query q --from src\nSELECT 'am| FROM t",
        "%%flow query q --from src\nSELECT 1 -- am| FROM t",
        "%%flow query q --from nowhere\nSELECT am| FROM t",
        "%%flow query q\nSELECT am| FROM t",
        "%%flow query q --from src\nSELECT x.am| FROM t",
        "%flow preview nowhere:x",
    ],
)
def test_where_nothing_fits_the_word_stays_and_python_offers_nothing(lake: Any, text: str) -> None:
    completed(lake, text)
    (word,) = completed(lake, text)
    assert text.partition("|")[0].endswith(word)


def test_a_slow_connection_does_not_hold_up_typing() -> None:
    gate, now = threading.Event(), [0.0]
    asked: list[list[str | None]] = []

    def look(_: Any, things: list[str | None]) -> list[tuple[str, ...]]:
        asked.append(things)
        gate.wait(20)
        return [("orders",) if thing is None else ("id",) for thing in things]

    register_connection(connection_from_settings("slow", {"kind": "duckdb", "path": "x.duckdb"}))
    metadata = Metadata(look, clock=lambda: now[0])
    metadata.begin()
    now[0] = WAIT_SECONDS  # the time is over
    assert (metadata.tables("slow"), metadata.columns("slow", "t")) == ((), ())
    gate.set()
    now[0] = -100.0
    metadata.begin()
    now[0] = -1000.0  # long before its end: it waits for the answer
    assert (metadata.tables("slow"), metadata.columns("slow", "t")) == (("orders",), ("id",))
    assert [thing for things in asked for thing in things] == [None, "t"]


def test_an_old_answer_is_given_until_a_new_one_is_there() -> None:
    now, answers = [0.0], iter([("one",), ("two",)])
    gate = threading.Event()
    gate.set()

    def look(_: Any, things: list[str | None]) -> list[tuple[str, ...]]:
        gate.wait(20)
        return [next(answers) for _ in things]

    register_connection(connection_from_settings("wh", {"kind": "duckdb", "path": "x.duckdb"}))
    metadata = Metadata(look, clock=lambda: now[0])
    metadata._until = 1e9
    assert metadata.tables("wh") == ("one",)
    assert metadata.tables("wh") == ("one",)
    gate.clear()
    metadata.forget()
    assert metadata.tables("wh") == ("one",)
    gate.set()
    for _ in range(1000):
        if metadata.tables("wh") == ("two",):
            break
        gate.wait(0)
    assert metadata.tables("wh") == ("two",)


def test_a_connection_that_cannot_be_asked_is_left_alone_for_a_while() -> None:
    asked = []

    def look(connection: Any, _: list[str | None]) -> list[tuple[str, ...]]:
        asked.append(connection.name)
        raise OSError

    register_connection(connection_from_settings("gone", {"kind": "duckdb", "path": "x.duckdb"}))
    now = [0.0]
    metadata = Metadata(look, clock=lambda: now[0])
    metadata._until = 1e9
    for moment in (0.0, 5.0, 11.0):
        now[0] = moment
        assert metadata.tables("gone") == ()
        for thread in threading.enumerate():
            if thread.name == "ematix-metadata":
                thread.join(20)
    assert asked == ["gone", "gone"]


def test_a_text_that_only_looks_like_it_is_left_alone(notebook: Any) -> None:
    text = "print('%flow pre"
    assert "preview" not in completed(notebook, text)


def test_a_broken_settings_file_does_not_disturb_typing(notebook: Any, tmp_path: Any) -> None:
    (tmp_path / ".ematix-flow.toml").write_text("nonsense = [")
    assert completed(notebook, "%flow preview or") == ["orders"]
