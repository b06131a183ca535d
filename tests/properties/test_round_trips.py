"""What is written down and read again is what it was: lines, cells, settings, watermarks, names, notebooks."""

from __future__ import annotations

import datetime as dt
import importlib
import shlex
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ematix_nb.declare import registry
from ematix_nb.declare.address import parse_table_name
from ematix_nb.declare.cells import OPTIONS, parse_cell
from ematix_nb.declare.data_types import DataType
from ematix_nb.declare.fingerprint import fingerprint
from ematix_nb.declare.spec import TableRef
from ematix_nb.export.module import export_notebook
from ematix_nb.load.window import parse as parse_watermark
from ematix_nb.load.window import text as watermark_text
from ematix_nb.magics.flow import split
from ematix_nb.verbs.grammar import parse
from tests.support.notebooks import declare, notebook_cells

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DAILY, NIGHTLY = 200, 10_000
NOTEBOOKS = {DAILY: 60, NIGHTLY: 500}
sizes = pytest.mark.parametrize(
    "examples",
    [
        pytest.param(DAILY, id="day"),
        pytest.param(NIGHTLY, id="night", marks=[pytest.mark.nightly, pytest.mark.timeout(900)]),
    ],
)

odd = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("'\"\\ $`%{}#,=-;"), max_size=12)
words = odd | st.sampled_from(["run", "--limit", "lake:orders/*.csv", "a b", "", "-"])
identifiers = st.from_regex(r"[a-z][a-z0-9_]{0,7}", fullmatch=True)
zones = st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=5, minutes=45)), dt.timezone(-dt.timedelta(hours=9))])
watermarks: dict[str, tuple[DataType, st.SearchStrategy[Any]]] = {
    "bigint": (DataType("bigint"), st.integers(-(2**63), 2**63 - 1)),
    "numeric": (
        DataType("numeric", precision=38, scale=10),
        st.decimals(allow_nan=False, allow_infinity=False, places=10, max_value=Decimal(10) ** 27),
    ),
    "date": (DataType("date"), st.dates()),
    "timestamp": (DataType("timestamp"), st.datetimes()),
    "timestamptz": (
        DataType("timestamptz"),
        st.datetimes(dt.datetime(1900, 1, 2), dt.datetime(9999, 12, 30), timezones=zones),  # noqa: DTZ001 - with one
    ),
}  # fmt: skip


def quoted(text: str) -> str:
    """In quotes, also where a shell could do without: a value may begin with a dash."""
    return "'" + text.replace("'", "'\"'\"'") + "'"


def often(strategy: st.SearchStrategy[Any], examples: int, check: Callable[[Any], None]) -> None:
    """The same examples each time."""
    quiet = settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True
    )
    quiet(given(strategy)(check))()


@sizes
def test_words_of_a_line(examples: int) -> None:
    def check(given: list[str]) -> None:
        assert split(shlex.join(given)) == given

    often(st.lists(words, max_size=6), examples, check)


