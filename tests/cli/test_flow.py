"""`flow` on a small project, from the first look to the history."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import duckdb
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Flow


def test_list(shop: Path, flow: Flow) -> None:
    found = flow("list", "--now", "2026-11-23T12:01")
    assert found.code == 0
    lines = found.out.splitlines()
    assert lines[0].split() == ["pipeline", "mode", "source", "target", "schedule", "next", "fingerprint"]
    row = next(line for line in lines if line.startswith("orders"))
    assert "append  lake    warehouse:main.orders  */15 * * * *  2026-11-23 12:15 UTC" in row
    assert lines[-1] == "note: `2026-11-23T12:01` has no time zone: taken as 2026-11-23T12:01:00Z"


def test_run_prints_progress_on_stderr_and_json_on_stdout(shop: Path, flow: Flow) -> None:
    found = flow("run", "orders", "--format", "json")
    assert found.code == 0
    result = json.loads(found.out)
    assert (result["pipeline"], result["status"]) == ("orders", "success")
    assert result["targets"][0]["counts"]["rows_inserted"] == 5
    assert "orders -> warehouse:main.orders (append): started" in found.err
    assert "orders: success, 5 rows read" in found.err


def test_several_pipelines_stop_at_the_first_failure(shop: Path, flow: Flow) -> None:
    found = flow("run", "stock", "broken", "orders")
    assert found.code == 3
    assert "nome" in found.out
    assert "orders: not run, because one before it failed" in found.out
    found = flow("run", "broken", "orders", "--continue", "--format", "json")
    assert found.code == 3
    parts = json.loads(found.out)
    assert [part["pipeline"] for part in parts["results"]] == ["orders"]
    assert [part["name"] for part in parts["failed"]] == ["broken"]


@pytest.mark.parametrize("verb", ["run", "dry-run"])
def test_a_pipeline_that_is_named_twice_is_told_and_nothing_runs(shop: Path, flow: Flow, verb: str) -> None:
    found = flow(verb, "orders", "stock", "orders")
    assert (found.code, found.out) == (2, "")
    assert found.err.splitlines() == [
        "FLOW-100 `orders` is named twice; one line runs a pipeline once",
        "hint: name it once; what has to run again afterwards takes a line of its own",
    ]
    assert "no runs are recorded" in flow("runs").out


def test_one_failing_pipeline_gives_its_error_as_json_too(shop: Path, flow: Flow) -> None:
    found = flow("run", "broken", "--format", "json")
    assert found.code == 2
    assert "nome" in json.loads(found.out)["error"]
    assert "nome" in found.err


def test_preview_plan_and_dry_run_write_nothing(shop: Path, flow: Flow) -> None:
    before = sorted(str(path) for path in shop.rglob("*") if "__pycache__" not in str(path))
    assert "n" in flow("preview", "orders", "--limit", "2").out
    assert "(nothing was read or written)" in flow("plan", "orders").out
    assert json.loads(flow("plan", "stock", "--format", "json").out)["plans"][0]["mode"] == "merge"
    assert "nothing was written" in flow("dry-run", "orders").out
    assert "orders.csv" in flow("preview", "lake:orders.csv").out
    assert sorted(str(path) for path in shop.rglob("*") if "__pycache__" not in str(path)) == before


def test_validate_tells_each_target(shop: Path, flow: Flow) -> None:
    found = flow("validate", "--format", "json")
    assert found.code == 1
    results = {row["pipeline"]: row["result"] for row in json.loads(found.out)["rows"]}
    assert (results["orders"], results["stock"]) == ("ok", "ok")
    assert "nome" in results["broken"]


def test_run_due_fires_once(shop: Path, flow: Flow) -> None:
    words = ("run-due", "--now", "2026-11-23T12:00Z", "--interval", "900")
    assert "orders -> warehouse:main.orders: success" in flow(*words).out
    again = flow(*words)
    assert (again.code, again.out) == (0, "nothing was due (1 scheduled pipeline checked)\n")
    due = json.loads(flow("run-due", "--now", "2026-11-23T12:05", "--format", "json").out)
    assert (due["ran"], due["checked"]) == ([], 1)
    assert due["notes"] == ["`2026-11-23T12:05` has no time zone: taken as 2026-11-23T12:05:00Z"]


def test_runs_list_and_show(shop: Path, flow: Flow) -> None:
    assert flow("runs").out == "no runs are recorded\n"
    flow("run", "stock")
    flow("run", "orders")
    found = json.loads(flow("runs", "--format", "json").out)["runs"]
    assert [run["pipeline"] for run in found] == ["orders", "stock"]
    assert len(json.loads(flow("runs", "list", "--last", "1", "--format", "json").out)["runs"]) == 1
    assert [run["pipeline"] for run in json.loads(flow("runs", "stock", "--format", "json").out)["runs"]] == ["stock"]
    text = flow("runs").out.splitlines()
    assert text[0].split()[:4] == ["started", "(UTC)", "pipeline", "status"]
    assert text[2].split()[2:6] == ["orders", "success", "append", "manual"]
    shown = flow("runs", "show", found[0]["run_id"][:8])
    assert shown.code == 0
    assert "rows_inserted" in shown.out
    assert json.loads(flow("runs", "show", found[1]["run_id"], "--format", "json").out)["run"] == found[1]


def test_runs_of_a_database_whatever_declared_them(shop: Path, flow: Flow) -> None:
    flow("run", "stock")
    (shop / "orders.py").unlink()
    found = json.loads(flow("runs", "--connection", "warehouse", "--format", "json").out)["runs"]
    assert [run["pipeline"] for run in found] == ["stock"]
    shown = flow("runs", "show", found[0]["run_id"][:8], "--connection", "warehouse")
    assert (shown.code, "success" in shown.out) == (0, True)
    refused = flow("runs", "--connection", "lake")
    assert refused.code == 2
    assert "`lake` (object_store_local) is no database" in refused.err
    assert flow("runs", "--connection", "wharehouse").code == 2


def test_a_target_that_cannot_be_read_is_a_note(shop: Path, flow: Flow) -> None:
    flow("run", "stock")
    with (shop / "orders.py").open("a") as file:
        file.write(
            '\n\n@ematix.pipeline(target="nowhere:main.x", source_connection="lake")\ndef lost(conn):\n'
            '    return "SELECT 1 AS a"\n'
        )
    found = flow("runs")
    assert found.code == 0
    assert "stock" in found.out
    assert "note: nowhere:main.x could not be read: connection `nowhere` is not configured" in found.out


def test_backfill(shop: Path, flow: Flow) -> None:
    assert flow("run", "orders").code == 0
    line = ("backfill", "orders", "--from", "2", "--to", "5", "--chunk", "2")
    told = flow(*line, "--dry-run")
    assert (told.code, told.out.count("to do")) == (0, 2)
    with duckdb.connect(shop / "warehouse.duckdb") as connection:
        connection.execute("DELETE FROM orders WHERE n = 3")
    found = flow(*line, "--format", "json")
    result = json.loads(found.out)
    assert [(part["from"], part["to"], part["status"]) for part in result["chunks"]] == [
        ("2", "4", "success"),
        ("4", "5", "success"),
    ]
    counts = result["counts"]
    assert (counts["rows_read"], counts["rows_inserted"], counts["rows_deduplicated"]) == (3, 1, 2)
    assert "orders: chunk 2 of 2: n from 4 to 5" in found.err
    assert '"watermark": "5"' in flow("watermark", "show", "orders", "--format", "json").out
    run_id = result["chunks"][0]["run_id"]
    assert "metrics.backfill" in flow("runs", "show", run_id).out
    assert flow(*line).out.splitlines()[0] == "backfill of orders by n: 2 chunks; 3 read, 3 deduplicated"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("orders", "--from", "2"), "--to is missing"),
        (("orders", "--from", "2", "--to", "x"), "`--to x` does not fit the watermark column"),
        (("stock", "--from", "2", "--to", "3"), "has no watermark column"),
        ((), "no pipeline is named"),
    ],
)
def test_a_backfill_that_cannot_begin(shop: Path, flow: Flow, words: tuple[str, ...], why: str) -> None:
    found = flow("backfill", *words)
    assert (found.code, found.out) == (2, "")
    assert why in found.err
    assert "hint: " in found.err


def test_watermark(shop: Path, flow: Flow) -> None:
    assert "none" in flow("watermark", "orders").out
    early = flow("watermark", "set", "orders", "3", "--yes")
    assert early.code == 1
    assert "does not exist yet" in early.err
    flow("run", "orders")
    assert flow("watermark", "--format", "json").out.count('"watermark": "5"') == 1
    assert flow("watermark", "set", "orders", "3", "--yes").code == 0
    assert flow("watermark", "set", "orders", "2026-01-01", "--yes").code == 2
    assert '"watermark": "3"' in flow("watermark", "show", "orders", "--format", "json").out
    assert flow("watermark", "reset", "orders", "--yes").code == 0
    assert '"watermark": "none"' in flow("watermark", "show", "orders", "--format", "json").out


def test_full_refresh_asks_only_where_rows_would_double(shop: Path, flow: Flow) -> None:
    flow("run", "orders", "stock")
    assert flow("run", "stock", "--full-refresh").code == 0
    assert flow("run", "orders", "--full-refresh", "--yes").code == 0
    with duckdb.connect(str(shop / "warehouse.duckdb")) as warehouse:
        assert warehouse.execute("SELECT count(*) FROM main.orders").fetchall() == [(10,)]


def test_transforms(shop: Path, flow: Flow) -> None:
    flow("run", "stock")
    assert "tally" in flow("transform").out
    row = json.loads(flow("transform", "run", "tally", "--format", "json").out)["rows"][0]
    assert (row["transform"], row["status"], row["metrics"]) == ("tally", "success", {"rows": 5})
    with (shop / "orders.py").open("a") as file:
        file.write(
            '\n\n@ematix.transform(target_connection="warehouse")\ndef bad(conn):\n    return conn.fetch("SELEC")\n'
        )
    assert flow("transform", "run", "bad").code == 1


def test_connections(shop: Path, flow: Flow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMATIX_FLOW_DSN_PG", "postgresql://u:hunter22@h/d")
    rows = json.loads(flow("connections", "list", "--format", "json").out)["rows"]
    assert [(row["name"], row["kind"], row["used"]) for row in rows] == [
        ("lake", "object_store_local", "yes"),
        ("pg", "postgres", "yes"),
        ("warehouse", "duckdb", "yes"),
    ]
    assert rows[1]["source"] == "env EMATIX_FLOW_DSN_PG"
    assert "hunter22" not in flow("connections").out
    assert "1 readable thing" in flow("connections", "check", "lake").out
    wrote = flow("connections", "set", "pg2", "url=postgresql://u:hunter22@h/d")
    assert wrote.code == 0
    assert "hunter22" not in wrote.out + wrote.err
    file = tmp_path / ".ematix-flow" / "connections.toml"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "hunter22" in file.read_text()


def test_a_connection_that_is_set_but_shadowed_is_told(shop: Path, flow: Flow) -> None:
    found = flow("connections", "set", "warehouse", "kind=duckdb", "path=other.duckdb")
    assert "note: another definition is used instead: " in found.out


def test_profiles(shop: Path, flow: Flow) -> None:
    with (shop / ".ematix-flow.toml").open("a") as file:
        file.write('\n[profiles.prod.connections.warehouse]\nkind = "duckdb"\npath = "prod.duckdb"\n')
    assert flow("run", "stock", "--profile", "prod").code == 0
    assert (shop / "prod.duckdb").exists()
    assert not (shop / "warehouse.duckdb").exists()
    assert "prod" in flow("profile").out


def test_schedule_entries(shop: Path, flow: Flow) -> None:
    found = flow("schedule", "--emit", "cron", "--module", "orders.py", "--name", "shop")
    assert found.out.splitlines()[-1] == f"*/15 * * * * cd {shop} && flow run-due --module orders.py --interval 900"
    assert "kind: CronJob" in flow("schedule", "--emit", "k8s", "--name", "shop").out


@pytest.mark.parametrize("module", ["orders", "orders.py", "./orders.py", "pipelines", "pipelines/orders.py"])
def test_modules_by_name_file_and_folder(module: str, shop: Path, flow: Flow) -> None:
    if module.startswith("pipelines"):
        (shop / "pipelines").mkdir()
        (shop / "orders.py").rename(shop / "pipelines" / "orders.py")
        module = module if module.endswith(".py") else "pipelines/"
    found = flow("list", "--module", module)
    assert found.code == 0
    assert "orders" in found.out


def test_a_file_named_like_a_library_takes_nobodys_place(shop: Path, flow: Flow) -> None:
    (shop / "orders.py").rename(shop / "json.py")
    assert "orders" in flow("list", "--module", "json.py").out
    assert json.loads("[1]") == [1]


def test_init_and_doctor(project: Path, flow: Flow) -> None:
    assert flow("init").code == 0
    assert flow("run", "example").code == 0
    again = flow("init")
    assert (again.code, "would be overwritten" in again.err) == (2, True)
    assert flow("init", "--force").code == 0
    assert flow("init", "sub/folder").out.splitlines()[-1] == "note: next: cd sub/folder && flow preview example"
    found = flow("doctor", "--strict", "--format", "json")
    states = {row["what"]: row["state"] for row in json.loads(found.out)["rows"]}
    assert (found.code, set(states.values())) == (0, {"ok"})
    assert {"python", "duckdb", "connection warehouse", "schedule of example"} <= set(states)
    notebook = json.loads((project / "notebooks" / "first.ipynb").read_text())
    assert notebook["nbformat"] == 4


def test_doctor_tells_what_is_wrong(shop: Path, flow: Flow) -> None:
    (shop / ".ematix-flow.toml").chmod(0o644)
    with (shop / ".ematix-flow.toml").open("a") as file:
        file.write('\n[connections.gone]\nkind = "duckdb"\npath = "/no/such/folder/x.duckdb"\npassword = "p"\n')
    found = flow("doctor")
    assert found.code == 1
    assert "fail" in found.out


def test_one_of_a_thing_is_told_in_the_singular(project: Path, flow: Flow) -> None:
    (project / "one.py").write_text(
        "from ematix_nb import ematix\n\n\n"
        '@ematix.pipeline(target="here:t", source_connection="here", mode="merge", keys=("n",), schedule="@hourly")\n'
        'def one(conn):\n    return "SELECT 1 AS n"\n'
    )
    (project / ".ematix-flow.toml").write_text(
        'modules = ["one.py"]\n[connections.here]\nurl = "duckdb:///here.duckdb"\n'
    )
    told = flow("run", "one").err
    for words in (("run-due", "--now", "2026-11-23T12:30Z"), ("doctor",), ("preview", "one", "--limit", "1")):
        found = flow(*words)
        told += found.out + found.err
    assert "one: success, 1 row read" in told
    assert "nothing was due (1 scheduled pipeline checked)" in told
    assert "1 pipeline: one" in told
    assert (
        re.findall(
            r"\b1 (?:more )?(?:scheduled |missed )?(?:rows|pipelines|slots|columns|lines|things|changes)\b", told
        )
        == []
    )
