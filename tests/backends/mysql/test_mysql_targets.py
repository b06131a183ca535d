"""Loading into tables that somebody else made: engines, collations, keys; and what a failed run leaves behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb import ematix
from ematix_nb.connections.kinds import DuckDBConnection, MySQLConnection
from ematix_nb.declare import registry
from ematix_nb.errors import DataError, FlowError, SchemaDriftError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Load = Callable[..., Any]


@pytest.fixture
def load(mysql_url: str) -> Iterator[Load]:
    """Loads the rows of a SELECT into the table `t`: ``load(sql, mode=..., ...)``."""
    source = DuckDBConnection(name="src", path=":memory:")
    target = MySQLConnection(name="wh", url=mysql_url)

    def run(sql: str, *, dry: bool = False, local: bool = False, **options: Any) -> Any:
        pipeline = ematix.pipeline(
            name="p", target=options.pop("target", "t"), source_connection=target if local else source,
            target_connection=target, **options,
        )(lambda _: sql)  # fmt: skip
        return pipeline.dry_run() if dry else pipeline.sync()

    with registry.scratch():
        yield run


def counts(result: Any) -> dict[str, int]:
    return {name.removeprefix("rows_"): rows for name, rows in result.counts.items() if rows}


def test_an_engine_without_transactions_is_refused(load: Load, admin: Any) -> None:
    admin.execute("CREATE TABLE t (id BIGINT) ENGINE=MyISAM")
    with pytest.raises(SchemaDriftError, match="the engine of `t` is MyISAM, which has no transactions") as caught:
        load("SELECT 1::BIGINT AS id", mode="append")
    assert "ALTER TABLE `t` ENGINE=InnoDB" in caught.value.hint
    admin.execute("DROP TABLE t")
    load("SELECT 1::BIGINT AS id", mode="append")
    admin.execute("ALTER TABLE ematix_flow_run_history ENGINE=MyISAM")
    with pytest.raises(
        FlowError, match=r"state table `ematix_flow_run_history` cannot be part of a transaction: .*MyISAM"
    ):
        load("SELECT 1::BIGINT AS id", mode="append")


def test_keys_of_ours_tell_case_blanks_and_accents_apart(load: Load, admin: Any) -> None:
    rows = "SELECT * FROM (VALUES ('a', 1), ('A', 2), ('a ', 3), ('á', 4), ('', 5)) AS v (k, n)"
    assert counts(load(rows, mode="merge", keys=("k",))) == {"read": 5, "inserted": 5}
    assert counts(load(rows, mode="merge", keys=("k",))) == {"read": 5, "unchanged": 5}
    changed = "SELECT * FROM (VALUES ('A', 7), ('a ', 3)) AS v (k, n)"
    assert counts(load(changed, mode="merge", keys=("k",))) == {"read": 2, "updated": 1, "unchanged": 1}
    admin.execute("SELECT COLUMN_TYPE, COLLATION_NAME FROM information_schema.columns WHERE table_name = 't'"
                  " AND table_schema = DATABASE() AND column_name = 'k'")  # fmt: skip
    assert admin.fetchall() == (("varchar(700)", "utf8mb4_nopad_bin"),)


@pytest.mark.parametrize("collation", ["utf8mb4_general_ci", "utf8mb4_bin", "latin1_swedish_ci"])
def test_keys_of_others_lose_no_row(load: Load, admin: Any, collation: str) -> None:
    charset = collation.partition("_")[0]
    admin.execute(
        f"CREATE TABLE t (k VARCHAR(20) PRIMARY KEY, v VARCHAR(20)) CHARACTER SET {charset} COLLATE {collation}"
    )
    admin.execute("INSERT INTO t VALUES ('a', 'x'), ('b', 'y')")
    rows = "SELECT * FROM (VALUES ('a', 'X'), ('b', 'y'), ('c', 'z')) AS v (k, v)"
    assert counts(load(rows, mode="merge", keys=("k",))) == {"read": 3, "inserted": 1, "updated": 1, "unchanged": 1}
    other = "'a '" if collation == "utf8mb4_bin" else "'A'"
    for both in (f"SELECT {other} AS k, 'q' AS v", f"SELECT * FROM (VALUES ('d', 'q'), ({other}, 'q')) AS v (k, v)"):
        with pytest.raises(DataError, match="Duplicate entry"):
            load(both, mode="merge", keys=("k",))
    admin.execute("SELECT k, v FROM t ORDER BY k")
    assert admin.fetchall() == (("a", "X"), ("b", "y"), ("c", "z"))
    assert counts(load(rows.replace("('c'", "('C'"), mode="append", target="u")) == {"read": 3, "inserted": 3}


def test_long_keys_are_refused_by_value(load: Load) -> None:
    load("SELECT repeat('é', 700) AS k, 1 AS v", mode="merge", keys=("k",))
    with pytest.raises(DataError, match="column `k`, row 1: a text of 701 characters does not fit"):
        load("SELECT repeat('é', 701) AS k, 1 AS v", mode="merge", keys=("k",))


def test_a_failed_first_run_leaves_no_table(load: Load, admin: Any) -> None:
    with pytest.raises(DataError, match="neither NaN nor infinity"):
        load("SELECT 1 AS id, 'NaN'::DOUBLE AS v", mode="append")
    with pytest.raises(DataError, match="neither NaN nor infinity"):
        load("SELECT 1 AS id, 'NaN'::DOUBLE AS v", mode="merge", keys=("id",))
    admin.execute("SHOW TABLES LIKE 't'")
    assert admin.fetchall() == ()


def test_a_dry_run_counts_on_a_copy_when_the_schema_changes(load: Load, admin: Any) -> None:
    admin.execute(
        "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(9) DEFAULT 'd',"
        " g INT AS (CHAR_LENGTH(v)) STORED, KEY (v))"
    )
    admin.execute("INSERT INTO t (id, v) VALUES (1, 'one'), (2, 'two')")
    admin.execute("SHOW CREATE TABLE t")
    before = admin.fetchall()
    rows = "SELECT * FROM (VALUES (1, 'one', 'n'), (2, '2', 'n'), (3, '3', 'n')) AS v (id, v, more)"
    told = counts(load(rows, dry=True, mode="merge", keys=("id",)))
    admin.execute("SHOW CREATE TABLE t")
    assert admin.fetchall() == before
    admin.execute("SHOW TABLES")
    assert admin.fetchall() == (("t",),)
    assert told == counts(load(rows, mode="merge", keys=("id",))) == {"read": 3, "inserted": 1, "updated": 2}
    admin.execute("SELECT id, v, g, more FROM t ORDER BY id")
    assert admin.fetchall() == ((1, "one", 3, "n"), (2, "2", 1, "n"), (3, "3", 1, "n"))


def test_a_dry_run_into_a_database_that_is_not_there(load: Load, admin: Any) -> None:
    result = load("SELECT 1 AS id", dry=True, mode="merge", keys=("id",), target="ematix_nowhere.numbers")
    assert counts(result) == {"read": 1, "inserted": 1}
    admin.execute("SHOW DATABASES LIKE 'ematix_nowhere'")
    assert admin.fetchall() == ()


def test_a_column_with_a_default_is_not_widened(load: Load, admin: Any) -> None:
    admin.execute("CREATE TABLE t (id INT DEFAULT 7, n INT)")
    with pytest.raises(SchemaDriftError, match="column `id` of `t` would have to become bigint, and has a default"):
        load("SELECT 1::BIGINT AS id", mode="append")
    assert counts(load("SELECT 1::BIGINT AS n", mode="append")) == {"read": 1, "inserted": 1}
    admin.execute("SELECT id, n FROM t")
    assert admin.fetchall() == ((7, 1),)


def test_where_the_server_forbids_local_files_rows_are_inserted(load: Load, admin: Any) -> None:
    from ematix_nb.backends.mysql.io import MySQLSession

    started = MySQLSession._start

    def start(self: MySQLSession) -> None:
        started(self)
        self.loads_local = False

    MySQLSession._start = start  # type: ignore[method-assign]
    try:
        rows = "SELECT i AS id, 'text ' || i AS v FROM range(100000) AS r (i)"
        assert counts(load(rows, mode="merge", keys=("id",))) == {"read": 100_000, "inserted": 100_000}
    finally:
        MySQLSession._start = started  # type: ignore[method-assign]
    admin.execute("SELECT count(*), sum(id), max(length(v)) FROM t")
    assert admin.fetchall() == ((100_000, 4_999_950_000, 10),)


def test_one_database_needs_no_way_through_the_engine(load: Load, admin: Any) -> None:
    admin.execute("CREATE TABLE s (id INT PRIMARY KEY, b BOOL, e ENUM('x','y'), f FLOAT, t TIMESTAMP(3) NULL)")
    admin.execute("INSERT INTO s VALUES (1, 2, 'y', 0.1, '2024-01-01 00:00:00.123')")
    result = load("SELECT * FROM s", local=True, mode="append")
    assert (result.targets[0].plan.route, counts(result)) == ("insert-select", {"read": 1, "inserted": 1})
    admin.execute("SELECT id, b, e, f FROM t")
    assert admin.fetchall() == ((1, 2, "y", 0.1),)
