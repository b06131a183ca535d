"""A source is one SELECT: everything else is refused by every verb with one message, and nothing has happened (X3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ematix_nb.declare.data_types import BIGINT, TEXT
from ematix_nb.df import read_df
from ematix_nb.errors import EXIT_USAGE, FlowError, SqlError
from ematix_nb.normalize import deduplicate_by, filter_where
from ematix_nb.sql.check import check_expression, check_select
from ematix_nb.verbs.dispatch import prepare
from ematix_nb.verbs.grammar import parse
from tests.conformance.matrix import SERVERS, open_system, url_of
from tests.conformance.run import declare
from tests.security.attacks import ATTACKS, EXPRESSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conformance.matrix import System

VERBS = ("preview", "plan", "dry-run", "run")
ROWS = [(1, "one"), (2, "two")]
SYSTEMS = [pytest.param(name, marks=[pytest.mark.integration] if name in SERVERS else [], id=name) for name in ATTACKS]


@pytest.fixture
def outside(tmp_path: Path) -> dict[str, str]:
    """A file that no query may read, and one that none may write."""
    secret = tmp_path / "secret.csv"
    secret.write_text("id\n1\n")
    return {"secret": str(secret), "secret_name": secret.name, "out": str(tmp_path / "out.csv")}


@pytest.fixture
def victim(project: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[System]:
    """A system with a table `v`."""
    assert project.is_dir()  # an own registry and working directory
    name = request.param
    system = open_system(name, tmp_path / "place", url_of(name, request), label="place")
    system.make("v", {"id": BIGINT, "name": TEXT}, ROWS)
    yield system
    assert system.rows("v", ("id", "name")) == ROWS


def refusal(verb: str, name: str) -> str:
    """The error of a verb."""
    with pytest.raises(FlowError) as caught:
        prepare(parse([verb, name]), registry_ready=True).run()
    assert caught.value.exit_code == EXIT_USAGE
    return caught.value.what


@pytest.mark.parametrize("dialect", [name for name in ATTACKS if name != "csv"])
def test_the_check_itself_refuses_every_attack(dialect: str) -> None:
    for attack in ATTACKS[dialect]:
        with pytest.raises(SqlError):
            check_select(attack.replace("{secret}", "/x/secret.csv"), dialect)


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.nightly)], ids=["some", "all"])
@pytest.mark.parametrize("victim", SYSTEMS, indirect=True)
def test_what_is_no_select_is_refused(victim: System, outside: dict[str, str], tmp_path: Path, every: int) -> None:
    """By each verb in turn, and every sixth text by all of them, and as a query on the connection."""
    before = victim.everything()
    for number, attack in enumerate(ATTACKS[victim.name][::every]):
        sql = attack
        for word, text in outside.items():
            sql = sql.replace(f"{{{word}}}", text)
        if victim.name == "csv":
            sql = sql.replace("FROM v", 'FROM "v/*.csv"')
        name = f"attack{number}"
        declare(victim, victim, sql, "t", name=name, mode="append")
        told = {refusal(verb, name) for verb in (VERBS if number % 6 == 0 else (VERBS[number % len(VERBS)],))}
        assert len(told) == 1, (attack, told)
        if number % 6 == 0:
            assert prepare(parse(["validate", name]), registry_ready=True).run().exit_code != 0
            with pytest.raises(FlowError) as caught:
                read_df(victim.connection, sql)
            assert {caught.value.what} == told, attack
    assert victim.everything() == before
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("victim", SYSTEMS, indirect=True)
def test_a_step_stays_in_its_brackets(victim: System, outside: dict[str, str]) -> None:
    before = victim.everything()
    for number, attack in enumerate(EXPRESSIONS[::3]):
        text = attack.replace("{secret}", outside["secret"])
        for kind, step in {"filter": filter_where(text), "order": deduplicate_by("id", order_by=text)}.items():
            name = f"{kind}{number}"
            sql = f"SELECT id, name FROM {victim.source('v')}"
            declare(victim, victim, sql, "t", name=name, mode="append", transforms_pre=[step])
            assert len({refusal(verb, name) for verb in ("preview", "run")}) == 1, attack
    assert victim.everything() == before


@pytest.mark.parametrize("dialect", ["postgres", "mysql", "sqlite", "duckdb", "datafusion"])
def test_ordinary_steps_pass(dialect: str) -> None:
    for text in (
        "id > 1 AND name IN ('a;b', ')', '(')",
        "-- only these )\n id BETWEEN 1 AND 2",
        "id IN (SELECT max(id) FROM v)",
        "name LIKE '%drop table%' /* ; */",
        "coalesce(name, '') <> ''",
    ):
        assert check_expression(text, dialect) == text


@pytest.mark.parametrize("dialect", ["postgres", "mysql", "sqlite", "duckdb", "datafusion"])
def test_an_expression_is_refused_where_it_leaves_its_place(dialect: str) -> None:
    for text in EXPRESSIONS:
        with pytest.raises(SqlError):
            check_expression(text, dialect)
