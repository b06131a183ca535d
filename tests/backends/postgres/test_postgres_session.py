"""Transactions, errors, the catalogue, cancelling and pass-through, on a real server."""

from __future__ import annotations

import datetime as dt
import threading
import time
import uuid
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pyarrow as pa
import pytest

from ematix_nb.backends.postgres import BACKEND, io
from ematix_nb.connections.kinds import PostgresConnection
from ematix_nb.declare.data_types import BIGINT, INTEGER, TEXT, TIMESTAMPTZ, DataType
from ematix_nb.declare.spec import Column, TableRef
from ematix_nb.errors import (
    CancelledError,
    ConnectError,
    DataError,
    FlowError,
    RunError,
    SqlError,
    TransientError,
    UnreachableError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ematix_nb.backends.postgres.io import PostgresSession

ENDLESS = "SELECT generate_series(1, 1000000000) AS g"
LIMIT_S = 2.0


def test_describe_keeps_native_spellings(session: PostgresSession) -> None:
    session.execute("CREATE TYPE mood AS ENUM ('happy', 'sad')")
    session.execute("CREATE DOMAIN positive AS integer CHECK (value > 0)")
    session.execute(
        'CREATE TABLE t (m mood, p positive NOT NULL, i inet, c char(5), n numeric(10,2), v varchar(7), "É x" date)'
    )
    found = [(c.name, str(c.type), c.type.kind) for c in session.describe("SELECT * FROM t")]
    assert found == [
        ("m", "mood", "text"),
        ("p", "integer", "integer"),
        ("i", "inet", "text"),
        ("c", "character(5)", "string"),
        ("n", "numeric(10,2)", "numeric"),
        ("v", "string(7)", "string"),
        ("É x", "date", "date"),
    ]
    info = session.table(TableRef("public", "t"))
    assert info is not None
    assert [str(c.type) for c in info.columns][:3] == ["mood", "positive", "inet"]
    assert info.columns[1].type.kind == "integer"


@pytest.mark.parametrize(
    ("query", "message", "where"),
    [
        ("SELECT 1 AS a,\n  frm x", 'column "frm" does not exist', "line 2, column 3"),
        ("SELECT 1 AS a\nFROM nope", 'relation "nope" does not exist', "line 2, column 6"),
        ("SELECT 1 AS a\nFROM t WHERE", "syntax error", "line 2, column 13"),
        ("SELECT 1 AS a, 2 AS a", "gives the column `a` 2 times", ""),
        ("SELECT", "gives no columns", ""),
    ],
)
def test_wrong_queries(session: PostgresSession, query: str, message: str, where: str) -> None:
    with pytest.raises(SqlError, match=message) as caught:
        session.describe(query)
    assert caught.value.where == where


def test_user_text_is_untouched(session: PostgresSession) -> None:
    query = "SELECT '%s %% ? :x $1' AS a, 7 % 4 AS b -- the end"
    columns = session.describe(query)
    assert [batch.to_pylist() for batch in session.read(query, columns)] == [[{"a": "%s %% ? :x $1", "b": 3}]]
    assert session.fetch("SELECT $2::text || '%s', $1::integer", [5, "?"]) == [("?%s", 5)]


@pytest.mark.parametrize("name", ["select", 'a"b', "Mixed Case", "日本", "x%s", "a;b--", "$1"])
def test_odd_names(session: PostgresSession, name: str) -> None:
    session.execute(session.dialect.create_schema(name))
    ref, columns = TableRef(name, name), (Column(name, TEXT), Column(name + "2", DataType("interval")))
    session.execute(session.dialect.create_table(ref, columns, [name]))
    batch = pa.record_batch([pa.array(["x"]), pa.nulls(1, pa.month_day_nano_interval())], names=[name, name + "2"])
    assert session.write(ref, columns, [batch]) == 1
    query = f"SELECT * FROM {session.dialect.table(ref)}"
    assert next(session.read(query, session.describe(query))).column(0).to_pylist() == ["x"]
    info = session.table(ref)
    assert info is not None
    assert (info.ref, info.primary_key) == (ref, (name,))
    assert session.tables(name) == [ref]


def test_catalogue(session: PostgresSession) -> None:
    session.execute(
        "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY, a integer NOT NULL, b text DEFAULT 'x', k1 text,"
        " k2 integer, s integer GENERATED ALWAYS AS (a * 2) STORED, n serial, PRIMARY KEY (a), UNIQUE (k2, k1),"
        " UNIQUE (b) DEFERRABLE)"
    )
    session.execute("CREATE UNIQUE INDEX partial ON t (k1) WHERE a > 0")
    session.execute("CREATE UNIQUE INDEX expression ON t (lower(k1))")
    session.execute("CREATE UNIQUE INDEX covering ON t (k2) INCLUDE (b)")
    info = session.table(TableRef(None, "t"))
    assert info is not None
    assert info.ref == TableRef("public", "t")
    assert info.primary_key == ("a",)
    assert info.unique_keys == (("a",), ("k2", "k1"), ("k2",))
    assert info.generated == {"id", "s"}
    assert info.defaults == {"id", "b", "n"}
    assert [c.name for c in info.columns if not c.nullable] == ["id", "a", "n"]
    assert info.kind == "table"
    session.execute("CREATE VIEW v AS SELECT * FROM t")
    session.execute("CREATE TABLE p (d date) PARTITION BY RANGE (d)")
    session.execute("CREATE TABLE p1 PARTITION OF p DEFAULT")
    assert [str(ref) for ref in session.tables("public")] == ["public.p", "public.t", "public.v"]
    kinds = [found.kind for name in ("v", "p") if (found := session.table(TableRef("public", name)))]
    assert kinds == ["view", "partitioned"]
    assert session.table(TableRef("nowhere", "t")) is None


def test_definitions_roll_back(session: PostgresSession, other: PostgresSession) -> None:
    session.begin()
    session.execute("CREATE SCHEMA s")
    session.execute("CREATE TABLE s.t (a integer)")
    assert session.table(TableRef("s", "t")) is not None
    assert other.table(TableRef("s", "t")) is None
    session.rollback()
    session.rollback()
    assert session.table(TableRef("s", "t")) is None


def test_transactions(session: PostgresSession) -> None:
    session.execute("CREATE TABLE t (a integer PRIMARY KEY)")
    session.begin()
    with pytest.raises(UsageError, match="open already"):
        session.begin()
    assert session.execute("INSERT INTO t VALUES (1), (2)") == 2
    with pytest.raises(DataError, match=r"duplicate key .*Key \(a\)=\(1\)"):
        session.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(RunError, match="had failed and was rolled back"):
        session.commit()
    assert session.fetch("SELECT count(*) FROM t") == [(0,)]
    session.begin(read_only=True)
    with pytest.raises(RunError, match="read-only transaction"):
        session.execute("INSERT INTO t VALUES (1)")
    session.rollback()


def test_read_only_sessions(pg_url: str) -> None:
    reader = BACKEND.open(PostgresConnection(name="r", url=pg_url), read_only=True)
    with pytest.raises(RunError, match="read-only"):
        reader.execute("CREATE TABLE t (a integer)")
    reader.close()
    reader.close()


@pytest.mark.parametrize("stream", ["read", "copy_out"])
def test_leaving_early_keeps_the_transaction(session: PostgresSession, stream: str) -> None:
    session.begin()
    session.execute("CREATE TABLE t (a integer)")
    rows: Iterator[object] = (
        session.read(ENDLESS, session.describe(ENDLESS)) if stream == "read" else session.copy_out(ENDLESS)
    )
    next(rows)
    rows.close()  # type: ignore[attr-defined]
    session.commit()
    assert session.fetch("SELECT count(*) FROM t") == [(0,)]


def test_batches_arrive_one_by_one(session: PostgresSession) -> None:
    rows = session.read(ENDLESS, session.describe(ENDLESS), batch_rows=1000)
    assert [next(rows).num_rows for _ in range(5)] == [1000] * 5
    session.rollback()
    assert session.fetch("SELECT 1") == [(1,)]


def test_an_open_read_forbids_other_statements(session: PostgresSession) -> None:
    rows = session.read(ENDLESS, session.describe(ENDLESS))
    next(rows)
    with pytest.raises(UsageError, match="still open"):
        session.fetch("SELECT 1")
    assert next(rows).num_rows > 0
    del rows
    assert session.fetch("SELECT 1") == [(1,)]


def _when_running(session: PostgresSession, other: PostgresSession) -> threading.Thread:
    """Interrupts as soon as the server says that the session is busy."""
    pid = session.fetch("SELECT pg_backend_pid()")[0][0]

    def watch() -> None:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND state = 'active'"
        while other.fetch(asked, [pid]) != [(1,)]:
            pass
        session.interrupt()

    return threading.Thread(target=watch)


RUNNING: dict[str, Callable[[PostgresSession], object]] = {
    "execute": lambda s: s.execute("SELECT pg_sleep(60)"),
    "fetch": lambda s: s.fetch("SELECT pg_sleep(60)"),
    "read": lambda s: list(s.read(ENDLESS, [Column("g", INTEGER)])),
    "copy_out": lambda s: sum(rows for _, rows in s.copy_out(ENDLESS)),
}


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("name", RUNNING)
def test_interrupt(session: PostgresSession, other: PostgresSession, name: str, *, inside: bool) -> None:
    if inside:
        session.begin()
    watcher = _when_running(session, other)
    started = time.monotonic()
    watcher.start()
    with pytest.raises(CancelledError, match="cancelled; nothing was written"):
        RUNNING[name](session)
    assert time.monotonic() - started < LIMIT_S
    watcher.join()
    if inside:
        with pytest.raises(CancelledError, match="cancelled; nothing was written"):
            session.fetch("SELECT 1")
        session.rollback()
    assert session.fetch("SELECT 1") == [(1,)]


def test_interrupt_of_an_idle_session_does_nothing(session: PostgresSession) -> None:
    session.interrupt()
    assert session.fetch("SELECT 1") == [(1,)]


def test_interrupted_writes_leave_nothing(session: PostgresSession) -> None:
    session.execute("CREATE TABLE t (v bigint)")
    session.begin()

    def batches() -> Iterator[pa.RecordBatch]:
        while True:
            yield pa.record_batch([pa.array([1, 2, 3], pa.int64())], names=["v"])
            session.interrupt()

    with pytest.raises(CancelledError, match="cancelled; nothing was written"):
        session.write(TableRef(None, "t"), [Column("v", BIGINT)], batches())
    session.rollback()
    assert session.fetch("SELECT count(*) FROM t") == [(0,)]


def test_definitions_do_not_wait_for_ever(
    session: PostgresSession, other: PostgresSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(io, "DDL_LOCK_TIMEOUT_S", 1)
    session.execute("CREATE TABLE orders (a integer)")
    other.begin()
    other.execute("INSERT INTO orders VALUES (1)")
    with pytest.raises(
        TransientError, match=r"lock held by process \d+ of .*ematix_nb, idle in transaction.* on `orders`"
    ):
        session.execute("ALTER TABLE orders ADD COLUMN b integer")
    other.rollback()
    assert session.fetch("SHOW lock_timeout") == [("0",)]


def test_pass_through(session: PostgresSession, pg_url2: str) -> None:
    target = BACKEND.open(PostgresConnection(name="t", url=pg_url2))
    columns = (Column("a", INTEGER), Column("b", TEXT))
    target.execute("CREATE TABLE t (a integer, b text)")
    query = "SELECT g AS a, 'x' || g AS b FROM generate_series(1, 50000) AS g"
    assert target.copy_into(TableRef(None, "t"), columns, (chunk for chunk, _ in session.copy_out(query))) == 50_000
    assert sum(rows for _, rows in session.copy_out(query)) == 50_000
    assert target.fetch("SELECT count(*), sum(a), max(b) FROM t") == [(50_000, 1_250_025_000, "x9999")]
    with pytest.raises(SqlError, match="does not exist") as caught:
        target.copy_into(TableRef(None, "t"), columns, (chunk for chunk, _ in session.copy_out("SELECT 1 AS a,\nb")))
    assert caught.value.where == "line 2, column 1"
    assert target.fetch("SELECT count(*) FROM t") == [(50_000,)]
    target.close()


def test_identity(session: PostgresSession, other: PostgresSession, pg_url2: str) -> None:
    elsewhere = BACKEND.open(PostgresConnection(name="e", url=pg_url2))
    assert session.identity == other.identity
    assert session.identity != elsewhere.identity
    elsewhere.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"port": "1"}, r"nothing listens at 127\.0\.0\.1:1: connection refused"),
        ({"host": "no-such-host.invalid"}, "the host `no-such-host.invalid` is not known"),
        ({"user": "nobody", "password": "hunter22"}, "no user `nobody`|authentication failed for user `nobody`"),
        ({"dbname": "nowhere"}, "there is no database `nowhere` at 127"),
    ],
)
def test_failures_to_connect(pg_url: str, change: dict[str, str], message: str) -> None:
    parts = psycopg.conninfo.conninfo_to_dict(pg_url) | change
    user = str(parts["user"]) + (f":{parts['password']}" if "password" in parts else "")
    url = f"postgres://{user}@{parts['host']}:{parts.get('port', 5432)}/{parts['dbname']}"
    with pytest.raises(ConnectError, match=message) as caught:
        BACKEND.open(PostgresConnection(name="wh", url=url))
    assert "hunter22" not in str(caught.value)
    assert isinstance(caught.value, UnreachableError) == ("port" in change), "only silence may pass"


