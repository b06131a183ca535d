"""One session: statements, transactions, stopping, and what is refused."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.backends.mysql import BACKEND
from ematix_nb.backends.mysql.dialect import DIALECT, MySQLDialect
from ematix_nb.connections.kinds import MySQLConnection
from ematix_nb.declare.data_types import BIGINT, TEXT, TIMESTAMPTZ, DataType
from ematix_nb.declare.spec import Column, TableRef
from ematix_nb.errors import (
    CancelledError,
    ConfigError,
    ConnectError,
    DataError,
    DeclarationError,
    RunError,
    SqlError,
    TransientError,
    UnreachableError,
    UsageError,
)

if TYPE_CHECKING:
    from ematix_nb.backends.mysql.io import MySQLSession

NUMBERS = "(WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT i FROM n)"
MANY = f"SELECT a.i * 1000 + b.i AS i, REPEAT('x', 100) AS t FROM {NUMBERS} AS a JOIN {NUMBERS} AS b"


def test_parameters_are_literals_in_their_places(session: MySQLSession) -> None:
    values = ["it's", "back\\slash", "\0NUL\n", "é😀", None, 7, 1.5, True, b"\x00'"]
    marks = ", ".join(f"?{index}" for index in range(1, len(values) + 1))
    assert session.fetch(f"SELECT {marks}, '?1', `x?2` FROM (SELECT 5 AS `x?2`) AS q -- ?3", values) == [
        ("it's", "back\\slash", "\0NUL\n", "é😀", None, 7, "1.5", 1, b"\x00'", "?1", 5)
    ]
    assert session.fetch("SELECT ?, ?", ["a", "b"]) == [("a", "b")]
    with pytest.raises(UsageError, match=r"names parameter \?2, and 1 were given"):
        session.fetch("SELECT ?2", ["a"])


def test_a_transaction_is_undone_or_kept(session: MySQLSession, other: MySQLSession) -> None:
    session.execute("CREATE TABLE t (a INT)")
    session.begin()
    assert session.execute("INSERT INTO t VALUES (1), (2)") == 2
    assert other.fetch("SELECT count(*) FROM t") == [(0,)]
    session.rollback()
    session.begin()
    session.execute("INSERT INTO t VALUES (3)")
    session.commit()
    assert other.fetch("SELECT a FROM t") == [(3,)]
    with pytest.raises(RunError, match="not open any more"):
        session.commit()


@pytest.mark.parametrize(
    "sql", ["CREATE TABLE x (a INT)", "truncate table t", "DROP TABLE t", " ALTER TABLE t ADD b INT"]
)
def test_what_commits_by_itself_is_refused_in_a_transaction(session: MySQLSession, sql: str) -> None:
    session.execute("CREATE TABLE t (a INT)")
    session.begin()
    session.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(UsageError, match="commits in MySQL whatever ran before it"):
        session.execute(sql)
    session.execute("CREATE TEMPORARY TABLE y (a INT)")
    session.execute("DROP TEMPORARY TABLE y")
    session.rollback()
    assert session.fetch("SELECT count(*) FROM t") == [(0,)]


def test_an_update_counts_the_rows_it_found(session: MySQLSession) -> None:
    session.execute("CREATE TABLE t (a INT)")
    session.execute("INSERT INTO t VALUES (1), (1)")
    assert session.execute("UPDATE t SET a = 1") == 2


def test_values_that_the_server_would_cut_are_errors(session: MySQLSession) -> None:
    session.execute("CREATE TABLE t (a VARCHAR(2), b INT PRIMARY KEY)")
    for sql, message in (
        ("INSERT INTO t VALUES ('a   ', 1)", "Data truncated for column 'a'"),
        ("INSERT INTO t VALUES ('abc', 1)", "Data too long for column 'a'"),
        ("INSERT IGNORE INTO t VALUES ('abc', 1)", "Data truncated for column 'a'"),
    ):
        session.begin()
        with pytest.raises(DataError, match=message):
            session.execute(sql)
        session.rollback()
    session.execute("INSERT INTO t VALUES ('a', 1)")
    assert session.execute("INSERT IGNORE INTO t VALUES ('b', 1)") == 0


def test_errors_say_what_and_where(session: MySQLSession) -> None:
    with pytest.raises(SqlError) as caught:
        session.describe("SELECT 1 AS a,\n  2 AS b\nFROMM x")
    assert caught.value.where.startswith("line 3")
    with pytest.raises(SqlError, match=r"Table '.*nothing' doesn't exist"):
        session.describe("SELECT * FROM nothing")
    with pytest.raises(SqlError, match="gives the column `a` 2 times"):
        session.describe("SELECT 1 AS a, 2 AS a")
    assert session.fetch("SELECT 1") == [(1,)]


def test_a_read_that_is_left_early_leaves_the_session_usable(session: MySQLSession) -> None:
    columns = session.describe(MANY)
    session.begin(read_only=True)
    stream = session.read(MANY, columns)
    assert next(stream).num_rows == 65_536
    with pytest.raises(UsageError, match="a read of this session is still open"):
        session.fetch("SELECT 1")
    started = time.monotonic()
    stream.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 2
    assert session.fetch("SELECT 1") == [(1,)]
    session.rollback()


def test_a_million_rows_come_whole_and_in_batches(session: MySQLSession) -> None:
    import pyarrow.compute as pc

    rows = total = 0
    for batch in session.read(MANY, session.describe(MANY)):
        assert batch.num_rows <= 65_536
        assert batch.nbytes < 32 << 20
        rows += batch.num_rows
        total += pc.sum(batch.column(0)).as_py()
    assert (rows, total) == (10**6, sum(a * 1000 + b for a in range(1, 1001) for b in range(1, 1001)))


@pytest.mark.parametrize("size", [250, 251, 65_535, 65_536, 2**24 - 1 - 5, 2**24, 2**25 + 17])
def test_texts_of_every_length(session: MySQLSession, size: int) -> None:
    """The protocol writes lengths in four ways, and rows beyond 16 MiB in several packets."""
    sql = f"SELECT 1 AS a, REPEAT('é', {size // 2}) AS t, NULL AS n UNION ALL SELECT 2, 'after', NULL"
    found = [row for batch in session.read(sql, session.describe(sql)) for row in batch.to_pylist()]
    assert [row["a"] for row in found] == [1, 2]
    assert len(found[0]["t"]) == size // 2
    assert found[1]["t"] == "after"
    assert found[0]["n"] is None


def interrupted(session: MySQLSession, work: Any) -> float:
    """Seconds from the interrupt to the end of the work, which must be stopped."""
    timer = threading.Timer(0.3, session.interrupt)
    timer.start()
    started = time.monotonic()
    with pytest.raises(CancelledError):
        work()
    timer.join()
    return time.monotonic() - started - 0.3


def test_interrupts_are_prompt(session: MySQLSession) -> None:
    slow = f"SELECT count(*) AS n FROM {NUMBERS} AS a JOIN {NUMBERS} AS b JOIN {NUMBERS} AS c ON a.i + b.i = c.i - 5000"
    columns = session.describe(slow)
    assert interrupted(session, lambda: session.fetch(slow)) < 2
    assert interrupted(session, lambda: list(session.read(slow, columns))) < 2
    session.execute("CREATE TABLE t (a BIGINT)")
    session.begin()
    session.execute("INSERT INTO t VALUES (1)")
    assert interrupted(session, lambda: session.execute(f"INSERT INTO t {slow}")) < 2
    with pytest.raises(CancelledError):
        session.commit()
    assert session.fetch("SELECT count(*) FROM t") == [(0,)]
    session.interrupt()  # nothing runs: nothing is stopped
    assert session.fetch("SELECT 1") == [(1,)]


def test_a_lost_connection_is_told_as_one(session: MySQLSession, other: MySQLSession) -> None:
    number = session.fetch("SELECT CONNECTION_ID()")[0][0]
    session.execute("CREATE TABLE t (a INT)")
    session.begin()
    session.execute("INSERT INTO t VALUES (1)")
    other.fetch(f"KILL {number}")
    with pytest.raises(TransientError, match=r"connection to 127.0.0.1:[0-9]+ was lost"):
        session.execute("INSERT INTO t VALUES (2)")
    session.rollback()
    assert other.fetch("SELECT count(*) FROM t") == [(0,)]


def test_read_only_sessions(mysql_url: str, session: MySQLSession) -> None:
    session.execute("CREATE TABLE t (a INT)")
    reader = BACKEND.open(MySQLConnection(name="r", url=mysql_url), read_only=True)
    with pytest.raises(RunError, match="READ ONLY"):
        reader.execute("INSERT INTO t VALUES (1)")
    assert reader.fetch("SELECT count(*) FROM t") == [(0,)]
    reader.close()
    reader.close()


def test_identity(session: MySQLSession, other: MySQLSession, mysql_url2: str) -> None:
    elsewhere = BACKEND.open(MySQLConnection(name="e", url=mysql_url2))
    assert session.identity == other.identity != elsewhere.identity
    assert session.place == elsewhere.place
    elsewhere.close()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (("root@", "root:wrong-pass@"), ConnectError, "authentication failed for user `root`"),
        (("ematix_test_", "ematix_none_"), ConnectError, "there is no database `ematix_none_"),
        (("127.0.0.1:", "127.0.0.77:"), UnreachableError, "nothing listens at 127.0.0.77"),
        (("?", "?ssl_mode=required&"), ConnectError, "no trusted connection|cannot connect"),
        (("?", "?ssl_mod=required&"), ConfigError, "unknown parameter `ssl_mod`"),
        (("?", "?ssl_mode=perhaps&"), ConfigError, "expected one of disabled, required"),
    ],
)
def test_failures_to_connect(mysql_url: str, change: tuple[str, str], error: type[Exception], message: str) -> None:
    url = f"{mysql_url}?".replace(*change).rstrip("?&")
    with pytest.raises(error, match=message):
        BACKEND.open(MySQLConnection(name="r", url=url))


def test_a_server_that_has_no_room_may_have_some_later(session: MySQLSession, mysql_url: str) -> None:
    session.execute("CREATE USER 'crowded'@'%' WITH MAX_USER_CONNECTIONS 1")
    try:
        session.execute("GRANT ALL ON *.* TO 'crowded'@'%'")
        url = mysql_url.replace("root@", "crowded@")
        first = BACKEND.open(MySQLConnection(name="r", url=url))
        with pytest.raises(UnreachableError, match=r"takes no more sessions just now: .*max_user_connections"):
            BACKEND.open(MySQLConnection(name="r", url=url))
        first.close()
    finally:
        session.execute("DROP USER 'crowded'@'%'")


def test_names() -> None:
    assert DIALECT.quote("ä" * 64) == "`" + "ä" * 64 + "`"
    for name, message in (
        ("x" * 65, "has 65 characters"),
        ("🦆", "cannot hold"),
        ("a ", "ends with a blank"),
        ("", "empty"),
    ):
        with pytest.raises(DeclarationError, match=message):
            DIALECT.quote(name)


def test_other_machines_are_asked_for_a_certificate() -> None:
    import ssl

    from ematix_nb.backends.mysql.config import settings_of, tls_options

    def options(url: str) -> dict[str, Any]:
        return tls_options(settings_of(MySQLConnection(name="c", url=url), read_only=True))

    assert options("mysql://u@127.0.0.1/d") == options("mysql://u@localhost/d") == {}
    context = options("mysql://u@db.example.com/d")["ssl"]
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert options("mysql://u@db.example.com/d?ssl-mode=DISABLED") == {"ssl_disabled": True}
    loose = options("mysql://u@db.example.com/d?ssl_mode=required")["ssl"]
    assert (loose.check_hostname, loose.verify_mode) == (False, ssl.CERT_NONE)


def test_what_differs_in_mysql_is_spelled_for_it() -> None:
    mysql = MySQLDialect(mariadb=False, version=(8, 0, 36))
    columns = [Column("k", TEXT), Column("j", DataType("json")), Column("t", TIMESTAMPTZ)]
    text = mysql.create_table(TableRef(None, "t"), columns, ["k"])
    assert "COLLATE utf8mb4_0900_bin" in text
    assert "`k` VARCHAR(700)" in text
    assert "`j` LONGTEXT NULL COMMENT 'json'" in text
    assert "`t` DATETIME(6) NULL COMMENT 'timestamptz'" in text
    assert "JSON NULL" in DIALECT.create_table(TableRef(None, "t"), columns, ["k"])


def test_tables_are_listed(session: MySQLSession) -> None:
    session.execute("CREATE TABLE `b c` (a INT)")
    session.execute("CREATE VIEW a AS SELECT 1 AS x")
    session.execute("CREATE TEMPORARY TABLE hidden (a INT)")
    assert session.tables() == [TableRef(None, "a"), TableRef(None, "b c")]
    assert session.table(TableRef(None, "nothing")) is None
    assert session.table(TableRef("nowhere", "nothing")) is None
    info = session.table(TableRef(None, "a"))
    assert info is not None
    assert info.kind == "view"


def test_columns_that_need_no_value(session: MySQLSession) -> None:
    session.execute(
        "CREATE TABLE t (id BIGINT AUTO_INCREMENT PRIMARY KEY, a INT NOT NULL, b INT AS (a + 1) VIRTUAL,"
        " c INT DEFAULT 5, d INT INVISIBLE, UNIQUE (a, c), UNIQUE (d), KEY (b))"
    )
    info = session.table(TableRef(None, "t"))
    assert info is not None
    assert (info.primary_key, info.unique_keys) == (("id",), (("id",), ("a", "c"), ("d",)))
    assert (sorted(info.generated), sorted(info.defaults)) == (["b"], ["c", "id"])
    assert [column.name for column in info.columns] == ["id", "a", "b", "c", "d"]
    assert (
        session.write(TableRef(None, "t"), [Column("id", BIGINT), Column("a", BIGINT)], [batch_of(id=[0], a=[1])]) == 1
    )
    assert session.fetch("SELECT id, a, b, c FROM t") == [(0, 1, 2, 5)]


def batch_of(**columns: list[Any]) -> Any:
    """A record batch of whole numbers."""
    import pyarrow as pa

    return pa.record_batch([pa.array(values, pa.int64()) for values in columns.values()], names=list(columns))


def test_it_tells_about_how_many_rows_a_query_has(session: MySQLSession) -> None:
    session.execute("CREATE TABLE t (a INT, b INT)")
    session.execute(f"INSERT INTO t SELECT i, i % 3 FROM {NUMBERS} AS n")
    session.execute("ANALYZE TABLE t")
    assert session.estimate("SELECT a FROM t -- all") == 1000
    assert session.estimate("WITH u AS (SELECT a FROM t UNION ALL SELECT b FROM t) SELECT * FROM u") == 2000
    assert session.estimate("SELECT x.a FROM t AS x JOIN t AS y LIMIT 5") == 5
    assert session.estimate("SELECT a FROM t WHERE 1 = 0") == 0
    assert session.estimate("SELECT 1 AS a") == 1
    with pytest.raises(SqlError, match="Unknown column"):
        session.estimate("SELECT nope FROM t")


def test_the_estimate_of_a_view_that_may_only_be_read(session: MySQLSession, mysql_url: str) -> None:
    user = f"reader_{mysql_url[-12:]}"
    session.execute("CREATE TABLE hidden (a INT)")
    session.execute("CREATE VIEW shown AS SELECT a FROM hidden")
    session.execute(f"CREATE USER {user} IDENTIFIED BY 'only-here'")
    try:
        session.execute(f"GRANT SELECT ON shown TO {user}")
        url = mysql_url.replace("//root@", f"//{user}:only-here@")
        reader = BACKEND.open(MySQLConnection(name="reader", url=url), read_only=True)
        assert reader.estimate("SELECT a FROM shown") is None
        assert reader.fetch("SELECT a FROM shown") == []
        reader.close()
    finally:
        session.execute(f"DROP USER {user}")
