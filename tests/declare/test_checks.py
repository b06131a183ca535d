"""Checks as data: what a text says, what is refused, what the fingerprint sees."""

from __future__ import annotations

import contextlib
import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ematix_nb import checks
from ematix_nb.api import ematix
from ematix_nb.declare import registry
from ematix_nb.declare.cells import build_cell_pipeline, parse_cell
from ematix_nb.declare.checks import parse_body, parse_check
from ematix_nb.declare.fingerprint import difference, fingerprint
from ematix_nb.declare.pipelines import build_pipeline, override
from ematix_nb.errors import DeclarationError, FlowError, UnknownNameError

SAME = [
    ("not_null(id)", checks.not_null("id")),
    ('not_null("My Column", id)', checks.not_null("My Column", "id")),
    ("unique(id, day)", checks.unique("id", "day")),
    ("between(amount, 0, 1e6)", checks.between("amount", 0, 1e6)),
    ("between(amount, -1, high=5)", checks.between("amount", -1, 5)),
    ('between(amount, "1.10")', checks.between("amount", Decimal("1.10"))),
    ('between(at, low="2026-01-31")', checks.between("at", dt.date(2026, 1, 31))),
    ('freshness(at, "90m")', checks.freshness("at", dt.timedelta(minutes=90))),
    ("freshness(at, 7200)", checks.freshness("at", "2h")),
    ("row_count(min=1)", checks.row_count(min=1)),
    ("row_count(0, 10)", checks.row_count(max=10, min=0)),
    ("warn: unique(id)", checks.unique("id", on_fail="warn")),
    ("not_null(id, on_fail=quarantine)", checks.not_null("id", on_fail="quarantine")),
    ("amount >= 0 AND status <> ''", checks.sql("amount >= 0 AND status <> ''")),
    ("abs(amount) < 5", checks.sql("abs(amount) < 5")),
    ("warn: SELECT 1;", checks.sql("SELECT 1", on_fail="warn")),
]


@pytest.mark.parametrize(("text", "check"), SAME)
def test_a_text_and_a_call_are_one_check(text: str, check: checks.Check) -> None:
    assert parse_check(text) == check
    assert parse_check(str(check)) == check


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (checks.not_null, "names no column"),
        (lambda: checks.unique("a", "a"), "names `a` twice"),
        (lambda: checks.between("a"), "has no bound"),
        (lambda: checks.between("a", 5, 1), "5 is more than 1"),
        (lambda: checks.between("a", True, 1), "a number, a date or a time, got True"),
        (lambda: checks.between("a", float("nan"), 1), "a number, a date or a time, got nan"),
        (lambda: checks.freshness("a", "soon"), "is a duration, got 'soon'"),
        (checks.row_count, "has no bound"),
        (lambda: checks.row_count(min=-1), "a whole number from 0 on, got -1"),
        (lambda: checks.sql(" ; "), "is empty"),
        (lambda: checks.not_null("a", on_fail="wran"), "on_fail of .* is `wran`"),
        (lambda: checks.unique("a", on_fail="quarantine"), "does not look at one row alone"),
        (lambda: parse_check("not_nul(a)"), "there is no check `not_nul`"),
        (lambda: parse_check("freshness(at, 2h)"), r"not understood[\s\S]*in quotes"),
        (lambda: parse_check("unique(a, b=c)"), "wrong arguments"),
        (lambda: parse_check("unique(a + b)"), "neither a name, a text nor a number"),
        (lambda: build_pipeline(sql="SELECT 1", name="p", target="a:b", checks=5), "list of checks, got int"),
        (lambda: build_pipeline(sql="SELECT 1", name="p", target="a:b", checks=[5]), "holds 5"),
    ],
)
def test_what_is_refused(make: Any, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        make()


def test_a_cell_has_one_a_line_and_selects_that_go_on() -> None:
    body = "# ids\nnot_null(id)\n\nSELECT id\nFROM loaded\n\nwarn: select *\nfrom target;\namount > 0\n"
    assert [str(check) for check in parse_body(body)] == [
        'not_null("id")',
        'sql("SELECT id\\nFROM loaded")',
        'sql("select *\\nfrom target", on_fail="warn")',
        'sql("amount > 0")',
    ]
    with pytest.raises(DeclarationError, match="there is no check in the cell"):
        parse_cell("check orders", "-- none\n")
    with pytest.raises(DeclarationError, match=r"has no bound[\s\S]*cell line 3"):
        parse_cell("check orders", "not_null(id)\nrow_count()")


def test_cell_option_keyword_and_text_have_one_fingerprint() -> None:
    line = 'pipeline ones --to a:b --check "not_null(id)" --check "warn: id > 0"'
    cell = build_cell_pipeline(parse_cell(line, "SELECT 1 AS id"))
    given = [checks.not_null("id"), checks.sql("id > 0", on_fail="warn")]
    same = build_pipeline(sql="SELECT 1 AS id", name="ones", target="a:b", checks=given)
    assert cell.checks == same.checks == tuple(given)
    assert fingerprint(cell) == fingerprint(same)
    plain = build_pipeline(sql="SELECT 1 AS id", name="ones", target="a:b")
    assert fingerprint(plain) != fingerprint(same)
    assert difference(same, plain) == ['checks: not_null("id"), sql("id > 0", on_fail="warn") -> none']
    assert fingerprint(override(same, checks=())) == fingerprint(plain)


def test_checks_beside_a_declaration_stay_with_it() -> None:
    with registry.scratch():

        @ematix.pipeline(target="a:b", source_connection="a", checks=["not_null(id)"])
        def ones(conn: Any) -> str:
            return "SELECT 1 AS id"

        before = ones.fingerprint
        assert ematix.check(ones, "unique(id)", checks.not_null("id"))
        assert [str(check) for check in ones.spec.all_checks] == ['not_null("id")', 'unique("id")']
        assert ones.fingerprint == fingerprint(registry.get_pipeline("ones")) != before
        assert ematix.check("ones", "unique(id)", checks.not_null("id")) == ()
        registry.register_pipeline(build_pipeline(ones.function, name="ones", target="a:c", source_connection="a"))
        assert [str(check) for check in registry.pipelines()["ones"].all_checks] == ['unique("id")', 'not_null("id")']
        with pytest.raises(UnknownNameError, match="did you mean `ones`"):
            ematix.check("oens", "unique(id)")
    assert registry.snapshot().checks == {}


@given(st.text(max_size=60))
def test_no_text_leads_to_a_foreign_error(text: str) -> None:
    with contextlib.suppress(FlowError):
        check = parse_check(text)
        assert parse_check(str(check)) == check
