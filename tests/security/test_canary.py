"""Fourteen planted secrets, more than sixty actions that succeed and fail: none is found in anything that came out."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import pickle
import sqlite3
import subprocess
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import duckdb
import psycopg
import pymysql
import pytest
from IPython.utils.capture import capture_output

from ematix_nb.connections import get_connection, list_connections, redact
from ematix_nb.declare import registry
from tests.security.canary import MARK, PLACES, echoing_store, leaking_files, leaks, quoted, secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.catalogue.conftest import Flow, Notebook

MODULE = """\
from pathlib import Path

from ematix_nb import ematix


@ematix.pipeline(target="maria:good", source_connection="pg", mode="merge", keys=("id",), schedule="@hourly")
def good(conn):
    return "SELECT id, name FROM rows"


@ematix.pipeline(
    target="warehouse:main.env", source_connection="pg_env", mode="append", watermark_column="id", incremental=True
)
def env(conn):
    return "SELECT id, name FROM rows"


@ematix.pipeline(target="warehouse:main.asked", source_connection="asked", mode="truncate")
def asked(conn):
    return "SELECT id, name FROM rows"


@ematix.pipeline(target="warehouse:main.t", source_connection="maria_env", mode="append")
def refused(conn):
    return "SELECT 1 AS id"


@ematix.pipeline(target="maria_env:t", source_connection="pg", mode="append")
def refused_target(conn):
    return "SELECT id FROM rows"


@ematix.pipeline(target="ledger:says", source_connection="says", mode="append")
def says(conn):
    return "SELECT says() AS id"


@ematix.pipeline(target="warehouse:main.t", source_connection="dsn", mode="append")
def by_variable(conn):
    return "SELECT 1 AS id"


@ematix.pipeline(target="warehouse:main.t", source_connection="azure", mode="append")
def from_azure(conn):
    return 'SELECT * FROM "x.csv"'


@ematix.pipeline(target="azure_key:x", source_connection="pg", mode="append")
def to_azure(conn):
    return "SELECT id FROM rows"


@ematix.pipeline(target="warehouse:main.t", source_connection="s3", mode="append")
def from_s3(conn):
    return 'SELECT * FROM "x.csv"'


@ematix.pipeline(target="delta:x", source_connection="pg", mode="append")
def to_delta(conn):
    return "SELECT id FROM rows"


def fails(conn, parent):
    raise RuntimeError("cannot log in with " + Path("planted.txt").read_text())


@ematix.pipeline(target="warehouse:main.after", source_connection="pg", mode="truncate", transforms_post=[fails])
def after(conn):
    return "SELECT id FROM rows"


@ematix.pipeline(target="warehouse:main.t", source_connection="pg", mode="append")
def own(conn):
    raise RuntimeError("cannot log in with " + Path("planted.txt").read_text())
"""
NOT_HELD_ALONE = ["address of a webhook", "key file"]
"""The one is masked with the whole address, the other is read by a library."""
PIPELINES = (
    "good", "env", "asked", "refused", "refused_target", "says", "by_variable", "from_azure", "to_azure", "from_s3",
    "to_delta", "after", "own",
)  # fmt: skip
CELL = f'%%flow connection celled\nurl = "postgres://u:{quoted("connection cell")}@127.0.0.1:1/d?connect_timeout=1"\n'
SCRIPT = """\
import sys, traceback
from pathlib import Path

from ematix_nb import ematix
import shop

for name in sys.argv[1:]:
    try:
        getattr(shop, name).sync()
    except Exception:
        traceback.print_exc()
