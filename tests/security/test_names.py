"""Hostile names on every system: each is a name and nothing else, or refused (X1); values are values (X2)."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb import Target, ematix
from ematix_nb.declare.data_types import BIGINT, TEXT
from ematix_nb.errors import DataError, DeclarationError, FlowError
from ematix_nb.load import window
from ematix_nb.sql.dialect import Dialect
from tests.conformance.matrix import SERVERS, open_system, url_of
from tests.conformance.run import Bench, counts
from tests.security.source_code import MODULES, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conformance.matrix import System

SYSTEMS = ("postgres", "mysql", "sqlite", "duckdb", "csv", "delta")
ATTACKS = (
    'v"; DROP TABLE v; --',
    "v'; DROP TABLE v; --",
    "v`; DROP TABLE v; --",
    "v]; DROP TABLE v; --",
    "v); DROP TABLE v; --",
    'x" FROM v; DELETE FROM v; --',
    "x' OR '1'='1",
    "\\'; DROP TABLE v; --",
    "$$; DROP TABLE v; $$",
    "%s %(id)s {0} {x} ? :id $1",
    "/* v */ --",
    "null",
)
REFUSED = {"": "empty", "a\0b": "NUL"}


@pytest.fixture
def place(project: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[System]:
    """A system with a table `v` that has to survive."""
    assert project.is_dir()  # an own registry
    name = request.param
    system = open_system(name, tmp_path / "place", url_of(name, request), label="place")
    system.make("v", {"id": BIGINT}, [(1,)])
    yield system
    assert system.rows("v", ("id",)) == [(1,)]
    assert system.leftovers() == []


def every(names: tuple[str, ...]) -> list[object]:
    """Systems as parameters of `place`."""
    return [pytest.param(name, marks=[pytest.mark.integration] if name in SERVERS else [], id=name) for name in names]


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.nightly)], ids=["some", "all"])
@pytest.mark.parametrize("place", every(("postgres", "mysql", "sqlite", "duckdb")), indirect=True)
def test_an_attack_is_the_name_of_table_key_and_watermark(place: System, step: int) -> None:
    """The same text as table, as key, as watermark, as compared column and in the unique index that is made."""
    for number, attack in enumerate(ATTACKS[::step]):
        columns = {attack: BIGINT, f"{attack} too": TEXT}
        place.make("src", columns, [(1, attack), (2, attack)])
        bench = Bench(place, place, table=attack)
        options: dict[str, Any] = {"incremental": True, "watermark_column": attack, "keys": (attack,), "mode": "merge"}
        if number % 2:
            options |= {"compare_columns": (f"{attack} too",)}
        pipeline = bench.pipeline(str(options.pop("mode")), name=f"load{number}", **options)
        assert counts(pipeline.sync())["inserted"] == 2, attack
        assert bench.rows(attack, f"{attack} too") == [(1, attack), (2, attack)]
        assert pipeline.preview().sample.num_rows
        pipeline.sync()
        assert len(bench.rows(attack)) == 2


@pytest.mark.parametrize("place", every(("postgres", "duckdb")), indirect=True)
def test_an_attack_is_the_name_of_a_schema(place: System) -> None:
    place.make("src", {"id": BIGINT}, [(7,)])
    query = f"SELECT * FROM {place.source('src')}"
    for number, attack in enumerate(ATTACKS):
        quoted = '"' + attack.replace('"', '""') + '"'
        options = {"mode": "truncate", "source_connection": place.connection, "target_connection": place.connection}
        pipeline = ematix.pipeline(f"{quoted}.{quoted}", name=f"load{number}", **options)(lambda _: query)
        assert counts(pipeline.sync()) == {"read": 1, "inserted": 1}, attack
        found = place.execute(f"SELECT id FROM {quoted}.{quoted}")  # type: ignore[attr-defined]  # an SQL system
        assert found == [(7,)]


@pytest.mark.parametrize("place", every(("csv", "delta")), indirect=True)
def test_an_attack_is_the_name_of_a_column_of_files(place: System) -> None:
    for number, attack in enumerate(ATTACKS):
        place.make("src", {attack: BIGINT}, [(1,), (2,)])
        bench = Bench(place, place, table=f"t{number}")
        assert counts(bench.pipeline("append", name=f"load{number}").sync()) == {"read": 2, "inserted": 2}, attack
        assert [int(row[0]) for row in bench.rows(attack)] == [1, 2]


@pytest.mark.parametrize("place", every(("csv",)), indirect=True)
def test_partition_values_stay_inside_their_folder(place: System, tmp_path: Path) -> None:
    """X19: `..`, slashes, percent signs and the folder of NULL as values."""
    values = [
        "../../etc",
        "a/b",
        "/etc",
        "__HIVE_DEFAULT_PARTITION__",
        "",
        "%2e%2e",
        "..",
        ".",
        "a\\b",
        "~",
        "a\nb",
        ".",
    ]
    place.make("src", {"id": BIGINT, "p": TEXT}, list(enumerate(values)))
    outside = sorted(path for path in tmp_path.rglob("*") if "place" not in path.parts)
    parted = Target(table="parted", connection=place.connection, mode="append", partition_by=("p",))
    query = f"SELECT * FROM {place.source('src')}"
    ematix.pipeline(name="parted", targets=[parted], source_connection=place.connection)(lambda _: query).sync()
    again = Bench(place, place, table="back")
    read = again.pipeline("append", sql='SELECT id, p FROM "parted/**/*.csv"', name="back")
    assert counts(read.sync())["inserted"] == len(values)
    assert sorted(path for path in tmp_path.rglob("*") if "place" not in path.parts) == outside
    found = {int(row[0]): row[1] for row in again.rows("id", "p")}
    assert [found[number] for number in range(len(values))] == values


@pytest.mark.parametrize("place", every(SYSTEMS), indirect=True)
def test_what_is_no_name_is_refused(place: System, tmp_path: Path) -> None:
    limit = {"postgres": 63, "mysql": 64}.get(place.name)
    names = dict(REFUSED)
    if limit:
        names["x" * (limit + 1)] = str(limit)
        names["é" * (limit // 2 + 1) if place.name == "postgres" else "é" * (limit + 1)] = str(limit)
    place.make("src", {"id": BIGINT}, [(1,)])
    before = place.everything()
    for name in names:
        with pytest.raises(FlowError) as caught:
            Bench(place, place, table=name).pipeline("append", name="load").sync()
        assert caught.value.exit_code == 2
    assert place.everything() == before


@pytest.mark.parametrize(("name", "says"), REFUSED.items())
def test_no_dialect_quotes_it(name: str, says: str) -> None:
    from ematix_nb.backends.duckdb.dialect import DIALECT as DUCKDB
    from ematix_nb.backends.mysql.dialect import DIALECT as MYSQL
    from ematix_nb.backends.postgres.dialect import PostgresDialect
    from ematix_nb.backends.sqlite.dialect import DIALECT as SQLITE
    from ematix_nb.query.dialect import DataFusionDialect

    for dialect in (Dialect(), DUCKDB, MYSQL, PostgresDialect(), SQLITE, DataFusionDialect()):
        with pytest.raises(DeclarationError, match=f"{says}|NUL"):
            dialect.quote(name)


@pytest.mark.parametrize("text", ["'); DROP TABLE v; --", "1; DROP TABLE v", "1 OR 1=1", "2026-01-01' OR '1'='1"])
def test_a_stored_watermark_is_a_value(text: str) -> None:
    """It comes out of the state, which anybody may have written: no text gets into a statement unread."""
    from ematix_nb.declare.data_types import TIMESTAMPTZ

    for kind in (BIGINT, TIMESTAMPTZ):
        with pytest.raises(DataError, match="the stored watermark"):
            window.compared(Dialect(), "ts", kind, ">=", text)


QUOTES = {"quote", "quoted", "table", "literal", "columns", "wrap", "_value", "_param", "_name"}
LOOKED_AT = {
    "size // 1000000", "MEMORY_BYTES // 1000000", "clock", "expiry", "condition", "self._dialect.now_seconds",  # ours
    "explain", "calls", "head", "query",  # ours, and the user's SELECT after its check
    "self._changed_and_gone()",  # a statement made by `sql/statements.py`
    "name",  # of an attached database: checked to be letters, digits and `_` when it is declared
    "place", "shown", "targets", "chosen", "version", "cast", "names", "mine", "target", "stage",  # quoted above
    "_literals(rows, row)",  # of the dialect
    "', '.join(places)", "', '.join(sets)", "','.join(filter(None, (off, optimizer)))",
}  # fmt: skip
"""What may stand in a statement beside constants and what a dialect has quoted; whoever adds to it has looked at it."""


def test_statements_hold_only_what_was_quoted() -> None:
    """No value and no name goes into the text of a statement unquoted where it is handed to a driver."""
    found = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("execute", "executemany", "sql"):
                parts = [each for argument in node.args[:1] for each in formatted(argument)]
                found |= {(path.relative_to(ROOT).as_posix(), ast.unparse(part)) for part in parts if not is_safe(part)}
    assert {name for _, name in found} - LOOKED_AT == set(), found


def formatted(node: ast.expr) -> list[ast.expr]:
    """The expressions in f-strings below a node."""
    return [part.value for part in ast.walk(node) if isinstance(part, ast.FormattedValue)]


def is_safe(node: ast.expr) -> bool:
    """A constant of the module, or the call of a function that quotes."""
    if isinstance(node, ast.Call):
        return (getattr(node.func, "attr", "") or getattr(node.func, "id", "")) in QUOTES
    return isinstance(node, ast.Name) and node.id.isupper()
