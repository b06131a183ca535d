"""A notebook becomes a module that says the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ematix_nb.declare.functions import dedent_sql
from ematix_nb.errors import DeclarationError, FlowError, UsageError
from ematix_nb.export.literals import Group, docstring, layout, sql_literal, text_literal
from ematix_nb.export.module import export_notebook, is_untouched
from ematix_nb.export.notebook_file import NotebookCell
from ematix_nb.export.session import CellLog
from tests.support.notebooks import declare, module_fingerprints, notebook_cells, ruff

HERE = Path(__file__).parent

IMPORTS = """import datetime as dt
import os, sys
from ematix_nb import ematix, pk
from ematix_nb.types import BigInt, Text
"""
IMPORTED = "from ematix_nb import PostgresConnection, register_connection"
LAKE = '%%flow connection lake\nkind = "object_store_local"\npath = "data"\nformat = "parquet"\n'
WAREHOUSE = '%%flow connection warehouse\nkind = "postgres"\nurl = "${WAREHOUSE_DSN}"\n'
TABLE = """%%flow table analytics.customers
customer_id bigint pk
email string(256) null lower trim replace("it's", '"quoted"')
signed_up timestamptz null parse_timestamp(on_failure='default', default='2020-01-01')
phone text null regex_replace('[^0-9+]+', '', 'g')
scores array(integer) null
amount numeric(38,10) not null natural_key
"""
ORDERS = """%%flow pipeline orders --from lake --to warehouse:analytics.orders --mode merge --keys order_id \
--watermark updated_at --schedule "*/15 * * * *"
SELECT order_id, status, amount, updated_at
FROM "orders/*.parquet"
"""
CUSTOMERS = """%%flow pipeline customers --from lake --table analytics.customers --to warehouse --mode scd2 \
--compare email,phone --column-map email=mail --post "ANALYZE analytics.customers"
  SELECT *
    FROM 'customers.parquet'   -- all of them

   WHERE note <> 'a\\nb {x} \"\"\" ''' \t'
"""
HELPERS = """!pip install something
RATE = 1.08

def taxed(column):
    # helper of the daily pipeline
    return f"{column} * {RATE}"

unused = os.listdir(".")
"""
DAILY = '''# daily totals
@ematix.pipeline(
    target="warehouse:analytics.daily",
    source_connection="warehouse",
    mode="append",
)
def daily(conn):
    """Totals of a day."""
    return f"SELECT {taxed('amount')} AS amount, DATE '{dt.date(2026, 1, 1)}' AS day FROM analytics.orders"


daily.preview(limit=5)
'''
PYTHON_TABLE = """@ematix.table(schema="raw")
class Event:
    event_id: "Annotated[BigInt, pk()]"
    body: Text | None