getattr(shop, sys.argv[1]).sync()
"""


def settings(pg: str, maria: str, store: str) -> str:
    """The settings file: a connection for each place."""
    there, here = urlsplit(pg), urlsplit(maria)
    server = f'kind = "mysql"\nhost = "127.0.0.1"\nport = {here.port}\ndatabase = "{here.path[1:]}"\nuser = "canary"\n'
    place = f"127.0.0.1:{there.port}{there.path}"
    bucket = f'bucket = "b"\nregion = "eu-west-1"\nendpoint = "{store}"\naccess_key_id = "AKIDEXAMPLE"\n'
    container = f'account = "acct"\ncontainer = "box"\nendpoint = "{store}"\nformat = "csv"\n'
    connections = {
        "warehouse": 'kind = "duckdb"\npath = "warehouse.duckdb"\n',
        "ledger": 'kind = "sqlite"\npath = "ledger.db"\n',
        "pg": f'url = "postgres://{there.username}:{quoted("password in a URL")}@{place}"\n',
        "maria": f'{server}password = "{secret("TOML key")}"\n',
        "maria_env": f'{server}password = "${{MARIA_PASSWORD}}"\n',
        "pg_env": f'url = "postgres://{there.username}:${{PG_PASSWORD}}@{place}"\n',
        "azure": f'kind = "object_store_azure"\n{container}sas_token = "{secret("SAS token")}"\n',
        "azure_key": f'kind = "object_store_azure"\n{container}account_key = "{secret("account key")}"\n',
        "s3": f'kind = "object_store_s3"\n{bucket}format = "csv"\nsecret_access_key = "{secret("S3 secret")}"\n',
        "delta": f'kind = "delta_s3"\n{bucket}secret_access_key = "{secret("S3 secret")}"\n',
        "says": f'url = "postgres://{there.username}:{quoted("error text of a driver")}@{place}"\n',
        "asked": f'url = "postgres://{place}?user={there.username}&password={quoted("query of a URL")}"\n',
        "google": 'kind = "object_store_gcs"\nbucket = "b"\nservice_account = "key.json"\nformat = "csv"\n',
        "registry": 'kind = "schema_registry"\nurl = "http://127.0.0.1:1"\nbasic_auth_user = "u"\n'
        f'basic_auth_password = "{secret("login of a broker")}"\n',
        "kafka": 'kind = "kafka"\nbootstrap_servers = "127.0.0.1:1"\nschema_registry = "registry"\n'
        f'sasl_plain_username = "u"\nsasl_plain_password = "{secret("login of a broker")}"\n',
        "rabbit": f'amqp_url = "amqps://u:{quoted("login of a broker")}@127.0.0.1:1/v"\nkind = "rabbitmq"\n',
    }
    parts = (f"[connections.{name}]\n{text}" for name, text in connections.items())
    told = f'[alerts]\nwebhook = "{store}/{quoted("address of a webhook")}"\non = ["failure", "late"]\n'
    return f'modules = ["shop.py"]\n\n{told}\n' + "\n".join(parts)


@pytest.fixture
def planted(
    project: Path, pg_url: str, mysql_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, tuple[Path, ...]]]:
    """The project with its secrets, and the files in which they stand."""
    with echoing_store() as store:
        file = project / ".ematix-flow.toml"
        file.write_text(settings(pg_url, mysql_url, store))
        file.chmod(0o600)
        (project / "shop.py").write_text(MODULE)
        (project / "planted.txt").write_text(secret("TOML key"))
        key = {"type": "service_account", "client_email": "a@b", "token_uri": store, "private_key_id": "1"}
        (project / "key.json").write_text(json.dumps({**key, "private_key": secret("key file")}))
        (project / "key.json").chmod(0o600)
        monkeypatch.setenv("MARIA_PASSWORD", secret("variable in a key"))
        monkeypatch.setenv("PG_PASSWORD", secret("variable in a URL"))
        here = urlsplit(mysql_url)
        monkeypatch.setenv(
            "EMATIX_FLOW_DSN_DSN", f"mysql://canary:{quoted('EMATIX_FLOW_DSN')}@127.0.0.1:{here.port}{here.path}"
        )
        with psycopg.connect(pg_url, autocommit=True) as pg:
            pg.execute("CREATE TABLE rows AS SELECT i AS id, 'name ' || i AS name FROM generate_series(1, 3) AS s(i)")
            pg.execute(
                "CREATE FUNCTION says() RETURNS int LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION "
                f"'no login with %', '{secret('error text of a driver')}' USING HINT = "
                f"'not {secret('error text of a driver')}', DETAIL = '{quoted('error text of a driver')}'; END$$"
            )
        with admin(mysql_url) as maria:
            maria.execute("DROP USER IF EXISTS canary@'127.0.0.1'")
            maria.execute("CREATE USER canary@'127.0.0.1' IDENTIFIED BY %s", (secret("TOML key"),))
            maria.execute(f"GRANT ALL ON `{here.path[1:]}`.* TO canary@'127.0.0.1'")
        yield project, (file, project / "planted.txt", project / "key.json")
        with admin(mysql_url) as maria:
            maria.execute("DROP USER canary@'127.0.0.1'")


@contextlib.contextmanager
def admin(url: str) -> Iterator[Any]:
    """A cursor of the server's administrator."""
    parts = urlsplit(url)
    with (
        contextlib.closing(
            pymysql.connect(
                host=parts.hostname or "",
                port=parts.port or 0,
                user=parts.username,
                password=parts.password or "",
                database=parts.path[1:],
                autocommit=True,
            )
        ) as connection,
        connection.cursor() as cursor,
    ):
        yield cursor


