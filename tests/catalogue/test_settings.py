"""Rows 53 to 74 of the catalogue: settings files, variables, URLs, schedules."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.catalogue.case import SETTINGS, Case, check_message, contents
from tests.catalogue.conftest import lay_out
from tests.support import postgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.catalogue.conftest import Flow

CHECK = ("connections", "check", "wh")


def wh(*lines: str) -> str:
    """Settings with one more connection, `wh`; its first setting stands in line 12."""
    return "\n".join([SETTINGS, "[connections.wh]", *lines, ""])


CASES = [
    Case("53", ("list",), ("not valid TOML", ".ematix-flow.toml:1:10"), "texts stand in quotes", settings="modules ="),
    Case("53b", CHECK, ("not valid TOML", ".ematix-flow.toml:13:8"), "quotes", settings=wh("kind = duckdb")),
    Case(
        "54",
        CHECK,
        ("`kind` is defined twice", ":14:"),
        "remove one",
        settings=wh('kind = "duckdb"', 'kind = "sqlite"'),
    ),
    Case(
        "54b",
        CHECK,
        ("defined twice", ":13:"),
        "remove one",
        settings=wh("[connections.wh]", 'kind = "duckdb"'),
    ),
    Case(
        "55",
        CHECK,
        ("unknown setting `bootstrap_server`", ".ematix-flow.toml:14:1"),
        "did you mean `bootstrap_servers`?",
        settings=wh('kind = "kafka"', 'bootstrap_server = "h:9092"'),
    ),
    Case(
        "55b",
        ("list",),
        ("unknown key `conections`", ".ematix-flow.toml:1:1"),
        "did you mean `connections`?",
        settings="[conections.a]\n",
    ),
    Case(
        "56",
        CHECK,
        ("connections.wh.port is 'x'", "whole number", ":14:1"),
        "correct `port`",
        settings=wh('kind = "postgres"', 'port = "x"', 'host = "127.0.0.1"', 'database = "d"', 'user = "u"'),
    ),
    Case(
        "56b",
        CHECK,
        ("connections.wh.path is 5", "expected text", ":14:1"),
        "correct `path`",
        settings=wh('kind = "duckdb"', "path = 5"),
    ),
    Case("57", CHECK, ("unknown kind `postgress`",), "did you mean `postgres`?", settings=wh('kind = "postgress"')),
    Case(
        "58", CHECK, ("connection `wh` has no `kind`", ":12:1"), "add `kind = ...`: postgres", settings=wh('path = "x"')
    ),
    Case(
        "59",
        CHECK,
        ("variable MISSING is not set", "connections.wh.url"),
        "${MISSING:-default}",
        settings=wh('url = "postgres://u:${MISSING}@127.0.0.1/d"'),
    ),
    Case(
        "60", CHECK, ("column 14", "connections.wh.url"), "${NAME}", settings=wh('url = "postgres://u:${}@127.0.0.1/d"')
    ),
    Case("60b", CHECK, ("no closing `}`",), "${NAME}", settings=wh('url = "postgres://u:${A@127.0.0.1/d"')),
    Case("60c", CHECK, ("not a variable name",), "${NAME}", settings=wh('url = "postgres://u:${a-b}@127.0.0.1/d"')),
    Case(
        "60d",
        CHECK,
        ("variable lower is not set",),
        "${lower:-default}",
        settings=wh('url = "postgres://u:${lower}@127.0.0.1/d"'),
    ),
    Case(
        "61",
        CHECK,
        ("variable PW is set but empty", "connections.wh.url"),
        "${PW:-}",
        settings=wh('url = "postgres://u:${PW}@127.0.0.1/d"'),
        environ={"PW": ""},
    ),
    Case("61b", CHECK, ("EMATIX_FLOW_DSN_WH is set but empty",), "unset it", environ={"EMATIX_FLOW_DSN_WH": ""}),
    Case("62", CHECK, ("names no database",), "postgres://", settings=wh('url = "postgres://u@127.0.0.1"')),
    Case("62b", CHECK, ("names no host",), "postgres://", settings=wh('url = "postgres:///d"')),
    Case(
        "62c",
        CHECK,
        ("the port", "`99999`", "1 to 65535"),
        "5432",
        settings=wh('url = "postgres://u@127.0.0.1:99999/d"'),
    ),
    Case("62d", CHECK, ("the port", "`abc`"), "5432", settings=wh('url = "postgres://u@127.0.0.1:abc/d"')),
    Case("62e", CHECK, ("`postgrse`",), "did you mean `postgres`?", settings=wh('url = "postgrse://u@127.0.0.1/d"')),
    Case("62f", CHECK, ("EMATIX_FLOW_DSN_WH", "not a URL"), "postgres://", environ={"EMATIX_FLOW_DSN_WH": "my db"}),
    Case(
        "63",
        CHECK,
        ("cannot be split", "unescaped `#`"),
        "`%23`",
        settings=wh('url = "postgres://u:hunter22/#?@127.0.0.1/d"'),
    ),
    Case(
        "63b",
        CHECK,
        ("cannot be split", "unescaped `%`"),
        "`%25`",
        settings=wh('url = "postgres://u:hunter22%zz@127.0.0.1/d"'),
    ),
    Case("65", ("list",), ("UTF-16",), "save it as UTF-8", files={".ematix-flow.toml": SETTINGS.encode("utf-16")}),
    Case(
        "67",
        CHECK,
        ("circle: wh -> wh",),
        "schema_registry",
        settings=wh('kind = "kafka"', 'bootstrap_servers = "127.0.0.1:1"', 'schema_registry = "wh"'),
    ),
    Case("71", CHECK, ("bucket",), "bucket", settings=wh('kind = "object_store_s3"', 'region = "eu-west-1"')),
    Case("71b", CHECK, ("bucket",), "bucket", settings=wh('url = "s3:///x"')),
    Case(
        "72",
        ("preview", "wh:x.csv"),
        ("`data/orders.csv` is a file where a folder is wanted",),
        "set `path` to its folder",
        code=1,
        settings=wh('kind = "object_store_local"', 'path = "data/orders.csv"', 'format = "csv"'),
    ),
    Case(
        "72b",
        ("run", "orders"),
        ("`orders.csv` is a file where a folder is wanted",),
        "name a folder",
        module='@ematix.pipeline(target="lake:orders.csv", source_connection="warehouse", mode="append")\n'
        'def orders(conn):\n    return "SELECT id, name FROM kept"\n',
    ),
]

SCHEDULES = [
    ("73", "* * *", "UTC", ("`* * *` has 3 fields", "expected 5"), "`month` is the first one missing"),
    ("73b", "61 * * * *", "UTC", ("minute `61` is not within 0-59",), "such as `0`"),
    ("73c", "30 2 30 2 *", "UTC", ("never fires",), "last day of each month"),
    ("73d", "@hourli", "UTC", ("unknown schedule alias `@hourli`",), "did you mean `@hourly`?"),
    ("74", "@daily", "Mars/X", ("there is no time zone `Mars/X`",), "Europe/Berlin"),
    ("74b", "@daily", "Europe/Berln", ("there is no time zone `Europe/Berln`",), "did you mean `Europe/Berlin`?"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_wrong_settings(case: Case, project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(project, case, monkeypatch)
    before = contents(project.parent)
    found = flow(*case.words)
    check_message(found.err + found.out, case.says, case.hint)
    assert found.code == case.code
    assert contents(project.parent) == before


@pytest.mark.parametrize(("row", "schedule", "zone", "says", "hint"), SCHEDULES, ids=[row[0] for row in SCHEDULES])
def test_a_wrong_schedule(
    row: str,
    schedule: str,
    zone: str,
    says: tuple[str, ...],
    hint: str,
    project: Path,
    flow: Flow,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is told when the module is imported, so every verb tells it, with file and line."""
    lay_out(project, Case(row, ("list",), says, module=scheduled(schedule, zone)), monkeypatch)
    before = contents(project.parent)
    for words in (("list",), ("run-due",), ("run", "p")):
        found = flow(*words)
        check_message(found.err, (*says, "shop.py:8"), hint)
        assert (found.code, found.out) == (2, "")
    assert contents(project.parent) == before


