"""The text of a test of a pipeline."""

from __future__ import annotations

import pytest

from ematix_nb.declare.cases import parse_case
from ematix_nb.declare.cells import parse_cell
from ematix_nb.declare.spec import TableRef
from ematix_nb.errors import DeclarationError, UsageError

BODY = """
given raw.orders
id, name,      amount,  at,                     "odd one", sure, day,        more numeric(9, 2)
1,  'a, ''b''', 1.50,   2026-01-01 10:00:00Z,   ,          true, 2026-01-01, 2
2,  "",        -2,      2026-01-01T10:00:00+01, NULL,      False, 2026-01-02,

-- a comment
target:
id
1
expect
id, name
"""


def test_sections_columns_and_values() -> None:
    case = parse_case("p", "first", BODY, 2)
    (given,) = case.given
    assert given.ref == TableRef("raw", "orders")
    assert [(name, str(kind)) for name, kind in given.columns] == [
        ("id", "bigint"), ("name", "text"), ("amount", "numeric(38,2)"), ("at", "timestamptz"), ("odd one", "None"),
        ("sure", "boolean"), ("day", "date"), ("more", "numeric(9,2)"),
    ]  # fmt: skip
    assert given.rows[0] == ("1", "a, 'b'", "1.50", "2026-01-01 10:00:00Z", None, "true", "2026-01-01", "2")
    assert given.rows[1][1] == ""
    assert given.rows[1][-1] is None
    assert case.target is not None
    assert case.target.rows == (("1",),)
    assert case.expect.rows == ()
    assert (case.pipeline, case.name) == ("p", "first")


@pytest.mark.parametrize(
    ("body", "message", "where"),
    [
        ("", "the test expects nothing", "cell"),
        ("given t\nid\n1", "the test expects nothing", "cell"),
        ("id, x\n1,2", "`id, x` stands before any section", "cell line 2"),
        ("given\nid\n1\nexpect\nid", "`given` names no table", "cell line 2"),
        ("given t\nid, x\n1\nexpect\nid", "1 values for 2 columns: `1`", "cell line 4"),
        ("given t\nid, id\nexpect\nid", "a column stands twice in `id, id`", "cell line 3"),
        ("given t\nid 5x\nexpect\nid", "", "cell line 3"),
        ("given t\nid\n'open\nexpect\nid", "`'open` is not understood", "cell line 4"),
        ("given t\nid\n\ngiven t\nid\nexpect\nid", "`given t` stands twice", "cell line 5"),
        ("expect\nid\nexpect\nid", "`expect` stands twice", "cell line 4"),
        ("expect x\nid", "`expect` takes no name", "cell line 2"),
        ("expect", "the section has no columns", "cell line 2"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(body: str, message: str, where: str) -> None:
    with pytest.raises(DeclarationError) as found:
        parse_case("p", "", body, 2)
    assert message in found.value.what
    assert found.value.where == where


def test_a_cell() -> None:
    cell = parse_cell("test orders --name 'a new row'", "given t\nid\n1\nexpect\nid\n1\n")
    assert cell.case is not None
    assert (cell.kind, cell.name, cell.case.name) == ("test", "orders", "a new row")
    with pytest.raises(UsageError, match="unknown option `--nmae`"):
        parse_cell("test orders --nmae x", "expect\nid\n")
