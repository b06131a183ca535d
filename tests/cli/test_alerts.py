"""Alerts through real receivers: a program that is started, a server that is posted to."""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Flow

CANARY = "CANARY-hunter22"
MODULE = """\
from ematix_nb import SQLiteConnection, ematix, register_connection

register_connection(SQLiteConnection(name="lite", path="w.sqlite"))


@ematix.pipeline(target="lite:good", mode="truncate", schedule="* * * * *")
def good(conn):
    return "SELECT 1 AS n"


@ematix.pipeline(target="lite:bad", mode="truncate", schedule="* * * * *"{options})
def bad(conn):
    return "SELECT n, 'password={canary}' AS p FROM nowhere"
"""
RECEIVER = """\
import pathlib, sys
text = sys.stdin.read()
with open("alerts.txt", "a") as file:
    file.write(text + "\\n")
"""


@pytest.fixture
def shop(project: Path) -> Path:
    """A pipeline that succeeds, one that cannot start, and no receivers."""
    write(project)
    (project / "receiver.py").write_text(RECEIVER)
    sqlite3.connect(project / "w.sqlite").close()
    return project


def write(project: Path, options: str = "", alerts: str = "") -> None:
    (project / "pipes.py").write_text(MODULE.format(options=options, canary=CANARY))
    (project / ".ematix-flow.toml").write_text(f'modules = ["pipes.py"]\n{alerts}')


def by_program(*words: str, **settings: str) -> str:
    lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
    return f"[alerts]\ncommand = {json.dumps([sys.executable, *(words or ('receiver.py',))])}\n{lines}"


def told(project: Path) -> list[dict[str, Any]]:
    file = project / "alerts.txt"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def due(flow: Flow, at: str = "12:00:20") -> Any:
    return flow("run-due", "--now", f"2026-11-23T{at}Z")


class Server(HTTPServer):
    """Answers every POST with one code, and keeps the bodies."""

    code = 200

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/services/{CANARY}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Content-Type"] == "application/json"
        self.server.bodies.append(json.loads(body))
        self.send_response(self.server.code)
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def test_without_settings_nobody_is_told(shop: Path, flow: Flow) -> None:
    assert due(flow).code == 1
    assert told(shop) == []


def test_a_program_gets_a_failure_on_its_standard_input_and_only_once(shop: Path, flow: Flow) -> None:
    write(shop, alerts=by_program())
    assert due(flow).code == 1
    (alert,) = told(shop)
    assert (alert["event"], alert["pipeline"], alert["status"]) == ("failure", "bad", "failed")
    assert (alert["slot"], alert["trigger"]) == ("2026-11-23T12:00:00+00:00", "schedule")
    assert "no such table: nowhere" in alert["error"]
    assert alert["text"].startswith("bad failed (slot 2026-11-23 12:00 UTC): FLOW-140 no such table: nowhere")
    assert alert["host"]
    assert alert["at"]
    due(flow, "12:00:50")
    assert len(told(shop)) == 1
    due(flow, "12:01:10")
    assert [one["slot"][11:16] for one in told(shop)] == ["12:00", "12:01"], "another slot is another failure"


def test_a_failure_by_hand_is_told_each_time_and_a_success_never(shop: Path, flow: Flow) -> None:
    write(shop, alerts=by_program())
    assert flow("run", "good").code == 0
    assert flow("run", "bad").code == 2
    assert flow("run", "bad").code == 2
    assert [(one["pipeline"], one["trigger"]) for one in told(shop)] == [("bad", "manual")] * 2


def test_in_a_notebook_nobody_is_told(shop: Path, flow: Flow) -> None:
    from ematix_nb.errors import FlowError
    from ematix_nb.verbs.grammar import invoke, parse

    write(shop, alerts=by_program())
    flow("list")
    with pytest.raises(FlowError):
        invoke(parse(["run", "bad"]), trigger="notebook", registry_ready=True)
    assert invoke(parse(["run-due"]), trigger="notebook", registry_ready=True).exit_code == 1
    assert told(shop) == []


def test_lateness_is_told_once_for_an_open_slot(shop: Path, flow: Flow) -> None:
    write(shop, alerts=by_program(late_after='"10m"', on='["late"]'))
    assert "good -> lite:good: success" in due(flow).out
    with sqlite3.connect(shop / "w.sqlite") as connection:
        connection.execute("CREATE TABLE keeper (n)")
        connection.execute("DROP TABLE good")
        connection.execute("CREATE VIEW good AS SELECT 1 AS n")  # cannot be emptied: from now on it fails
    for moment, count in (("12:05:00", 0), ("12:11:00", 0), ("12:11:10", 1), ("12:11:50", 1), ("13:00:00", 1)):
        due(flow, moment)
        assert len(told(shop)) == count, moment
    (alert,) = told(shop)
    assert (alert["event"], alert["pipeline"], alert["due_since"]) == ("late", "good", "2026-11-23T12:01:00+00:00")
    assert alert["late_seconds"] == 610
    assert alert["text"] == "good is late: its slot 2026-11-23 12:01 UTC is not done after 10 min"