@sizes
def test_options_of_a_line(examples: int) -> None:
    options = st.fixed_dictionaries(
        {},
        optional={
            "wait": st.integers(0, 86400),
            "full_refresh": st.just(True),
            "no_checks": st.just(True),
            "yes": st.just(True),
        },
    )

    def check(found: tuple[list[str], dict[str, Any]]) -> None:
        names, given = found
        line = ["run", *names]
        for key, value in given.items():
            line += [f"--{key.replace('_', '-')}", *([] if value is True else [str(value)])]
        parsed = parse(split(shlex.join(line)), prog="%flow")
        assert (parsed.verb, parsed.options["names"]) == ("run", tuple(names))
        assert {key: parsed.options[key] for key in given} == given

    often(st.tuples(st.lists(identifiers, min_size=1, max_size=3), options), examples // 4, check)


@sizes
def test_options_of_a_cell(examples: int) -> None:
    """Whatever a value of an option holds, a quoted one is read as it was written."""
    texts = [
        name for name, option in OPTIONS.items() if option.form == "text" and name not in ("--table", "--source-table")
    ]
    values = odd.map(str.strip).filter(lambda text: text and len(text.splitlines()) == 1)
    picked = st.dictionaries(st.sampled_from(texts), values, min_size=1, max_size=4)

    def check(found: tuple[str, dict[str, str]]) -> None:
        name, given = found
        line = " ".join(f"{option} {quoted(value)}" for option, value in {"--to": "a:b", **given}.items())
        cell = parse_cell(f"pipeline {name} {line}", "SELECT 1")
        assert cell.name == name
        assert {option: cell.options[OPTIONS[option].keyword] for option in given} == given

    names = identifiers.map(lambda name: f"p_{name}")
    often(st.tuples(names, picked), examples, check)


@sizes
def test_settings_of_a_connection(examples: int) -> None:
    values = odd | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.lists(odd, max_size=3)

    def check(given: dict[str, Any]) -> None:
        assert parse_cell("connection lake", tomlkit.dumps(given)).settings == given

    often(
        st.dictionaries(st.text("abc_ é.\"'", min_size=1, max_size=6), values, min_size=1, max_size=4), examples, check
    )


@sizes
@pytest.mark.parametrize("kind", watermarks)
def test_watermarks(kind: str, examples: int) -> None:
    column, values = watermarks[kind]

    def check(value: Any) -> None:
        found = parse_watermark(watermark_text(value), column)
        assert found == value
        assert type(found) is type(value)
        assert watermark_text(parse_watermark(watermark_text(found), column)) == watermark_text(found)

    often(values, examples, check)


@sizes
def test_names_of_tables(examples: int) -> None:
    names = st.text(min_size=1, max_size=20)

    def check(found: tuple[str | None, str]) -> None:
        written = ".".join('"' + part.replace('"', '""') + '"' for part in found if part is not None)
        assert parse_table_name(written) == TableRef(*found)

    often(st.tuples(st.none() | names, names), examples, check)


# -- notebooks --------------------------------------------------------------------------------------------------------

queries = st.lists(
    st.sampled_from(["a", "'it''s'", '"B"', "-- no\n", '/* """ */', "\n  ", "'\\n{x}'", "\t", "1 + 1"]),
    min_size=1,
    max_size=5,
)
modes = st.sampled_from(
    ["", "--mode append", "--mode truncate", "--mode merge --keys a", "--mode merge --keys a,b --compare c",
     "--mode scd2 --keys a --deletes soft", "--mode append --watermark at --overlap 2h",
     "--mode merge --keys a --watermark at --dedup-by at"]
)  # fmt: skip
more = st.lists(
    st.sampled_from(
        ['--schedule "*/15 * * * *"', "--retries 2", "--on-drift freeze", "--column-map x=y", "--check 'not_null(a)'",
         "--max-bad-rows 5", '--post "ANALYZE t"', "--on-nul strip", "--allow-lossy a,b"]
    ),
    max_size=3,
    unique=True,
)  # fmt: skip
RATES = "RATE = {rate}\n\ndef taxed(column):\n    return f'{{column}} * {{RATE}}'\n"
PYTHON = '''from ematix_nb import ematix

@ematix.pipeline(target="lake:daily", source_connection="lake", mode="append", {option})
def daily(conn):
    """Of a day."""
    return f"SELECT {{taxed('amount')}} AS amount FROM orders"
'''


@st.composite
def notebooks(draw: st.DrawFn) -> tuple[str, ...]:
    """Cells of a connection, of pipelines, of helpers, and of things that are left out."""
    cells = ['%%flow connection lake\nkind = "duckdb"\npath = "x.duckdb"\n']
    for number in range(draw(st.integers(1, 3))):
        sql = "SELECT " + " ".join(draw(queries))
        line = f"%%flow pipeline p{number} --from lake --to lake:t{number} {draw(modes)} {' '.join(draw(more))}"
        cells.append(f"{line}\n{sql}\nFROM t\n")
    if draw(st.booleans()):
        cells.append(RATES.format(rate=draw(st.integers(1, 9))))
        cells.append(PYTHON.format(option=draw(st.sampled_from(["", "retries=1", 'schedule="0 3 * * *"']))))
    cells += draw(st.lists(st.sampled_from(["unused = 1", "%flow preview p0"]), max_size=2))
    return tuple(cells)


def imported(text: str, folder: Path, name: str) -> dict[str, str]:
    """The fingerprints of what a module declares."""
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    importlib.invalidate_caches()
    with registry.scratch():
        importlib.import_module(name)
        return {pipeline: fingerprint(spec) for pipeline, spec in registry.pipelines().items()}


@sizes
def test_an_exported_notebook_declares_what_the_notebook_did(
    examples: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    modules: list[str] = []

    def check(cells: tuple[str, ...]) -> None:
        expected = declare(*(cell for cell in cells if not cell.startswith("%flow ")))
        assert expected
        modules.append(f"exported_{len(modules)}")
        assert imported(export_notebook(notebook_cells(*cells)).text, tmp_path, modules[-1]) == expected

    try:
        often(notebooks(), NOTEBOOKS[examples], check)
    finally:
        for name in modules:
            sys.modules.pop(name, None)
