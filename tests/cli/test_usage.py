"""Wrong lines: one message, a hint, an exit code, and nothing done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Flow

WRONG = [
    (["rnu"], 2, "unknown verb `rnu`", "did you mean `run`?"),
    (["runs", "lst", "x"], 2, "`x` was not expected", "usage: flow runs list [NAME]"),
    (["connections", "chek"], 2, "unknown action `chek`", "did you mean `check`?"),
    (["run"], 2, "no pipeline is named; usage: flow run NAME...", "pipelines: broken, orders, stock"),
    (["run", "ordres"], 2, "there is no pipeline `ordres`", "did you mean `orders`?"),
    (["run", "zzz"], 2, "there is no pipeline `zzz`", "known pipelines: broken, orders, stock"),
    (["transform", "run"], 2, "no transform is named", "transforms: tally"),
    (["preview", "orders", "--limt", "5"], 2, "unknown option `--limt`", "did you mean `--limit`?"),
    (["preview", "orders", "--limit", "-5"], 2, "`--limit` is `-5`", "whole number from 1 to 100000"),
    (["preview", "orders", "--limit", "abc"], 2, "`--limit` is `abc`", "whole number from 1 to 100000"),
    (["preview", "orders", "--limit", "1e9"], 2, "`--limit` is `1e9`", "whole number from 1 to 100000"),
    (["preview", "orders", "--limit"], 2, "`--limit` needs a value", "usage: flow preview NAME"),
    (["preview", "orders", "stock"], 2, "`stock` was not expected", "usage: flow preview NAME"),
    (["run", "orders", "--yes=1"], 2, "`--yes` takes no value", "usage: flow run"),
    (["run", "orders", "--wait", "1", "--wait", "2"], 2, "`--wait` is given twice: 1, 2", "give it once"),
    (["run", "orders", "--wait", "nan"], 2, "`--wait` is `nan`", "seconds from 0 to 86400"),
    (["run", "orders", "--format", "jsn"], 2, "`--format` is `jsn`", "did you mean `json`?"),
    (["run-due", "--now", "yesterday"], 2, "`yesterday` is not an ISO 8601", "2026-11-23T12:00Z"),
    (["run-due", "--interval", "0"], 2, "interval `0`", "1 to 86400"),
    (["run-due", "--interval", "-1"], 2, "interval `-1`", "1 to 86400"),
    (["runs", "list", "--limit", "x"], 2, "unknown option `--limit`", "--last"),
    (["runs", "list", "--last", "x"], 2, "`--last` is `x`", "whole number"),
    (["runs", "show"], 2, "ID is missing", "usage: flow runs show ID"),
    (["runs", "show", "ffff"], 2, "no run `ffff` is recorded", "flow runs"),
    (["runs", "nope"], 2, "no run of `nope` is recorded", "known names"),
    (["run", "orders", "--profile", "prd"], 2, "no settings file defines the profile `prd`", "profiles"),
    (["connections", "check", "wharehouse"], 2, "`wharehouse` is not configured", "did you mean `warehouse`?"),
    (["connections", "set", "x", "hunter22"], 2, "not of the form key=value", "usage"),
    (["watermark", "set", "orders"], 2, "VALUE is missing", "usage"),
    (["watermark", "reset", "stock", "--yes"], 2, "is not incremental", ""),
    (["watermark", "set", "orders", "soon", "--yes"], 2, "`soon` is not a watermark", "ISO 8601"),
    (["watermark", "reset", "orders"], 2, "Nobody can be asked here", "add --yes"),
    (["run", "orders", "--full-refresh"], 2, "appends every row again to the target of orders", "add --yes"),
    (["schedule", "--emit", "airflow"], 2, "`--emit` is `airflow`", "cron, systemd, k8s"),
    (["run", "x", "--module", "nope"], 2, "there is no module `nope`; searched", "a path with .py"),
    (["run", "x", "--module", "ordrs"], 2, "there is no module `ordrs`", "did you mean `orders`?"),
    (["run", "x", "--module", "ordrs.py"], 2, "there is no file `ordrs.py`", "did you mean `orders.py`?"),
    (["run", "x", "--module", "a-b"], 2, "`a-b` is not the name of a module", "path with .py"),
    (["run", "x", "--module", "a.ipynb"], 2, "`a.ipynb` is not a Python module", "flow export a.ipynb"),
]


@pytest.mark.parametrize(("words", "code", "what", "more"), WRONG, ids=[" ".join(row[0]) for row in WRONG])
def test_a_wrong_line_has_one_message(
    words: list[str], code: int, what: str, more: str, shop: Path, flow: Flow
) -> None:
    found = flow(*words)
    assert found.code == code
    assert what in found.err
    assert more in found.err
    assert "Traceback" not in found.err
    assert "hunter22" not in found.err
    assert found.out == ""
    assert not (shop / "warehouse.duckdb").exists()


def test_no_words_show_the_help_and_exit_with_2(flow: Flow) -> None:
    found = flow()
    assert found.code == 2
    assert "usage: flow VERB ..." in found.err


def test_help_goes_to_the_standard_output(flow: Flow) -> None:
    assert flow("--help").out == flow("help").out
    assert flow("run", "--help").out.startswith("usage: flow run NAME...")
    assert flow("help", "runs").out.startswith("usage: flow runs [list|show] ...")
    assert flow("runs", "show", "-h").code == 0


def test_version(flow: Flow) -> None:
    assert flow("--version") == (0, "flow 0.1.0\n", "")


def test_a_module_that_raises_is_told_with_the_users_line(project: Path, flow: Flow) -> None:
    (project / "bad.py").write_text("import json\n\nvalue = 1 / 0\n")
    found = flow("list", "--module", "bad")
    assert found.code == 2
    assert "module `bad` cannot be imported: ZeroDivisionError: division by zero" in found.err
    assert f"({project / 'bad.py'}:3)" in found.err
    assert "Traceback" not in found.err
    assert "Traceback" in flow("list", "--module", "bad.py", "--debug").err


def test_a_syntax_error_is_told_with_the_users_line(project: Path, flow: Flow) -> None:
    (project / "bad.py").write_text("x = 1\ndef f(:\n")
    found = flow("list", "--module", "bad.py")
    assert found.code == 2
    assert f"({project / 'bad.py'}:2)" in found.err


def test_a_missing_import_is_not_taken_for_a_missing_module(project: Path, flow: Flow) -> None:
    (project / "bad.py").write_text("import no_such_package\n")
    found = flow("list", "--module", "bad")
    assert "No module named 'no_such_package'" in found.err
    assert f"({project / 'bad.py'}:1)" in found.err


def test_a_wrong_declaration_is_told_with_the_users_line(project: Path, flow: Flow) -> None:
    declared = '@ematix.pipeline(target="w:t", mode="upsert")\ndef p(c):\n    return "SELECT 1"\n'
    text = f"from ematix_nb import ematix\n\n{declared}"
    (project / "bad.py").write_text(text)
    found = flow("list", "--module", "bad")
    assert found.code == 2
    assert "upsert" in found.err
    assert f"{project / 'bad.py'}:3" in found.err


def test_a_module_without_pipelines(project: Path, flow: Flow) -> None:
    (project / "empty.py").write_text("x = 1\n")
    found = flow("run-due", "--module", "empty")
    assert (found.code, "note: 0 pipelines in empty" in found.out) == (0, True)
    assert flow("run-due", "--module", "empty", "--strict").code == 5
    listed = flow("list", "--module", "empty.py", "--strict")
    assert listed.code == 5
    assert "0 pipelines in empty.py" in listed.err


def test_an_unexpected_error_is_one_line(shop: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(_: object) -> None:
        message = "postgresql://u:hunter22@h/d"
        raise RuntimeError(message)

    monkeypatch.setattr("ematix_nb.verbs.catalog.list_pipelines", explode)
    found = flow("list")
    assert found.code == 1
    assert found.err.startswith("internal error: RuntimeError: postgresql://u:***@h/d\nhint: ")
    assert "Traceback" not in found.err
    assert "Traceback" in flow("list", "--debug").err


def test_a_broken_settings_file_is_told_with_its_place(project: Path, flow: Flow) -> None:
    (project / ".ematix-flow.toml").write_text("modules = [\n")
    found = flow("list")
    assert found.code == 2
    assert ".ematix-flow.toml:" in found.err
