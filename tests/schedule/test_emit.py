"""The entries for other schedulers, letter by letter, and what odd texts become in them."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import Any

import pytest

from ematix_nb.errors import UsageError
from ematix_nb.schedule.cron import parse_schedule
from ematix_nb.schedule.emit import EMITTERS, cadence, emit

COMMAND = ["flow", "run-due", "--module", "pipelines/orders.py"]
QUARTER = [parse_schedule("*/15 * * * *"), parse_schedule("30 2 * * *", "Europe/Berlin")]
ODD = ["/opt/my env/bin/flow", "run-due", "--module", "a b%c$d'e\"f\\g", "x: #y", "${{ é }}", "-", ""]

CRON = """\
# orders: add with `crontab -e`
# Calls run-due every 15 minutes: all 2 schedules fire at these minutes only.
# run-due knows each pipeline's schedule and time zone, and fires each slot once.
# The minutes are UTC's; some crons ignore CRON_TZ and use the machine's zone.
# Write `flow` with its full path where it is not on the PATH.
CRON_TZ=UTC
*/15 * * * * cd /srv/etl && flow run-due --module pipelines/orders.py --interval 900
"""

SYSTEMD = """\
# /etc/systemd/system/orders.service
# Calls run-due every 15 minutes: all 2 schedules fire at these minutes only.
# run-due knows each pipeline's schedule and time zone, and fires each slot once.
# Write `flow` with its full path where it is not on the PATH.
[Unit]
Description=Due pipelines of orders
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
WorkingDirectory=/srv/etl
ExecStart=flow run-due --module pipelines/orders.py --interval 900

# /etc/systemd/system/orders.timer
# Then: systemctl daemon-reload && systemctl enable --now orders.timer
[Unit]
Description=Calls run-due for orders

[Timer]
OnCalendar=*-*-* *:00,15,30,45:00 UTC
AccuracySec=1s
Persistent=true

[Install]
WantedBy=timers.target
"""

K8S = """\
# Calls run-due every 15 minutes: all 2 schedules fire at these minutes only.
# run-due knows each pipeline's schedule and time zone, and fires each slot once.
# Replace the image by one that holds the package and your modules; secrets come by envFrom.
apiVersion: batch/v1
kind: CronJob
metadata:
  name: "orders"
spec:
  schedule: "*/15 * * * *"
  timeZone: "Etc/UTC"
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 900
  successfulJobsHistoryLimit: 1
  failedJobsHistoryLimit: 3
  jobTemplate:
    spec:
      backoffLimit: 0
      template:
        spec:
          restartPolicy: Never
          containers:
            - name: run-due
              image: "REPLACE-WITH-YOUR-IMAGE"
              workingDir: "/srv/etl"
              command:
                - "flow"
                - "run-due"
                - "--module"
                - "pipelines/orders.py"
                - "--interval"
                - "900"
"""

GITHUB = """\
# .github/workflows/orders.yml
# Calls run-due every 15 minutes: all 2 schedules fire at these minutes only.
# run-due knows each pipeline's schedule and time zone, and fires each slot once.
# GitHub starts scheduled workflows late at busy times: a slot of the last hour still counts as new.
# Runs in the root of the repository: an absolute workdir does not exist on a runner.
name: "orders"
on:
  schedule:
    - cron: "*/15 * * * *"
  workflow_dispatch:
permissions:
  contents: read
concurrency:
  group: "orders"
  cancel-in-progress: false
jobs:
  run-due:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: "3.12"
      - run: pip install ematix-nb
      - run: "flow run-due --module pipelines/orders.py --interval 3600"
        # env:
        #   EMATIX_FLOW_DSN_WAREHOUSE: ${{ secrets.EMATIX_FLOW_DSN_WAREHOUSE }}
"""


def odd(kind: str, workdir: str = "/srv/my etl%n") -> str:
    return emit(kind, command=ODD, schedules=[parse_schedule("* * * * *")], workdir=workdir, name="Or ders")


def read_yaml(text: str) -> Any:
    return pytest.importorskip("yaml").safe_load(text)


@pytest.mark.parametrize(
    ("kind", "expected"), {"cron": CRON, "systemd": SYSTEMD, "k8s": K8S, "github-actions": GITHUB}.items()
)
def test_the_entry_is(kind: str, expected: str) -> None:
    assert emit(kind, command=COMMAND, schedules=QUARTER, workdir="/srv/etl", name="orders") == expected


def test_cron_quotes_for_the_shell_and_escapes_its_own_percent_sign() -> None:
    line = odd("cron").splitlines()[-1]
    fields, call = line[:9], line[10:]
    assert fields == "* * * * *"
    assert not re.search(r"(?<!\\)%", call)
    assert shlex.split(call.replace("\\%", "%")) == ["cd", "/srv/my etl%n", "&&", *ODD]


def test_cron_runs_what_was_given(tmp_path: Any) -> None:
    place = tmp_path / "a 'b"
    place.mkdir()
    command = ["printf", "%s|", "$HOME", "`id`", "a'b", 'c"d', "e\\f"]
    text = emit("cron", command=command, schedules=[parse_schedule("* * * * *")], workdir=str(place), name="x")
    call = text.splitlines()[-1].removeprefix("* * * * * ").replace("\\%", "%")
    shown = subprocess.run(["/bin/sh", "-c", f"{call}; pwd"], capture_output=True, text=True, check=True)
    assert shown.stdout == f"""$HOME|`id`|a'b|c"d|e\\f|{place}\n"""