class Log:
    """Everything that came out, by the action that it came out of, or by the place where it stays."""

    def __init__(self) -> None:
        self.outputs: list[tuple[str, str]] = []
        self.actions: dict[str, bool] = {}
        """What was done, each once; whether a message of an error came of it."""

    def take(self, action: str, *texts: object) -> None:
        """Keep what an action gave."""
        self.look(action, *texts)
        self.actions[action] = "FLOW-" in self.outputs[-1][1]

    def look(self, place: str, *texts: object) -> None:
        """Keep what stands somewhere."""
        self.outputs.append((place, "\n".join(str(text) for text in texts)))

    def leaking(self) -> list[str]:
        """The actions that showed a secret."""
        return [f"{action}: {found}" for action, text in self.outputs for found in leaks(text)]


def lines(*, thorough: bool) -> list[str]:
    """Lines of the command line, and after `%flow ` of a notebook."""
    told = [f"run {name}" for name in PIPELINES]
    verbs = ("preview", "plan", "validate") if thorough else ("preview",)
    told += [f"{verb} {name}" for name in (PIPELINES if thorough else PIPELINES[::4]) for verb in verbs]
    told += [f"dry-run {name} --format json" for name in ("good", "says", "from_s3")]
    told += [f"run {name} --debug" for name in ("refused", "says", "by_variable", "from_azure", "from_s3", "to_delta")]
    told += [
        f"connections check {name}" for name in ("pg", "maria", "maria_env", "dsn", "azure", "s3", "kafka", "google")
    ]
    told += ["connections list", "connections list --format json", "list", "list --format json", "doctor"]
    told += ["runs list --last 50", "runs list --format json", "status", "status --alert"]
    told += ["run-due --now 2026-11-23T12:00Z", "watermark show env"]
    told += ["preview pg:rows", "preview dsn:rows", "preview s3:x.csv", "run env --full-refresh --yes", "schedule cron"]
    return told


def by_command_line(flow: Flow, log: Log, *, thorough: bool) -> set[int]:
    """Every line by `flow`; the exit codes that were seen."""
    codes = set()
    for line in lines(thorough=thorough):
        found = flow(*line.split())
        codes.add(found.code)
        log.take(f"flow {line}", *found)
    told = flow("runs", "list", "--format", "json").out
    ids = [row["run_id"] for row in json.loads(told)["runs"]]
    for run in ids[:2]:
        log.take(f"flow runs show {run}", *flow("runs", "show", run), *flow("runs", "show", run, "--format", "json"))
    given = f"url=postgres://u:{quoted('password in a URL')}@127.0.0.1:1/d"
    log.take("flow connections set", *flow("connections", "set", "later", given))
    log.take("flow connections check later", *flow("connections", "check", "later", "--debug"))
    wrong = (f"password={secret('TOML key')}", "kind=postgres", "host=h", "port=x")
    log.take("flow connections set wrong", *flow("connections", "set", "wrong", *wrong))
    return codes


def by_notebook(bare: Notebook, log: Log, *, thorough: bool) -> None:
    """The same by cells, with every form of what they show; and tracebacks with their variables."""
    cells = ["%load_ext ematix_nb", "%xmode Verbose", CELL, "import shop", "from ematix_nb import get_connection"]
    cells += [f"%flow {line}" for line in lines(thorough=thorough) if "--debug" not in line and "schedule" not in line]
    cells = cells if thorough else [cell for cell in cells if "doctor" not in cell and "runs" not in cell]
    for name in ("says", "refused", "by_variable", "from_azure", "celled"):
        cells += [f"%flow preview {name}:rows" if name == "celled" else f"%flow run {name}", "%flow debug"]
        cells += [f"get_connection('{name}')" if name == "celled" else f"shop.{name}.sync()", "%flow debug"]
    cells += [f"get_connection('{name}').read_df('SELECT 1 AS id')" for name in ("celled", "dsn", "maria_env", "s3")]
    cells += ["%%flow query celled\nSELECT 1 AS id\n", "%flow export", "%flow export --out exported.py", "%whos"]
    cells += ["%flow connections check celled", "c = get_connection('celled')", "c", "vars(c)", "%unload_ext ematix_nb"]
    for source in cells:
        with capture_output() as captured:
            bare.shell.run_cell(source, store_history=True)  # type: ignore[no-untyped-call]
        shown = [json.dumps(output.data, default=str) for output in captured.outputs]
        told = f"cell {source.splitlines()[0][:60]}"
        log.take(told.replace(quoted("connection cell"), "..."), captured.stdout, captured.stderr, *shown)