"""
ANNOTATED = "from typing import Annotated\n"
REPRESENTATIVE = (
    "%load_ext ematix_nb", IMPORTS, ANNOTATED, LAKE, WAREHOUSE, TABLE, ORDERS, CUSTOMERS, HELPERS, DAILY, PYTHON_TABLE,
    "%flow preview orders --limit 5", "r = %flow run orders",
)  # fmt: skip


def exported(*sources: str) -> str:
    return export_notebook(notebook_cells(*sources)).text


def test_representative_module_is_as_reviewed() -> None:
    """The file beside this one was read by a person; write it anew only after reading the difference."""
    found = export_notebook(notebook_cells(*REPRESENTATIVE))
    assert found.text == (HERE / "representative.txt").read_text(encoding="utf-8")
    assert found.pipelines == ("orders", "customers", "daily")
    assert found.tables == ("analytics.customers", "raw.event")
    assert found.connections == ("lake", "warehouse")
    assert found.others == ("RATE", "taxed")
    assert [str(line) for line in found.dropped] == ["cell 9 line 1: !pip install something"]


def test_the_module_has_the_fingerprints_of_the_notebook(folder: Path) -> None:
    cells = [source for source in REPRESENTATIVE if not source.startswith(("%load", "%flow", "r ="))]
    cells = [source.replace("!pip install something\n", "").replace("daily.preview(limit=5)\n", "") for source in cells]
    expected = declare(*cells)
    assert set(expected) == {"orders", "customers", "daily"}
    (folder / "pipes.py").write_text(exported(*REPRESENTATIVE), encoding="utf-8")
    assert module_fingerprints(folder, "pipes") == expected


def test_formatter_and_linter_have_nothing_to_say() -> None:
    text = exported(*REPRESENTATIVE)
    assert ruff("check", text=text) == ""
    for width in ("88", "100", "120"):
        assert ruff("format", "--check", "--line-length", width, text=text) == ""


def test_same_cells_same_bytes_and_no_trace_of_the_notebook() -> None:
    text = exported(*REPRESENTATIVE)
    assert text == exported(*REPRESENTATIVE)
    assert not re.search(r"get_ipython|IPython|%flow|!pip|202[6-9]-\d\d-\d\d \d\d:", text)
    renumbered = [NotebookCell(one.source, number=one.number + 40) for one in notebook_cells(*REPRESENTATIVE)]
    assert export_notebook(renumbered).text == text


ODD = [
    ('%%flow table "My Schema"."odd.table"\n"the id" bigint pk\nclass text null\n', "parse_table_cell("),
    ("%%flow table s.t\nid bigint pk\nts timestamp(3) null\nextra struct(a integer, b text) null\n", "parse_table_c"),
    ("%%flow table date\nid bigint pk\nday date\nText text null\n", 'name="date"'),
    (
        "%%flow table p2024_sales\nid bigint pk\nflag boolean null default(True)\nx numeric null clamp(0, 9.5)\n",
        "P2024",
    ),
]


@pytest.mark.parametrize(("table", "sign"), ODD)
def test_odd_tables_keep_their_fingerprint(folder: Path, table: str, sign: str) -> None:
    name = table.split("\n", 1)[0].removeprefix("%%flow table ")
    pipeline = f"%%flow pipeline load --from a --to 'b:{name}' --mode append\nSELECT 1"
    text = exported(table, pipeline)
    assert sign in text
    assert ruff("format", "--check", text=text) == ruff("check", text=text) == ""
    (folder / "odd.py").write_text(text, encoding="utf-8")
    assert module_fingerprints(folder, "odd") == declare(table, pipeline)


def test_names_that_are_taken_or_no_identifiers(folder: Path) -> None:
    cells = (
        '%%flow connection orders\nkind = "duckdb"\npath = ":memory:"',
        '%%flow connection my-db.x\nkind = "duckdb"\npath = ":memory:"',
        "%%flow pipeline orders --to orders:t\nSELECT 1",
        "%%flow pipeline my-pipe --to orders:u\nSELECT 2",
        "%%flow pipeline list --to orders:v\nSELECT 3",
        "%%flow pipeline ematix --to orders:w\nSELECT 4",
    )
    text = exported(*cells)
    for line in (
        "class orders:",
        '@ematix.connection(name="my-db.x")\nclass my_db_x:',
        "def orders_pipeline(conn):",
        "def my_pipe(conn):",
        "def list_pipeline(conn):",
        "def ematix_pipeline(conn):",
    ):
        assert line in text
    assert ruff("check", text=text) == ""
    (folder / "names.py").write_text(text, encoding="utf-8")
    assert module_fingerprints(folder, "names") == declare(*cells)


def test_options_of_a_watermark(folder: Path) -> None:
    cell = "%%flow pipeline late --from a --to b:t --watermark at --overlap 2h --late-rows snapshot\nSELECT at FROM t"
    text = exported(cell)
    assert 'late_rows="snapshot",' in text
    (folder / "late.py").write_text(text, encoding="utf-8")
    assert module_fingerprints(folder, "late") == declare(cell)


@pytest.mark.parametrize(
    ("given", "written"), [("day", '"day"'), ("day,seq", '("day", "seq")'), ('"day, seq"', '("day", "seq")')]
)
def test_columns_of_a_watermark(folder: Path, given: str, written: str) -> None:
    cell = f"%%flow pipeline parts --from a --to b:t --mode append --watermark {given}\nSELECT day, seq FROM t"
    text = exported(cell)
    assert f"watermark_column={written}," in text
    (folder / "parts.py").write_text(text, encoding="utf-8")
    assert module_fingerprints(folder, "parts") == declare(cell)


_SQL = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\"\\\n\t '{}%$"), min_size=1, max_size=60)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_SQL, st.booleans())
def test_any_sql_survives_and_stays_formatted(sql: str, several: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
    body = f"SELECT '{sql}'" if several else f"SELECT 1\n{sql}\n  FROM t"
    try:
        text = exported(f"%%flow pipeline p --to a:b\n{body}")
    except DeclarationError:
        return
    values: dict[str, object] = {}
    source = text[text.index("def p(conn)") :]
    exec(compile(source, "<p>", "exec"), values)
    assert dedent_sql(values["p"](None)) == dedent_sql(body)  # type: ignore[operator]
    assert ruff("format", "--check", text=text) == ""


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=40), min_size=1, max_size=4))
def test_any_text_is_a_literal_that_a_formatter_leaves_alone(texts: list[str]) -> None:
    node = Group("x = f(", tuple(text_literal(text) for text in texts), ")")
    assert eval(layout(node)[4:], {"f": lambda *given: list(given)}) == texts
    assert ruff("format", "--check", text=layout(node) + "\n") == ""


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text("ab\"\\ \n#{}'é", max_size=40))
def test_any_docstring_is_one(text: str) -> None:
    written = docstring(text, "    ")
    if written:
        source = f"def f():\n    {written}\n    return 1\n"
        compile(source, "<f>", "exec")
        assert ruff("format", "--check", text=source) == ""


def test_injected_names_and_quotes_stay_text() -> None:
    with pytest.raises(DeclarationError, match="is not a name for a pipeline"):
        exported('%%flow pipeline \'x"""; import os\' --to a:b\nSELECT 1')
    text = exported('%%flow pipeline a --to a:b --post \'"""\' --schedule "\\N{BULLET} {0} {x.__class__}"\nSELECT 1')
    assert 'transforms_post=[\'"""\']' in text
    assert 'schedule="\\\\N{BULLET} {0} {x.__class__}"' in text