def test_systemd_quotes_in_its_own_way() -> None:
    lines = odd("systemd").splitlines()
    assert lines[0] == "# /etc/systemd/system/Or-ders.service"
    assert "WorkingDirectory=/srv/my etl%%n" in lines
    assert 'ExecStart="/opt/my env/bin/flow" run-due --module "a b%%c$$d\'e\\"f\\\\g" "x: #y" "$${{ é }}" - ""' in lines
    assert "OnCalendar=*-*-* *:*:00 UTC" in lines


def test_k8s_holds_the_command_unchanged() -> None:
    document = read_yaml(odd("k8s"))
    container = document["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    assert (container["command"], container["workingDir"]) == (ODD, "/srv/my etl%n")
    assert document["metadata"]["name"] == "or-ders"
    assert document["spec"]["schedule"] == "* * * * *"
    assert document["spec"]["concurrencyPolicy"] == "Forbid"


@pytest.mark.parametrize(("name", "expected"), {"é" * 3: "run-due", "-A_b-": "a-b", "x" * 60: "x" * 52}.items())
def test_k8s_names_are_made_valid(name: str, expected: str) -> None:
    text = emit("k8s", command=COMMAND, schedules=QUARTER, workdir="/srv", name=name)
    assert read_yaml(text)["metadata"]["name"] == expected


def test_github_sees_no_expression_in_the_command() -> None:
    document = read_yaml(odd("github-actions", workdir="my etl"))
    step = document["jobs"]["run-due"]["steps"][-1]
    assert step["working-directory"] == "my etl"
    assert shlex.split(step["run"].replace("${{ '${{' }}", "${{")) == [*ODD, "--interval", "3600"]
    assert document[True]["schedule"] == [{"cron": "*/5 * * * *"}]  # YAML 1.1 reads `on` as true
    assert "# GitHub calls at most every 5 minutes" in odd("github-actions", workdir=".")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["* * * * *", "@daily"], (1, 0, "every minute: some schedule needs it")),
        (["7 * * * *", "13 * * * *"], (6, 1, "every 6 minutes: all 2 schedules fire at these minutes only")),
        (["*/10 * * * *"], (10, 0, "every 10 minutes: the one schedule fires at these minutes only")),
        (["30 2 * * *"], (60, 30, "once an hour: the one schedule fires at this minute only")),
    ],
)
def test_the_cadence_covers_all_schedules(texts: list[str], expected: tuple[int, int, str]) -> None:
    assert cadence([parse_schedule(text) for text in texts]) == expected


def test_the_cadence_knows_zones_with_half_hours() -> None:
    assert cadence([parse_schedule("@daily", "Asia/Kolkata")])[:2] == (60, 30)
    assert cadence([parse_schedule("@daily", "Australia/Lord_Howe")])[:2] == (30, 0)


@pytest.mark.parametrize(
    ("text", "minutes"), {"5 * * * *": "5", "5,35 * * * *": "5,35", "*/30 * * * *": "*/30", "@hourly": "0"}.items()
)
def test_the_minutes_of_the_entry(text: str, minutes: str) -> None:
    entry = emit("cron", command=COMMAND, schedules=[parse_schedule(text)], workdir="/srv", name="x")
    assert f"\n{minutes} * * * * cd" in entry


@pytest.mark.parametrize("given", [["--interval", "90"], ["--interval=90"]])
def test_an_interval_that_was_given_stays(given: list[str]) -> None:
    entry = emit("cron", command=[*COMMAND, *given], schedules=QUARTER, workdir="/srv", name="x")
    assert entry.endswith(f"{' '.join(given)}\n")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown scheduler `systmd`\nhint: did you mean `systemd`\?"):
        emit("systmd", command=COMMAND, schedules=QUARTER, workdir="/srv", name="x")


def test_no_schedule_is_refused() -> None:
    with pytest.raises(UsageError, match="no pipeline has a schedule"):
        emit("cron", command=COMMAND, schedules=[], workdir="/srv", name="x")


@pytest.mark.parametrize("kind", EMITTERS)
@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\0b", "a\u2028b", "a\x85b", "a\ud800b"])
def test_text_of_two_lines_is_refused(kind: str, bad: str) -> None:
    good = {"command": COMMAND, "workdir": "/srv", "name": "x"}
    for field in good:
        changed: dict[str, Any] = {**good, field: [*COMMAND, bad] if field == "command" else f"/{bad}"}
        with pytest.raises(UsageError, match=f"{field} .* holds a line break or control character"):
            emit(kind, schedules=QUARTER, **changed)


@pytest.mark.parametrize("kind", ["cron", "systemd", "k8s"])
def test_a_relative_workdir_is_refused(kind: str) -> None:
    with pytest.raises(UsageError, match="workdir `etl` is relative"):
        emit(kind, command=COMMAND, schedules=QUARTER, workdir="etl", name="x")


def test_empty_parts_are_refused() -> None:
    with pytest.raises(UsageError, match="needs a command, a workdir and a name"):
        emit("cron", command=[], schedules=QUARTER, workdir="/srv", name="x")