def test_a_server_that_has_no_room_may_have_some_later(session: PostgresSession, pg_url: str) -> None:
    session.execute("CREATE ROLE crowded LOGIN PASSWORD 'x' CONNECTION LIMIT 0")
    try:
        parts = psycopg.conninfo.conninfo_to_dict(pg_url)
        url = f"postgres://crowded:x@{parts['host']}:{parts.get('port', 5432)}/{parts['dbname']}"
        with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:[0-9]+ takes no more sessions just now: "):
            BACKEND.open(PostgresConnection(name="wh", url=url))
    finally:
        session.execute("DROP ROLE crowded")


def test_a_lost_connection_says_so(session: PostgresSession, other: PostgresSession) -> None:
    pid = session.fetch("SELECT pg_backend_pid()")[0][0]
    session.begin()
    other.execute("SELECT pg_terminate_backend($1)", [pid])
    with pytest.raises(TransientError, match=r"terminating connection|connection to 127.0.0.1:[0-9]+ was lost"):
        session.fetch("SELECT 1")
    session.rollback()


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_text_does_not_depend_on_settings(session: PostgresSession, zone: str) -> None:
    session.execute(f"SET timezone = '{zone}'")
    session.execute("SET datestyle = 'German'")
    session.execute("SET intervalstyle = 'iso_8601'")
    session.execute("SET bytea_output = 'escape'")
    made = {
        "timestamptz '2024-03-31 00:30:00.5+02'": (TIMESTAMPTZ, "2024-03-30 22:30:00.5+00"),
        "timestamp '2024-03-31 00:30'": (DataType("timestamp"), "2024-03-31 00:30:00"),
        "date '2024-03-31'": (DataType("date"), "2024-03-31"),
        "CAST('infinity' AS timestamptz)": (TIMESTAMPTZ, "infinity"),
        "interval '14 mons -3 days 1.5 s'": (DataType("interval"), "14 mons -3 days 1.500000 s"),
        "CAST(NULL AS interval)": (DataType("interval"), None),
        "CAST('\\x00ff' AS bytea)": (DataType("bytes"), "00ff"),
        "1.500": (DataType("numeric"), "1.5"),
    }
    for expression, (kind, expected) in made.items():
        assert session.fetch(f"SELECT {session.dialect.as_text(expression, kind)}") == [(expected,)], expression


