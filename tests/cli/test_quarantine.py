"""`flow quarantine` and `flow check` on a small project."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Flow

PIPELINE = """

@ematix.pipeline(
    target="warehouse:main.checked",
    source_connection="lake",
    mode="merge",
    keys=("n",),
    checks=["between(n, 1, LIMIT, on_fail=quarantine)", "row_count(max=4)", "warn: name <> 'a'"],
)
def checked(conn):
    return 'SELECT n, name FROM "orders.csv"'
"""


@pytest.fixture
def limit(shop: Path) -> Path:
    """The shop with one more pipeline, whose rows above 3 go to quarantine."""
    text = (shop / "orders.py").read_text()
    (shop / "orders.py").write_text(text + PIPELINE.replace("LIMIT", "3"))
    return shop


def change(shop: Path, old: str, new: str) -> None:
    module = shop / "orders.py"
    module.write_text(module.read_text().replace(old, new))


def test_look_load_and_remove(limit: Path, flow: Flow) -> None:
    assert flow("quarantine").out == "no rows are in quarantine\n"
    assert flow("run", "checked").code == 0
    lines = flow("quarantine").out.splitlines()
    assert lines[0].split()[:3] == ["pipeline", "target", "run"]
    assert lines[2].endswith('2  check `between("n", 1, 3, on_fail="quarantine")`: column `n` (2)')
    shown = flow("quarantine", "show", "checked", "--limit", "1", "--format", "json")
    found = json.loads(shown.out)
    assert (found["rows"][0]["row"], json.loads(found["rows"][0]["source row"])) == (4, {"n": 4, "name": "d"})
    assert found["notes"] == ["1 more rows are there: --limit 2"]
    run = found["rows"][0]["run"]
    assert flow("quarantine", "show", "checked", "--run", "zzz").code == 2
    assert "2 quarantined" in flow("quarantine", "replay", "checked", "--run", run).out
    change(limit, "1, 3,", "1, 4,")
    assert "1 inserted, 1 quarantined" in flow("quarantine", "replay", "checked").out
    assert json.loads(flow("quarantine", "list", "checked", "--format", "json").out)["rows"][0]["rows"] == 1
    refused = flow("quarantine", "purge", "checked")
    assert (refused.code, "Nobody can be asked here" in refused.err) == (2, True)
    assert flow("quarantine", "purge", "checked", "--yes").out.splitlines()[-1].split()[-1] == "1"
    assert flow("quarantine", "show", "checked").out == "no rows are in quarantine\n"
    assert flow("quarantine", "replay", "checked").out == "no rows are in quarantine\n"


def test_check_tells_all_and_writes_nothing(limit: Path, flow: Flow) -> None:
    found = flow("check", "checked")
    assert (found.code, "3 rows" in found.out) == (0, False)
    assert "note: checked -> warehouse:main.checked: 2 rows would go to quarantine" in found.out
    change(limit, "row_count(max=4)", "row_count(max=2)")
    found = flow("check", "checked", "--format", "json")
    assert (found.code, [row["result"] for row in json.loads(found.out)["rows"]]) == (1, ["failed", "warned"])
    assert not (limit / "warehouse.duckdb").exists()
    assert flow("run", "checked").code == 1
    assert flow("run", "checked", "--no-checks").code == 0
    run = json.loads(flow("runs", "--format", "json").out)["runs"][0]
    assert "the checks were left out (--no-checks)" in run["metrics"]["warnings"]