def test_sql_literal_keeps_what_sql_means() -> None:
    sql = 'SELECT """x""", \'\\d\\\\\', "\x1b[2J"\n\n  FROM t -- """'
    assert dedent_sql(eval(sql_literal(sql, "    "))) == sql


def test_nothing_to_export() -> None:
    with pytest.raises(UsageError, match=r"nothing to export[\s\S]*%%flow pipeline NAME"):
        exported("x = 1", "%flow preview orders")


def test_helper_made_by_running_code_is_named_with_its_cell() -> None:
    cells = ("x = 1", "helper = open('f').read()", '@ematix.pipeline(target="a:b")\ndef p(conn):\n    return helper')
    with pytest.raises(UsageError, match=r"`helper` is made by running code in cell 2, which is not marked \(cell 3\)"):
        exported(*cells)
    marked = notebook_cells(*cells)
    marked[1] = NotebookCell(marked[1].source, tags=("flow-export",), number=2)
    assert "helper = open('f').read()" in export_notebook(marked).text
    assert "helper = open" in exported("# flow: export\nhelper = open('f').read()", cells[2])


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (("def p(conn):\n    return hlper()", "def helper(): pass"), r"`hlper` is not defined .*\n.*`helper`"),
        (("# flow: scratch\nSECRET_DAY = 1", "def p(conn):\n    return SECRET_DAY"), r"defined in cell 1, .* flow-scr"),
        (("def p(conn):\n    display(1)\n    return 'x' + ''",), r"`display` exists in notebooks only \(cell 1\)"),
        (("def p(conn):\n    get_ipython()\n    return ''",), r"`get_ipython` exists in notebooks only"),
        (("from IPython.display import HTML", "def p(conn):\n    return HTML('')"), r"`HTML` comes from IPython"),
        (("from pandas import *", "def p(conn):\n    return read_csv('')"), r"may come from `from pandas import \*`"),
        (
            ("def p(conn):\n    files = !ls\n    return files",),
            r"cell 1 line 3: files = !ls stands inside a definition",
        ),
        (("def p(conn):\n    return (",), r"cell 1 line \d is not valid Python"),
        (("%%flow pipeline b --to",), r"`--to` needs a value.*\(cell 1 line 1, column 19\)"),
        (("%%flow connection c\nkind = 'postgress'",), r"postgres.*\(cell 1\)"),
        (("%%flow pipeline b --to a --table Nope\nSELECT 1",), r"table `Nope` of pipeline `b` .* \(cell 1\)"),
    ],
)
def test_what_cannot_come_along_is_named(cells: tuple[str, ...], message: str) -> None:
    decorated = [one.replace("def p(conn)", '@ematix.pipeline(target="a:b")\ndef p(conn)') for one in cells]
    with pytest.raises(FlowError, match=message):
        exported(*decorated)