def test_literals_and_hash(session: PostgresSession) -> None:
    moment = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)
    literal = session.dialect.literal
    query = f"SELECT {literal(moment, TIMESTAMPTZ)}, {literal(b'a')}, {literal(chr(39) + chr(92))}"
    assert session.fetch(query) == [(moment, b"a", "'\\")]
    digest = session.dialect.row_hash([Column("a", TEXT), Column("b", TEXT)])
    rows = session.fetch(f"SELECT {digest} FROM (VALUES ('a', 'bc'), ('ab', 'c'), ('a', NULL)) AS v (a, b)")
    assert [len(row[0]) for row in rows] == [32, 32, 32]
    assert len({row[0] for row in rows}) == 3


def test_locks(session: PostgresSession, other: PostgresSession) -> None:
    session.begin()
    session.execute(session.dialect.setup_lock())
    session.rollback()
    assert session.fetch(session.dialect.try_liveness_lock(7)) == [(1,)]
    assert other.fetch(other.dialect.try_liveness_lock(7)) == [(0,)]
    assert session.fetch(f"SELECT {session.dialect.now_seconds} > 1.7e9") == [(True,)]


def test_a_reading_session_cannot_write_and_a_writing_one_can_whatever_the_database_says(pg_url: str) -> None:
    with psycopg.connect(pg_url, autocommit=True) as admin:
        admin.execute("CREATE TABLE t (a integer)")
        name = pg_url.rpartition("/")[2]
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
    writer = BACKEND.open(PostgresConnection(name="w", url=pg_url))
    reader = BACKEND.open(PostgresConnection(name="r", url=pg_url), read_only=True)
    try:
        writer.begin()
        assert writer.execute("INSERT INTO t VALUES (1)") == 1
        writer.commit()
        reader.begin()
        with pytest.raises(FlowError, match="read-only transaction"):
            reader.execute("INSERT INTO t VALUES (2)")
    finally:
        reader.close()
        writer.close()


