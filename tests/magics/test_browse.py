"""`%flow connect`, `tables`, `schema` and `diff` in a notebook, and the same words after `flow`."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.cli.main import main
from ematix_nb.declare import registry
from ematix_nb.errors import ConnectError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_tables_of_a_connection(notebook: Any) -> None:
    import duckdb

    with duckdb.connect("src.duckdb") as connection:
        connection.execute("CREATE SCHEMA raw; CREATE TABLE raw.orders (id INT); CREATE VIEW raw.v AS SELECT 1 AS x")
    found = notebook.cell("%flow tables src")
    assert found.rows == (("main", "t"), ("raw", "orders"), ("raw", "v"))
    for line in ("%flow tables src raw.*", "%flow tables src:RAW.*"):
        assert notebook.cell(line).rows == (("raw", "orders"), ("raw", "v"))
    assert notebook.cell("%flow tables src x*").to_text() == "nothing in `src` fits `x*`"
    result, shown = notebook.run("%flow tables scr")
    assert isinstance(result.error_in_exec, UnknownNameError)
    assert "did you mean `src`" in shown


def test_the_schema_of_a_table_and_of_files(notebook: Any, tmp_path: Path) -> None:
    import duckdb

    with duckdb.connect("src.duckdb") as connection:
        connection.execute("CREATE TABLE k (a INT, b TEXT NOT NULL, PRIMARY KEY (a))")
    assert notebook.cell("%flow schema src:k").rows == (
        ("a", "integer", "not null", "key 1"),
        ("b", "text", "not null", ""),
    )
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "x.csv").write_text("n,when\n1,2026-01-01\n")
    notebook.cell("%%flow connection lake\nkind = 'object_store_local'\npath = 'lake'\nformat = 'csv'")
    found = notebook.cell("%flow schema lake:x.csv")
    assert [name for name, _ in found.rows] == ["n", "when"]
    result, shown = notebook.run("%flow schema src:kk")
    assert isinstance(result.error_in_exec, UnknownNameError)
    assert "there is no table `kk` in `src`" in shown


def test_the_schema_of_a_pipeline_compares_source_and_target(notebook: Any) -> None:
    assert "a run would create table" in notebook.cell("%flow schema orders").to_text()
    notebook.cell("%flow run orders")
    assert notebook.cell("%flow schema orders").notes[-1] == "tgt:orders is as a run wants it"
    notebook.cell(
        "%%flow pipeline orders --from src --to tgt:orders --mode merge --keys id\n"
        "SELECT id, amount, 'x' AS more FROM t WHERE id < 5\n"
    )
    found = notebook.cell("%flow schema orders")
    by_name = {row[0]: row for row in found.rows}
    assert by_name["more"][2:] == ("", "new in the target, exact")
    assert by_name["name"][1:] == ("", "text", "not in the source")
    assert any("add column" in note for note in found.notes)


def test_connect_tells_where_each_setting_came_from_and_no_secret(
    notebook: Any, pg_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ematix_nb.connections import server_parts
    from ematix_nb.connections.url import connection_from_url

    parts = server_parts(connection_from_url("x", pg_url))  # type: ignore[arg-type]
    monkeypatch.setenv("WH_HOST", parts.host)
    monkeypatch.setenv("WH_PASSWORD", "hunter22")
    notebook.cell(
        f"%%flow connection wh\nkind = 'postgres'\nhost = '${{WH_HOST}}'\nport = {parts.port or 5432}\n"
        f"database = '{parts.path}'\nuser = '{parts.user}'\npassword = '${{WH_PASSWORD}}'\n"
    )
    found = notebook.cell("%flow connect wh")
    rows = {name: (value, place) for name, value, place in found.rows}
    assert rows["kind"][0] == "postgres"
    assert rows["host"] == (parts.host, "variable WH_HOST")
    assert rows["database"][0] == parts.path
    assert rows["password"] == ("***", "variable WH_PASSWORD")
    assert "hunter22" not in found.to_text() + found.to_html() + str(found.to_dict())
    if found.exit_code == 0:  # the server may ask for no password
        assert rows["latency"][0].endswith(" ms")
        assert rows["server"][0].startswith("postgres ")


def test_connect_shows_the_settings_of_what_cannot_be_reached(notebook: Any) -> None:
    notebook.cell("%%flow connection gone\nkind = 'postgres'\nurl = 'postgres://ann@127.0.0.1:1/wh'\n")
    found = notebook.cell("%flow connect gone")
    assert found.exit_code == 1
    rows = {name: value for name, value, _ in found.rows}
    assert (rows["host"], rows["port"], rows["user"], rows["database"]) == ("127.0.0.1", "1", "ann", "wh")
    assert "error" in rows
    with pytest.raises(ConnectError):
        notebook.cell("%flow connections check gone")


def test_set_writes_the_address_and_asks_for_the_secret(
    notebook: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "")
    monkeypatch.setattr(getpass, "getpass", lambda *_: "hunter22")
    _, shown = notebook.run("%flow connect shop --set postgres://me@127.0.0.1:1/db --ask-secret")
    text = (home / ".ematix-flow" / "connections.toml").read_text()
    assert 'url = "postgres://me@127.0.0.1:1/db"' in text
    assert 'password = "${SHOP_PASSWORD}"' in text
    assert "hunter22" not in text + shown
    assert os.environ["SHOP_PASSWORD"] == "hunter22"
    assert "kept in the variable SHOP_PASSWORD of this process alone" in shown


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("connect shop --set postgres://me:hunter22@db/x", "the address after --set holds a secret"),
        ("connect src --ask-secret", "connection `src` takes no password from a variable"),
        ("connect nosuch", "connection `nosuch` is not configured"),
        ("connect", "NAME is missing"),
        ("diff orders --key id", "`--key` is COLUMN=VALUE, got `id`"),
        ("diff ordres", "there is no pipeline `ordres`"),
        ("tables", "CONNECTION is missing"),
    ],
)
def test_wrong_use_is_one_clear_error(
    notebook: Any, home: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    monkeypatch.setattr(getpass, "getpass", lambda *_: "x")
    result, shown = notebook.run(f"%flow {line}")
    assert isinstance(result.error_in_exec, (UsageError, UnknownNameError))
    assert message in shown
    assert "hunter22" not in shown
    assert not (home / ".ematix-flow").exists()


def test_nobody_to_ask_is_told(notebook: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> str:
        raise NotImplementedError

    monkeypatch.setattr(getpass, "getpass", refused)
    result, shown = notebook.run("%flow connect shop --set postgres://me@127.0.0.1:1/db --ask-secret")
    assert isinstance(result.error_in_exec, UsageError)
    assert "set the variable SHOP_PASSWORD" in shown


def test_diff_in_a_notebook_and_in_a_shell(notebook: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook.cell("%config FlowMagics.limit = 2")
    found = notebook.cell("d = %flow diff orders\nd")
    notebook.cell("%config FlowMagics.limit = 50")
    assert (found.inserts, len(found.targets[0].changes)) == (5, 2)
    assert found.to_text().splitlines() == [
        "diff of orders -> tgt:orders: 5 read, 5 inserted (nothing was written)",
        "  + id=0: name=name 0, amount=0",
        "  + id=1: name=name 1, amount=10",
        "  2 of 5 changed rows shown (--limit shows more)",
    ]
    notebook.cell("%flow export --out module.py --force")
    with registry.scratch():
        assert main(["diff", "orders", "--module", "module.py", "--limit", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == found.to_text().splitlines()
