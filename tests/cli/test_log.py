"""`--log-json`: what happens, as one JSON object a line."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.connections import Secret
from ematix_nb.events import BatchRead, Warned
from ematix_nb.verbs.log import JsonLog

if TYPE_CHECKING:
    from tests.cli.conftest import Flow


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_run_in_a_file(shop: Path, flow: Flow) -> None:
    found = flow("run", "orders", "--log-json", "run.log")
    assert (found.code, "orders: success" in found.err) == (0, True)
    entries = lines((shop / "run.log").read_text())
    assert [entry["event"] for entry in entries if entry["event"] != "phase_started"] == [
        "call_started",
        "run_started",
        "schema_changed",
        "batch_read",
        "run_finished",
        "call_ended",
    ]
    assert entries[0] | {"time": ""} == {
        "time": "",
        "event": "call_started",
        "verb": "run",
        "names": ["orders"],
        "trigger": "manual",
    }
    finished = next(entry for entry in entries if entry["event"] == "run_finished")
    assert (finished["pipeline"], finished["status"], finished["counts"]["rows_inserted"]) == ("orders", "success", 5)
    assert finished["run_id"] == entries[1]["run_id"] or finished["run_id"]
    assert (entries[-1]["exit_code"], entries[-1]["result"]["status"]) == (0, "success")
    assert all(entry["time"].endswith("+00:00") for entry in entries)
    assert stat.S_IMODE((shop / "run.log").stat().st_mode) == 0o600
    flow("run", "orders", "--log-json", "run.log")
    assert len(lines((shop / "run.log").read_text())) > len(entries), "a log grows"


def test_on_the_standard_error_there_is_nothing_else(shop: Path, flow: Flow) -> None:
    good = flow("run-due", "--now", "2026-11-23T12:00:20Z", "--log-json", "-")
    assert (good.code, lines(good.err)[-1]["result"]["ran"][0]["status"]) == (0, "success")
    assert "orders -> warehouse:main.orders: success" in good.out
    bad = flow("run", "broken", "--log-json", "-")
    assert bad.code == 2
    last = lines(bad.err)[-1]
    assert (last["event"], last["exit_code"], last["code"]) == ("call_ended", 2, "FLOW-140")
    assert "nome" in last["error"]


def test_held_and_skipped_pipelines_are_in_the_result(shop: Path, flow: Flow) -> None:
    flow("run-due", "orders", "--now", "2026-11-23T12:00:20Z", "--log-json", "due.log")
    (ended,) = [entry for entry in lines((shop / "due.log").read_text()) if entry["event"] == "call_ended"]
    assert {"ran", "failed", "held", "skipped"} <= set(ended["result"])


@pytest.mark.parametrize("place", ["nowhere/run.log", "data"])
def test_a_place_that_cannot_be_written_stops_the_line_before_it_runs(place: str, shop: Path, flow: Flow) -> None:
    found = flow("run", "orders", "--log-json", place)
    assert (found.code, found.out) == (2, "")
    assert f"the log `{place}` cannot be written: " in found.err
    assert "no runs are recorded" in flow("runs").out


def test_secrets_are_masked_and_data_cannot_forge_a_line(tmp_path: Path) -> None:
    secret = Secret("CANARY-in-the-log")
    path = tmp_path / "x.log"
    with path.open("a") as stream:
        log = JsonLog(stream)
        message = f'a\n{{"event": "forged"}}\u2028 {secret.reveal()} password=hush-hush \x1b[31m ä'
        log.on_event(Warned(run_id="1", pipeline="p", message=message))
    (line,) = path.read_text().splitlines()
    entry = json.loads(line)
    assert entry["event"] == "warned"
    assert "CANARY" not in line
    assert "hush" not in line
    assert line.isascii()
    assert entry["message"].endswith("\x1b[31m ä")


def test_batches_are_at_most_one_a_second(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    with path.open("a") as stream:
        log = JsonLog(stream)
        for run in ("1", "1", "2", "1"):
            log.on_event(BatchRead(run_id=run, pipeline="p", rows=1, bytes=1))
    assert [entry["run_id"] for entry in lines(path.read_text())] == ["1", "2"]


def test_a_log_that_breaks_stops_nothing(tmp_path: Path) -> None:
    event = Warned(run_id="1", pipeline="p", message="x")
    with (tmp_path / "x.log").open("a") as closed:
        pass
    JsonLog(closed).on_event(event)
    full = Path("/dev/full").open("w")  # noqa: SIM115 - closing it is what fails
    JsonLog(full).on_event(event)
    with pytest.raises(OSError, match="No space"):
        full.close()
