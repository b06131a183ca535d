"""How a merge counts: in the upsert itself on a plain table, by a join before it where rows could be dropped unseen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from ematix_nb import PostgresConnection, ematix, register_connection
from ematix_nb.declare import registry
from ematix_nb.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ematix_nb.api import Pipeline

PLAIN = "CREATE TABLE tgt (id bigint PRIMARY KEY, name text)"
PARTITIONED = (
    "CREATE TABLE tgt (id bigint PRIMARY KEY, name text) PARTITION BY RANGE (id);"
    "CREATE TABLE tgt_low PARTITION OF tgt FOR VALUES FROM (MINVALUE) TO (3);"
    "CREATE TABLE tgt_high PARTITION OF tgt FOR VALUES FROM (3) TO (MAXVALUE)"
)
DROPPING = (
    f"{PLAIN}; CREATE FUNCTION drop_new() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN IF NEW.id = 4 THEN RETURN NULL; END IF; RETURN NEW; END $$;"
    "CREATE TRIGGER dropping BEFORE INSERT ON tgt FOR EACH ROW EXECUTE FUNCTION drop_new()"
)
REFERRED = f"{PLAIN}; CREATE TABLE child (id bigint REFERENCES tgt)"
SOURCE = (
    "CREATE TABLE src (id bigint, name text);"
    "INSERT INTO src VALUES (1, 'one'), (2, 'changed'), (3, NULL), (4, 'new'), (4, 'newer')"
)
OLD = "INSERT INTO tgt VALUES (1, 'one'), (2, 'two'), (3, NULL), (9, 'stays')"


@pytest.fixture
def url(pg_url: str) -> Iterator[str]:
    with registry.scratch():
        register_connection(PostgresConnection(name="wh", url=pg_url))
        yield pg_url


def prepare(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def rows(url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT id, name FROM tgt ORDER BY id").fetchall()


def merge() -> Pipeline:
    @ematix.pipeline(target="wh:public.tgt", mode="merge", keys=("id",))
    def counted() -> str:
        return "SELECT id, name FROM src"

    return counted


@pytest.mark.integration
@pytest.mark.parametrize("table", [PLAIN, PARTITIONED, REFERRED], ids=["plain", "partitioned", "referred to"])
def test_counts(url: str, table: str) -> None:
    prepare(url, table, OLD, SOURCE)
    counts = merge().sync().counts
    names = ("read", "inserted", "updated", "unchanged", "deduplicated")
    assert [counts[f"rows_{name}"] for name in names] == [5, 1, 1, 2, 1]
    assert rows(url) == [(1, "one"), (2, "changed"), (3, None), (4, "newer"), (9, "stays")]
    again = merge().sync().counts
    assert [again[f"rows_{name}"] for name in ("inserted", "updated", "unchanged")] == [0, 0, 4]


@pytest.mark.integration
def test_a_row_that_a_trigger_drops_is_not_called_unchanged(url: str) -> None:
    prepare(url, DROPPING, OLD, SOURCE)
    with pytest.raises(DataError, match="touched 1 row where 2 were counted"):
        merge().sync()
    assert rows(url) == [(1, "one"), (2, "two"), (3, None), (9, "stays")]