@pytest.mark.parametrize(
    "cell",
    [
        '%%flow connection wh\nkind = "postgres"\nurl = "postgres://ann:CANARY-7@db/wh"',
        '%%flow connection wh\nkind = "postgres"\nhost = "db"\ndatabase = "d"\npassword = "CANARY-7"',
        '%%flow connection wh\nkind = "postgres"\nurl = "postgres://ann@db/wh?sslpassword=CANARY-7"',
        '@ematix.connection\nclass wh:\n    kind = "postgres"\n    url = "postgres://ann:CANARY-7@db/wh"',
        'register_connection(PostgresConnection(name="wh", host="h", database="d", password="CANARY-7"))',
        '# flow: export\nAPI_TOKEN = "CANARY-7"',
    ],
)
def test_no_secret_is_exported(cell: str) -> None:
    with pytest.raises(UsageError, match=r"holds a secret in plain text[\s\S]*\$\{") as caught:
        exported("from ematix_nb import *", IMPORTED, cell, "%%flow pipeline p --to wh:t\nSELECT 1")
    assert "CANARY" not in str(caught.value)


def test_references_to_secrets_pass() -> None:
    cell = '%%flow connection wh\nkind = "postgres"\nurl = "postgres://ann:${WH_PASSWORD}@db/wh"'
    assert 'url = "postgres://ann:${WH_PASSWORD}@db/wh"' in exported(cell)


def test_lines_of_the_notebook_are_dropped_and_listed() -> None:
    cell = (
        "%time\n!pip install x \\\n   y\nfiles = !ls\npd?\nLIMIT = 5\n"
        'TEXT = """\n%not a magic\n!neither\n"""\nVALUES = [\n    7\n    % 4,\n]\n'
    )
    use = '@ematix.pipeline(target="a:b")\ndef p(conn):\n    return f"{LIMIT}{TEXT}{VALUES}"\n'
    found = export_notebook(notebook_cells(cell, use))
    assert [line.text for line in found.dropped] == ["%time", "!pip install x \\", "files = !ls", "pd?"]
    assert '"""\n%not a magic\n!neither\n"""' in found.text
    assert "    % 4," in found.text


def test_definitions_come_before_their_use() -> None:
    use = "@ematix.pipeline(target=TARGET)\ndef p(conn):\n    return 'SELECT ' + column()"
    text = exported(use, "TARGET = BASE + ':t'", "BASE = 'wh'", "def column():\n    return '1'")
    assert text.index("BASE =") < text.index("TARGET =") < text.index("def p(")


def test_the_last_definition_counts_in_the_place_of_the_first() -> None:
    first, second = ("%%flow pipeline a --to x:a\nSELECT 1", "%%flow pipeline b --to x:b\nSELECT 2")
    text = exported(first, second, first.replace("1", "3"))
    assert "SELECT 1" not in text
    assert text.index("SELECT 3") < text.index("SELECT 2")
    assert text == exported(first.replace("1", "3"), second)