def test_status_tells_what_is_late_or_failed_where_no_scheduler_calls(shop: Path, flow: Flow) -> None:
    write(shop, alerts=by_program())
    due(flow)
    (shop / "alerts.txt").unlink()
    found = flow("status", "--now", "2026-11-23T12:30Z", "--alert")
    assert found.code == 1
    assert [(one["event"], one["pipeline"]) for one in told(shop)] == [("late", "bad"), ("late", "good")]
    flow("status", "--now", "2026-11-23T12:31Z", "--alert")
    assert len(told(shop)) == 2
    flow("status", "--now", "2026-11-23T12:31Z")
    assert len(told(shop)) == 2


def test_a_webhook_gets_the_same_as_a_post(
    shop: Path, flow: Flow, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERT_URL", server.url)
    write(shop, alerts='[alerts]\nwebhook = "${ALERT_URL}"\n')
    found = due(flow)
    assert [(one["event"], one["pipeline"]) for one in server.bodies] == [("failure", "bad")]
    assert CANARY not in json.dumps(server.bodies) + found.out + found.err


@pytest.mark.parametrize("code", [500, 302, 404])
def test_a_receiver_that_refuses_fails_nothing_and_is_asked_again(
    code: int, shop: Path, flow: Flow, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERT_URL", server.url)
    write(shop, alerts='[alerts]\nwebhook = "${ALERT_URL}"\n')
    server.code = code
    found = flow("run", "bad")
    assert found.code == 2
    assert f"bad: warning: alert: [alerts] was not told of the failure: 127.0.0.1 answered {code}" in found.err
    assert CANARY not in found.out + found.err
    first = due(flow)
    assert (first.code, f"answered {code}" in first.out) == (1, True)
    server.code = 200
    assert "answered" not in due(flow, "12:01:20").out
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("alerts", "message"),
    [
        ('[alerts]\ncommand = ["/nowhere/at/all"]\n', "`all` cannot be started: "),
        (by_program("-c", "import sys; sys.exit('password=hush-hush')"), "ended with 1: password=***"),
        (by_program("-c", "import time; time.sleep(60)", timeout_seconds="0.2"), "did not end within 0.2 seconds"),
        ('[alerts]\nwebhook = "http://127.0.0.1:1/x"\n', "127.0.0.1 cannot be reached: "),
        ('[alerts]\nwebhook = "${NOT_SET_ANYWHERE}"\n', "variable NOT_SET_ANYWHERE is not set"),
        ('[alerts]\nwebhook = "ftp://host/x"\n', "webhook is no URL that begins with https:// or http://"),
        ('[alerts]\ncommand = "notify"\n', "command is a list of a program and its arguments"),
        ('[alerts]\ncommand = ["a"]\nwebhook = "http://h"\n', "[alerts] says both `command` and `webhook`"),
        ('[alerts]\ncommand = ["a"]\non = ["failed"]\n', "on names `failed`"),
        ('[alerts]\ncommand = ["a"]\nlate_after = "soon"\n', "late_after is a duration, got 'soon'"),
        ('[alerts]\ncommand = ["a"]\ntimeout_seconds = 0\n', "timeout_seconds is a number up to 120, got 0"),
    ],
)
def test_an_alert_that_fails_is_a_warning(alerts: str, message: str, shop: Path, flow: Flow) -> None:
    write(shop, alerts=alerts)
    found = flow("run", "bad", "good", "--continue")
    assert found.code == 3
    assert "good -> lite:good: success" in found.out
    (line,) = [line for line in found.err.splitlines() if "warning: alert: " in line]
    assert message in line
    assert "hush" not in found.err


def test_an_unknown_key_is_told_like_any_other_setting(shop: Path, flow: Flow) -> None:
    write(shop, alerts='[alerts]\ncomand = ["a"]\n')
    found = flow("run", "good")
    assert found.code == 2
    assert "unknown key `alerts.comand`" in found.err
    assert "did you mean `command`?" in found.err
    write(shop, alerts="alerts = 3\n")
    assert "`alerts` is not a table" in flow("run", "good").err


def test_channels_by_name(shop: Path, flow: Flow) -> None:
    named = by_program().replace("[alerts]", "[alerts.pager]") + '[alerts]\nlate_after = "1h"\n'
    write(shop, ', alerts="pager"', named)
    flow("run", "bad")
    assert len(told(shop)) == 1
    write(shop, ', alerts="none"', by_program())
    flow("run", "bad")
    assert len(told(shop)) == 1
    write(shop, ', alerts=("pager", "mail")', named)
    assert "alert: no settings file has [alerts.mail]" in flow("run", "bad").err
    assert len(told(shop)) == 2, "the other channel is told"
    write(shop, ', alerts="pagr"', named)
    found = flow("doctor")
    assert "alerts of bad" in found.out
    assert "did you mean `pager`?" in found.out


def test_doctor_looks_at_every_channel(shop: Path, flow: Flow) -> None:
    write(shop, alerts=by_program() + '[alerts.team]\nwebhook = "${NOT_SET_ANYWHERE}"\n')
    lines = flow("doctor").out.splitlines()
    (own,) = [line for line in lines if " alerts " in line and "on failure and late" in line]
    assert own.startswith("ok")
    (team,) = [line for line in lines if " alerts team " in line]
    assert team.startswith("fail")
    assert "variable NOT_SET_ANYWHERE is not set" in team
