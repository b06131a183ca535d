from __future__ import annotations

import pytest

from ematix_nb.connections import DuckDBConnection, PostgresConnection, server_parts
from ematix_nb.connections.interpolate import interpolate, is_reference
from ematix_nb.connections.urlparts import fill_url
from ematix_nb.errors import ConfigError

VARIABLES = {"A": "${B}", "B": "b", "lower": "l", "EMPTY": "", "LINES": 'x"\n[connections.evil]'}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${B}", "b"),
        ("x${B}y${B}", "xbyb"),
        ("${A}", "${B}"),
        ("${lower}", "l"),
        ("${NOPE:-d}", "d"),
        ("${NOPE:-}", ""),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY:-}", ""),
        ("${NOPE:-a:-b}", "a:-b"),
        ("$${B}", "${B}"),
        ("$$${B}", "$${B}"),
        ("$B {B} $", "$B {B} $"),
        ("${LINES}", 'x"\n[connections.evil]'),
        ("", ""),
    ],
)
def test_one_pass(text: str, expected: str) -> None:
    assert interpolate(text, "connections.wh.url", VARIABLES) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${MISSING}", r"variable MISSING is not set \(used in connections\.wh\.url\)"),
        ("${EMPTY}", r"variable EMPTY is set but empty \(used in connections\.wh\.url\)\nhint: .*`\$\{EMPTY:-\}`"),
        ("x${}", r"the `\$\{` at column 2 of connections\.wh\.url has no name"),
        ("${A", r"the `\$\{` at column 1 of connections\.wh\.url has no closing `}`"),
        ("ab${1x}", r"the `\$\{` at column 3 of connections\.wh\.url is not a variable name"),
        ("${A-b}", r"column 1 .* is not a variable name"),
        ("${A b}", r"column 1 .* is not a variable name"),
    ],
)
def test_bad_references(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        interpolate(text, "connections.wh.url", VARIABLES)


def test_a_malformed_reference_is_refused_when_declared() -> None:
    with pytest.raises(ConfigError, match=r"column 1 of connections\.wh\.path"):
        DuckDBConnection(name="wh", path="${A")


@pytest.mark.parametrize(("text", "expected"), [("${A}", True), ("${A:-x}", False), ("x${A}", False), ("", False)])
def test_is_reference(text: str, expected: bool) -> None:  # noqa: FBT001 - a table of cases
    assert is_reference(text) is expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("${V}", "a@b:/?#"),
        ("postgres://u:${V}@h/d", "postgres://u:a%40b%3A%2F%3F%23@h/d"),
        ("postgres://${V}@h/d", "postgres://a%40b%3A%2F%3F%23@h/d"),
        ("postgres://u@h/${V}", "postgres://u@h/a%40b%3A/%3F%23"),
        ("postgres://u@h/d?x=${V}", "postgres://u@h/d?x=a%40b%3A%2F%3F%23"),
        ("postgres://u@${H}/d", "postgres://u@db:5432/d"),
        ("postgres://u:${NOPE:-a/b@c}@h/d", "postgres://u:a%2Fb%40c@h/d"),
        ("${V}/d", "a@b:/?#/d"),
    ],
)
def test_variables_in_urls_are_encoded_for_their_place(template: str, expected: str) -> None:
    assert fill_url(template, "c.url", {"V": "a@b:/?#", "H": "db:5432"}) == expected


def test_variables_are_filled_in_at_use(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = PostgresConnection(name="wh", url="postgres://u:${PW_OF_WH}@h:${PORT_OF_WH}/d")
    with pytest.raises(ConfigError, match=r"PW_OF_WH is not set \(used in connections\.wh\.url\)"):
        connection.resolved()
    monkeypatch.setenv("PW_OF_WH", "p@ss:/?#%${X}")
    monkeypatch.setenv("PORT_OF_WH", "5433")
    parts = server_parts(connection)
    assert (parts.user, parts.host, parts.port, parts.path) == ("u", "h", 5433, "d")
    assert parts.password is not None
    assert parts.password.reveal() == "p@ss:/?#%${X}"
    resolved = connection.resolved()
    assert resolved.resolved() is resolved
    assert resolved.is_resolved
    assert repr(connection) == "PostgresConnection(name='wh', url='postgres://u:${PW_OF_WH}@h:${PORT_OF_WH}/d')"


def test_numbers_and_truth_values_may_stand_in_variables() -> None:
    connection = PostgresConnection(name="wh", host="h", database="d", port="${P}", read_only="${R}")  # type: ignore[arg-type]
    resolved = connection.resolved({"P": "5433", "R": "yes"})
    assert (resolved.port, resolved.read_only) == (5433, True)
    with pytest.raises(ConfigError, match=r"connections\.wh\.port is `x`, expected a whole number"):
        connection.resolved({"P": "x", "R": "yes"})


def test_values_of_variables_are_not_expanded_again() -> None:
    resolved = DuckDBConnection(name="d", path="${A}").resolved({"A": "${B}", "B": "b"})
    assert (resolved.path, resolved.reveal("path")) == ("${B}", "${B}")