def test_a_kernel_gives_the_bytes_of_the_file() -> None:
    log = CellLog()
    for number, source in enumerate(REPRESENTATIVE):
        log.record(source, cell_id=str(number))
    assert export_notebook(log.export_cells()).text == exported(*REPRESENTATIVE)
    log.record(ORDERS.replace("merge", "append").replace("--keys order_id ", ""), cell_id="6")
    again = export_notebook(log.export_cells())
    assert again.pipelines == ("orders", "customers", "daily")
    assert 'mode="append",\n    incremental=True' in again.text
    unnamed = CellLog()
    for source in (*REPRESENTATIVE, REPRESENTATIVE[6]):
        unnamed.record(source)
    assert export_notebook(unnamed.export_cells()).text == exported(*REPRESENTATIVE)


def test_parameters_can_be_set_from_outside(folder: Path) -> None:
    cells = [
        NotebookCell('DAY = "2026-01-01"\nLIMIT = 10\nFULL = False\nNAMES = ["a"]', "code", ("parameters",), 1),
        NotebookCell(
            '@ematix.pipeline(target="a:b", name=DAY)\ndef p(conn):\n    return f"{LIMIT} {FULL} {NAMES}"', number=2
        ),
    ]
    text = export_notebook(cells).text
    assert 'DAY = os.environ.get("DAY", "2026-01-01")' in text
    assert 'LIMIT = int(os.environ.get("LIMIT", "10"))' in text
    assert ruff("format", "--check", text=text) == ruff("check", text=text) == ""
    (folder / "parameters.py").write_text(text, encoding="utf-8")
    assert list(module_fingerprints(folder, "parameters", DAY="monday")) == ["monday"]


def test_text_cells_become_docstrings_when_asked() -> None:
    cells = [
        NotebookCell('# Orders\n\nEvery "order" of the\\shop', "markdown", (), 1),
        NotebookCell(ORDERS, number=2),
        NotebookCell('Ends with "quote"', "markdown", (), 3),
        NotebookCell('@ematix.pipeline(target="a:b")\ndef p(conn):\n    return "SELECT 1"', number=4),
    ]
    text = export_notebook(cells, docs=True).text
    assert '    """Orders\n\n    Every "order" of the\\\\shop\n    """\n    return' in text
    assert ruff("format", "--check", text=text) == ""
    assert "Orders" not in export_notebook(cells).text


def test_annotations_of_the_future_and_aliases(folder: Path) -> None:
    cells = (
        """from __future__ import annotations
from typing import Annotated
import ematix_nb
from ematix_nb import ematix as e, pk as key
from ematix_nb.types import BigInt
""",
        '@e.table(schema="s")\nclass Sale:\n    sale_id: Annotated[BigInt, key()]',
        """@ematix_nb.ematix.pipeline(target=Sale, target_connection="wh", mode="merge")
def sales(conn):
    return 'SELECT 1 AS sale_id'
""",
        "%%flow pipeline more --table Sale --to wh --mode merge\nSELECT 2 AS sale_id",
    )
    text = exported(*cells)
    assert text.index("from __future__") < text.index("import ematix_nb")
    assert ruff("check", text=text) == ""
    (folder / "future.py").write_text(text, encoding="utf-8")
    assert module_fingerprints(folder, "future") == declare(*cells)


def test_tags_choose_cells() -> None:
    cells = [
        NotebookCell(ORDERS, tags=("flow-scratch",), number=1),
        NotebookCell(ORDERS.replace("orders --from", "other --from"), number=2),
        NotebookCell("LOGGED = print('x')", tags=("flow-export",), number=3),
    ]
    found = export_notebook(cells)
    assert found.pipelines == ("other",)
    assert "LOGGED = print('x')" in found.text


def test_hand_edits_are_seen() -> None:
    text = exported(LAKE, ORDERS)
    assert is_untouched(text)
    assert is_untouched(text.replace("\n", "\r\n"))
    assert not is_untouched(text.replace("merge", "append"))
    assert not is_untouched("x = 1\n")