def by_python(log: Log, *, thorough: bool) -> None:
    """Errors and objects as Python shows them."""
    for name in PIPELINES:
        spec = registry.get_pipeline(name)
        log.take(f"spec {name}", repr(spec))
        from ematix_nb.api import handle

        for act in ("sync", "preview", "dry_run", "validate", "to_arrow") if thorough else ("sync",):
            log.take(f"{name}.{act}()", raised(getattr(handle(name), act)))
    for info in list_connections():
        connection = get_connection(info.name)
        log.take(f"object {info.name}", info, repr(connection), connection._repr_html_(), vars(connection))
        log.take(f"pickle {info.name}", pickle.dumps(connection, protocol=0).decode("latin-1"))
        log.take(f"resolved {info.name}", repr(connection.resolved()), pickle.dumps(connection.resolved()))
        log.take(f"read_df {info.name}", raised(functools.partial(connection.read_df, "SELECT 1 AS id")))


def raised(act: Callable[[], Any]) -> str:
    """What a call gives; of an error everything that a traceback tells, variables included."""
    try:
        return repr(act())
    except Exception as error:  # noqa: BLE001 - whatever it raises is to be looked through
        with_values = traceback.TracebackException.from_exception(error, capture_locals=True)
        return traceback.format_exc() + "".join(with_values.format())


def dumps(project: Path, pg_url: str, mysql_url: str) -> Iterator[tuple[str, str]]:
    """Every value of every table that there is now."""
    with psycopg.connect(pg_url) as pg:
        for schema, table in pg.execute(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema NOT LIKE 'pg\\_%'"
            " AND table_schema <> 'information_schema'"
        ).fetchall():
            yield f"pg {schema}.{table}", str(pg.execute(f'SELECT * FROM "{schema}"."{table}"').fetchall())
    with admin(mysql_url) as maria:
        maria.execute("SHOW TABLES")
        for (table,) in maria.fetchall():
            maria.execute(f"SELECT * FROM `{table}`")
            yield f"maria {table}", str(maria.fetchall())
    with duckdb.connect(str(project / "warehouse.duckdb"), read_only=True) as warehouse:
        for schema, table in warehouse.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall():
            yield f"duckdb {table}", str(warehouse.sql(f'FROM "{schema}"."{table}"').to_arrow_table().to_pylist())
    with contextlib.closing(sqlite3.connect(project / "ledger.db")) as ledger:
        for (table,) in ledger.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            yield f"sqlite {table}", str(ledger.execute(f'SELECT * FROM "{table}"').fetchall())


@pytest.mark.timeout(300)  # half a minute on a machine that has nothing else to do
@pytest.mark.parametrize("thorough", [False, pytest.param(True, marks=pytest.mark.nightly)], ids=["some", "all"])
def test_no_secret_comes_out(
    thorough: bool,  # noqa: FBT001 - the parameter of the test
    planted: tuple[Path, tuple[Path, ...]],
    flow: Flow,
    bare: Notebook,
    pg_url: str,
    mysql_url: str,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project, files = planted
    log = Log()
    caplog.set_level(logging.INFO)
    for name in ("asyncio", "psycopg", "psycopg.pool", "pymysql", "urllib3", "ematix_nb"):
        caplog.set_level(logging.DEBUG, logger=name)
    codes = by_command_line(flow, log, thorough=thorough)
    assert {0, 1, 2} <= codes
    by_notebook(bare, log, thorough=thorough)
    by_python(log, thorough=thorough)
    names = (
        ["says", "from_azure"]
        if not thorough
        else ["says", "refused", "by_variable", "from_azure", "to_azure", "from_s3", "to_delta", "refused_target"]
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, *names], capture_output=True, text=True, check=False, env=environ, timeout=100
    )
    assert found.returncode == 1
    assert found.stderr.count("Traceback") >= len(names)
    log.take("process", found.stdout, found.stderr)
    log.look("log", caplog.text, *capsys.readouterr())
    log.look("title of the process", Path("/proc/self/cmdline").read_bytes())
    for name, text in dumps(project, pg_url, mysql_url):
        log.look(name, text)
    history = " ".join(text for name, text in log.outputs if "run_history" in name)
    assert "***" in history
    later = project.parent / "home" / ".ematix-flow" / "connections.toml"
    assert (MARK in later.read_text(), later.stat().st_mode & 0o777) == (True, 0o600)
    failed = sum(log.actions.values())
    assert (len(log.actions) >= 60, failed >= 20, len(log.actions) - failed >= 20) == (True, True, True), log.actions
    assert len(PLACES) == 14
    assert [place for place in PLACES if leaks(redact(secret(place)))] == NOT_HELD_ALONE, "a secret nobody used"
    assert any("answered 403" in text for _, text in log.outputs), "no alert was sent"
    assert log.leaking() + leaking_files(project.parent, (*files, later)) == []