def test_an_alias_is_a_schedule_row_73(project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(project, Case("73", ("list",), (), module=scheduled("@hourly", "Europe/Berlin")), monkeypatch)
    assert "@hourly" in flow("list").out
    assert "p -> warehouse:main.t: success" in flow("run-due", "--now", "2026-11-23T12:00Z").out


def scheduled(schedule: str, zone: str) -> str:
    """A module with one pipeline that has a schedule."""
    options = f'target="warehouse:main.t", source_connection="lake", schedule="{schedule}", timezone="{zone}"'
    return f"@ematix.pipeline({options})\ndef p(conn):\n    return 'SELECT id FROM \"orders.csv\"'\n"


def flow_process(*words: str) -> subprocess.CompletedProcess[str]:
    """`flow` as a process, whose warnings are as a user sees them."""
    command = [sys.executable, "-m", "ematix_nb", *words]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environ)


def test_a_file_that_others_may_read_row_64(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = wh('url = "postgres://u:hunter22@127.0.0.1/d"')
    lay_out(project, Case("64", (), (), settings=settings), monkeypatch)
    assert flow_process("connections", "list").stderr == ""
    (project / ".ematix-flow.toml").chmod(0o644)
    found = flow_process("connections", "list")
    check_message(found.stderr, ("warning: ", "[connections.wh]", "mode 0644", "chmod 600"), "")
    assert found.returncode == 0
    assert len(found.stderr.splitlines()) == 1


@pytest.mark.parametrize("text", ["\ufeff" + SETTINGS, SETTINGS.replace("\n", "\r\n")], ids=["bom", "crlf"])
def test_marks_and_line_ends_of_windows_are_fine_row_65(
    text: str, project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(project, Case("65", (), (), files={".ematix-flow.toml": text.encode()}), monkeypatch)
    assert "orders" in flow("list").out


def test_one_name_in_two_files_row_66(project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    home = '[connections.warehouse]\nkind = "sqlite"\npath = "other.db"\n'
    lay_out(project, Case("66", (), (), files={"../home/.ematix-flow/connections.toml": home}), monkeypatch)
    (project.parent / "home" / ".ematix-flow" / "connections.toml").chmod(0o600)
    rows = json.loads(flow("connections", "list", "--format", "json").out)["rows"]
    found = [(row["kind"], row["source"].rpartition("/")[2], row["used"]) for row in rows if row["name"] == "warehouse"]
    assert [(kind, source) for kind, source, _ in found] == [
        ("duckdb", ".ematix-flow.toml:8"),
        ("sqlite", "connections.toml:1"),
    ]
    assert found[0][2] == "yes"
    assert ".ematix-flow.toml" in found[1][2]


def test_a_server_without_encryption_row_68(
    pg_url: str, project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never falls back to a connection that can be read on the way."""
    with psycopg.connect(pg_url) as connection:
        row = connection.execute("SHOW ssl").fetchone()
    if row == ("on",):
        pytest.skip("missing: a server without encryption")
    lay_out(project, Case("68", (), (), settings=wh(f'url = "{pg_url}?sslmode=require"')), monkeypatch)
    found = flow(*CHECK)
    check_message(found.out + found.err, ("SSL",), "sslmode")
    assert found.code == 1


@pytest.fixture
def guarded() -> Iterator[str]:
    """The place (host:port) of a server that asks for a password; the user `ann` has one, `hunter23`."""
    programs = postgres._system_programs() or postgres._wheel_programs()
    if programs is None:
        pytest.skip("missing: the programs of a PostgreSQL server")
    with postgres.own_server(programs) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE USER ann PASSWORD 'hunter23'")
            rules = "host all postgres 127.0.0.1/32 trust\\nhost all all 127.0.0.1/32 scram-sha-256\\n"
            file = connection.execute("SHOW hba_file").fetchone()
            assert file is not None
            connection.execute(f"COPY (SELECT E'{rules}') TO PROGRAM 'printf \"%b\" \"$(cat)\" > {file[0]}'")
            connection.execute("SELECT pg_reload_conf()")
        yield urlsplit(url).netloc.rpartition("@")[2]


def test_a_wrong_password_row_69(guarded: str, project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(
        project, Case("69", (), (), settings=wh(f'url = "postgres://ann:hunter22@{guarded}/postgres"')), monkeypatch
    )
    before = contents(project.parent)
    found = flow(*CHECK)
    check_message(found.err, (f"authentication failed for user `ann` at {guarded}",), "check user and password")
    assert (found.code, contents(project.parent)) == (1, before)
    right = wh(f'url = "postgres://ann:hunter23@{guarded}/postgres"')
    lay_out(project, Case("69", (), (), settings=right), monkeypatch)
    assert flow(*CHECK).code == 0


def test_an_unknown_user_row_69(pg_url: str, project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    place = urlsplit(pg_url)
    url = f"postgresql://nobody_here:hunter22@{place.hostname}:{place.port}{place.path}"
    lay_out(project, Case("69", (), (), settings=wh(f'url = "{url}"')), monkeypatch)
    found = flow(*CHECK)
    check_message(found.err, ("there is no user `nobody_here`", str(place.port)), "check the user")
    assert found.code == 1


def test_a_server_that_cannot_be_reached_row_70(project: Path, flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three causes, three messages."""
    with socket.socket() as refused, socket.socket() as silent:
        refused.bind(("127.0.0.1", 0))
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        urls = {
            "unknown": "postgres://u@no-such-host.invalid/d",
            "refused": f"postgres://u@127.0.0.1:{refused.getsockname()[1]}/d",
            "timeout": f"postgres://u@127.0.0.1:{silent.getsockname()[1]}/d?connect_timeout=2",
        }
        told = {}
        for name, url in urls.items():
            lay_out(project, Case("70", (), (), settings=wh(f'url = "{url}"')), monkeypatch)
            found = flow(*CHECK)
            told[name] = found.err
            assert found.code == 1
    check_message(told["unknown"], ("the host `no-such-host.invalid` is not known",), "spelling")
    check_message(told["refused"], ("nothing listens", "connection refused"), "is the server started?")
    check_message(told["timeout"], ("did not answer within 2 seconds",), "connect_timeout")
    assert len(set(told.values())) == 3
