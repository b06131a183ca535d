"""X27: the rights that `docs/security.md` names for each mode are enough, and each of them is needed (PostgreSQL)."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from ematix_nb import PostgresConnection, register_connection
from ematix_nb.declare import registry
from ematix_nb.declare.pipelines import build_pipeline
from ematix_nb.errors import FlowError
from ematix_nb.verbs.run import run

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
EVERYWHERE = (
    "TEMPORARY ON DATABASE {database}",
    "USAGE ON SCHEMA {schema}",
    "USAGE ON SCHEMA ematix_flow",
    "SELECT ON {schema}.src",
    "SELECT ON ematix_flow.state_version",
    "SELECT ON ematix_flow.watermarks",
    "SELECT ON ematix_flow.run_history",
    "INSERT ON ematix_flow.run_history",
    "UPDATE ON ematix_flow.run_history",
    "SELECT ON ematix_flow.lease",
    "UPDATE ON ematix_flow.lease",
)
OF_THE_TARGET = {
    "append": ("SELECT", "INSERT"),
    "truncate": ("INSERT", "TRUNCATE"),
    "merge": ("SELECT", "INSERT", "UPDATE"),
    "merge with deletes": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "scd2": ("SELECT", "INSERT", "UPDATE"),
    "scd2 with event times": ("SELECT", "INSERT", "UPDATE", "DELETE"),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "append": {"mode": "append", "watermark_column": "at", "incremental": True},
    "truncate": {"mode": "truncate"},
    "merge": {"mode": "merge", "keys": ("id",)},
    "merge with deletes": {"mode": "merge", "keys": ("id",), "handle_deletes": "hard"},
    "scd2": {"mode": "scd2", "keys": ("id",)},
    "scd2 with event times": {"mode": "scd2", "keys": ("id",), "event_timestamp_column": "at"},
}


class Rights:
    """A database with a loaded target, and a user who may do nothing in it."""

    def __init__(self, url: str, admin: psycopg.Connection[Any]) -> None:
        self.admin = admin
        self.role = f"loader_{secrets.token_hex(4)}"
        self.database = urlsplit(url).path[1:]
        self.admin.execute(f"CREATE ROLE {self.role} LOGIN".encode())
        self.admin.execute(f"REVOKE ALL ON DATABASE {self.database} FROM PUBLIC".encode())
        self.admin.execute(f"GRANT CONNECT ON DATABASE {self.database} TO {self.role}".encode())
        parts = urlsplit(url)
        self.url = urlunsplit(parts._replace(netloc=f"{self.role}@{parts.hostname}:{parts.port}"))
        self.number = 2

    def change(self, word: str, right: str) -> None:
        """GRANT or REVOKE a right."""
        side = "TO" if word == "GRANT" else "FROM"
        text = right.format(database=self.database, schema="shop")
        self.admin.execute(f"{word} {text} {side} {self.role}".encode())

    def more(self) -> None:
        """A new row and a changed one in the source."""
        self.number += 1
        self.admin.execute(b"INSERT INTO shop.src VALUES ($1, 'new', now())".replace(b"$1", str(self.number).encode()))
        self.admin.execute(f"UPDATE shop.src SET note = 'v{self.number}', at = now() WHERE id = 1".encode())


@pytest.fixture
def rights(pg_url: str) -> Iterator[Rights]:
    with psycopg.connect(pg_url, autocommit=True) as admin, registry.scratch():
        admin.execute("CREATE SCHEMA shop")
        admin.execute("CREATE TABLE shop.src (id int, note text, at timestamptz)")
        admin.execute("INSERT INTO shop.src VALUES (1, 'a', now()), (2, 'b', now())")
        made = Rights(pg_url, admin)
        try:
            yield made
        finally:
            admin.execute(f"DROP OWNED BY {made.role}".encode())
            admin.execute(f"DROP ROLE {made.role}".encode())


def load(url: str, mode: str) -> None:
    """Load as a user.

    Raises:
        FlowError: It did not load.
    """
    register_connection(PostgresConnection(name="pg", url=url))
    spec = build_pipeline(
        name="load",
        target="pg:shop.tgt",
        source_connection="pg",
        sql="SELECT id, note, at FROM shop.src",
        **OPTIONS[mode],
    )
    run(spec).raise_for_status()


def error_of(url: str, mode: str) -> FlowError:
    """Why a load is refused."""
    with pytest.raises(FlowError) as caught:
        load(url, mode)
    return caught.value


@pytest.mark.parametrize("mode", OF_THE_TARGET)
def test_the_named_rights_are_enough_and_one_less_is_named(mode: str, rights: Rights, pg_url: str) -> None:
    load(pg_url, mode)
    needed = [*EVERYWHERE, *(f"{right} ON shop.tgt" for right in OF_THE_TARGET[mode])]
    if mode == "append":
        needed += ["INSERT ON ematix_flow.watermarks", "UPDATE ON ematix_flow.watermarks"]
    for right in needed:
        rights.change("GRANT", right)
    rights.more()
    load(rights.url, mode)
    for right in needed if mode == "append" else needed[len(EVERYWHERE) :]:
        rights.more()
        rights.change("REVOKE", right)
        error = error_of(rights.url, mode)
        wanted = right.format(database=rights.database, schema="shop").replace(" ON ", " ON ", 1)
        assert f"GRANT {wanted} TO {rights.role}" in error.hint.replace('"', ""), (right, str(error))
        rights.change("GRANT", right)
    load(rights.url, mode)


def test_the_page_names_them() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for mode, needed in OF_THE_TARGET.items():
        assert (
            f"| `{mode.partition(' ')[0]}`{mode.partition(' ')[1]}{mode.partition(' ')[2]} | {', '.join(needed)} |"
            in page
        )
