"""`%%flow test` cells become tests of pytest."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ematix_nb.errors import UsageError
from ematix_nb.export.cases import tests_text as written_tests
from ematix_nb.verbs.export import export
from tests.support.notebooks import ROOT, notebook_cells, ruff, write_notebook

if TYPE_CHECKING:
    from pathlib import Path

LAKE = '%%flow connection lake\nkind = "duckdb"\npath = "lake.db"'
FAR = '%%flow connection far\nkind = "postgres"\nurl = "${NOWHERE_DSN}"'
ORDERS = (
    "%%flow pipeline orders --from lake --to far:orders --mode merge --keys id\n"
    "SELECT id, upper(status) AS status FROM raw.orders WHERE id > {{least}}"
)
VALUES = "least = 1"
GOOD = """%%flow test orders --name "it's new"
given raw.orders
id, status
1, new
2, "a ""b"" \\n"

expect
id, status
2, "A ""B"" \\N"
"""


@pytest.fixture
def book(folder: Path) -> str:
    write_notebook(folder / "shop.ipynb", LAKE, FAR, VALUES, ORDERS, GOOD, GOOD.replace("it's new", "old"))
    return "shop.ipynb"


def pytest_run(folder: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "checks/test_orders.py"]
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=120, env=env, check=False)


def test_the_tests_run_under_pytest_and_fail_when_the_pipeline_changes(folder: Path, book: str) -> None:
    found = export(book, out="pipelines/orders.py", tests="checks/test_orders.py")
    assert found.to_text().splitlines()[-1] == "wrote checks/test_orders.py"
    text = (folder / "checks" / "test_orders.py").read_text()
    assert 'MODULE = Path(__file__).parent / "../pipelines/orders.py"' in text
    assert "def test_orders_it_s_new():" in text
    assert ruff("format", "--check", text=text) == ruff("check", text=text) == ""
    done = pytest_run(folder)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    module = folder / "pipelines" / "orders.py"
    module.write_text(module.read_text().replace("upper(status)", "lower(status)"))
    done = pytest_run(folder)
    assert "2 failed" in done.stdout
    assert '~ id=2: status is a "b"' in done.stdout


def test_a_check_covers_the_tests(folder: Path, book: str) -> None:
    files = {"out": "orders.py", "tests": "test_orders.py"}
    export(book, **files)  # type: ignore[arg-type]
    assert export(book, check=True, **files).exit_code == 0  # type: ignore[arg-type]
    write_notebook(folder / "shop.ipynb", LAKE, FAR, VALUES, ORDERS, GOOD.replace("2, ", "3, "))
    found = export(book, check=True, **files)  # type: ignore[arg-type]
    assert (found.status, found.exit_code) == ("up-to-date", 1)
    assert "test_orders.py is not what the notebook says" in found.to_text()
    again = export(book, **files)  # type: ignore[arg-type]
    assert (again.status, again.tests and again.tests.status) == ("unchanged", "written")


def test_hand_edits_of_the_tests_are_refused_and_nothing_is_written(folder: Path, book: str) -> None:
    export(book, out="orders.py", tests="test_orders.py")
    (folder / "test_orders.py").write_text((folder / "test_orders.py").read_text() + "\n# mine\n")
    write_notebook(folder / "shop.ipynb", LAKE, FAR, VALUES, ORDERS.replace("id > ", "id >= "), GOOD)
    before = (folder / "orders.py").read_text()
    with pytest.raises(UsageError, match=r"`test_orders.py` was changed by hand"):
        export(book, out="orders.py", tests="test_orders.py")
    assert (folder / "orders.py").read_text() == before


def test_tests_are_no_part_of_the_module_and_it_says_so(book: str) -> None:
    found = export(book, out="orders.py")
    assert "check_case" not in found.text
    assert "left out, 2 tests: --tests tests/test_orders.py writes them" in found.to_text()


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([LAKE, FAR, VALUES, ORDERS], "the notebook has no tests to export"),
        ([LAKE, GOOD], "the test is one of pipeline `orders`, which no exported cell declares"),
    ],
)
def test_what_cannot_be_written(cells: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        written_tests(notebook_cells(*cells), ["orders"] if ORDERS in cells else [], module="o.py", place="t.py")


def test_tests_need_a_module(book: str) -> None:
    with pytest.raises(UsageError, match="`--tests` needs the module beside it"):
        export(book, tests="test_orders.py")