def test_two_sessions_make_one_schema(pg_url: str) -> None:
    one, two = (BACKEND.open(PostgresConnection(name=name, url=pg_url)) for name in ("one", "two"))
    statement = one.dialect.create_schema("fresh")
    try:
        one.begin()
        one.execute(statement)
        two.begin()
        waiting = threading.Timer(0.3, one.commit)
        waiting.start()
        two.execute(statement)
        waiting.join()
        two.execute('CREATE TABLE "fresh"."t" (a integer)')
        two.commit()
        assert two.table(TableRef("fresh", "t")) is not None
        assert two.execute(statement) in (0, -1)
    finally:
        one.close()
        two.close()


@pytest.mark.parametrize(("encoding", "sorts"), [("WIN1252", False), ("LATIN1", True), ("UTF8", True)])
def test_texts_sort_by_code_point_in_some_encodings_alone(pg_url: str, encoding: str, sorts: bool) -> None:  # noqa: FBT001
    """In WIN1252 the byte of `\u20ac` is smaller than that of `\u00e9`, its code point is larger."""
    url, name = urlsplit(pg_url), f"encoded_{encoding.lower()}_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(pg_url, autocommit=True) as server:
        made = f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        server.execute(made.encode())
        session = BACKEND.open(PostgresConnection(name="wh", url=urlunsplit(url._replace(path=f"/{name}"))))
        try:
            assert session.dialect.orderable(TEXT) is sorts
            smaller = "SELECT U&'\\20AC' COLLATE \"C\" < U&'\\00E9' COLLATE \"C\""
            if encoding != "LATIN1":  # which has no euro
                assert session.fetch(smaller) == [(not sorts,)]
        finally:
            session.close()
            server.execute(f"DROP DATABASE {name}".encode())
