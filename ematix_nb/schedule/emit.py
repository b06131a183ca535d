"""Ready entries for other schedulers: each calls ``flow run-due`` often enough, and leaves the rest to it.

The entry knows no pipeline's own schedule: ``run-due`` does, time zones included. It only has to call at a cadence that
meets every schedule, so one entry serves a whole module and need not change with every pipeline.
"""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ematix_nb.errors import UsageError, known_names
from ematix_nb.schedule.cron import minutes_in_utc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ematix_nb.schedule.cron import Schedule

_STEPS = (60, 30, 20, 15, 12, 10, 6, 5, 4, 3, 2, 1)
_DEFAULT_INTERVAL_SECONDS = 60
_GITHUB_MIN_MINUTES = 5
_GITHUB_LATE_SECONDS = 3600
_K8S_NAME_CHARS = 52
_K8S_DEADLINE_SECONDS = 60


@dataclass(frozen=True)
class _Entry:
    command: tuple[str, ...]
    workdir: str
    name: str
    step: int
    """Minutes between two calls."""
    phase: int
    """Minute of the UTC hour of the first call."""
    reason: str

    @property
    def cron(self) -> str:
        return f"{_cron_minutes(self.step, self.phase)} * * * *"

    def call(self, late_seconds: int = 0) -> tuple[str, ...]:
        """The command with ``--interval``, unless it has one or the default of a minute fits."""
        given = any(part == "--interval" or part.startswith("--interval=") for part in self.command)
        seconds = max(self.step * _DEFAULT_INTERVAL_SECONDS, late_seconds)
        fits = given or seconds == _DEFAULT_INTERVAL_SECONDS
        return self.command if fits else (*self.command, "--interval", str(seconds))


def emit(kind: str, *, command: Sequence[str], schedules: Iterable[Schedule], workdir: str, name: str) -> str:
    """Write the entry that makes another scheduler call ``flow run-due``.

    Args:
        kind: ``cron``, ``systemd``, ``k8s`` or ``github-actions``.
        command: The program and its arguments, unquoted, such as ``["flow", "run-due", "--module", "orders"]``.
        schedules: The schedules of all pipelines that the command serves.
        workdir: Directory to call it in, absolute; for GitHub relative to the repository (an absolute one is left out).
        name: Of the entry: unit, CronJob or workflow.

    Returns:
        Text that ends with a newline. systemd's holds two files, each below a comment with its name.

    Raises:
        UsageError: The kind is not known, there is no schedule, or a text is empty, relative or more than one line.

    Example:
        >>> from ematix_nb.schedule.cron import parse_schedule
        >>> command = ["flow", "run-due", "--module", "orders"]
        >>> text = emit(
        ...     "cron", command=command, schedules=[parse_schedule("@daily")], workdir="/srv/etl", name="orders"
        ... )
        >>> text.splitlines()[-1]
        '0 * * * * cd /srv/etl && flow run-due --module orders --interval 3600'
    """
    if kind not in EMITTERS:
        raise UsageError(f"unknown scheduler `{kind}`", hint=known_names(kind, EMITTERS, "schedulers"))
    for what, text in (("workdir", workdir), ("name", name), *(("command", part) for part in command)):
        _check_line(what, text)
    if not command or not workdir or not name:
        raise UsageError("an entry needs a command, a workdir and a name, one is empty")
    if kind in _NEEDS_ABSOLUTE and not PurePosixPath(workdir).is_absolute():
        raise UsageError(f"workdir `{workdir}` is relative, `{kind}` needs an absolute one", hint="start it with `/`")
    step, phase, reason = cadence(schedules)
    return EMITTERS[kind](_Entry(tuple(command), workdir, name, step, phase, reason))


def cadence(schedules: Iterable[Schedule]) -> tuple[int, int, str]:
    """How often ``run-due`` has to be called to meet every schedule.

    Args:
        schedules: At least one.

    Returns:
        Minutes between two calls (a divisor of 60), the minute of the UTC hour of the first, and why.

    Raises:
        UsageError: There is no schedule.

    Example:
        >>> from ematix_nb.schedule.cron import parse_schedule
        >>> cadence([parse_schedule("*/15 * * * *"), parse_schedule("30 2 * * *", "Europe/Berlin")])
        (15, 0, 'every 15 minutes: all 2 schedules fire at these minutes only')
    """
    schedules = list(schedules)
    if not schedules:
        raise UsageError("no pipeline has a schedule", hint='give one, such as schedule="*/15 * * * *"')
    minutes = frozenset[int]().union(*(minutes_in_utc(schedule) for schedule in schedules))
    step = next(step for step in _STEPS if len({minute % step for minute in minutes}) == 1)
    how = {1: "every minute", 60: "once an hour"}.get(step, f"every {step} minutes")
    who = "the one schedule fires" if len(schedules) == 1 else f"all {len(schedules)} schedules fire"
    why = f"{who} at {'this minute' if step == _STEPS[0] else 'these minutes'} only"
    return step, min(minutes) % step, f"{how}: {'some schedule needs it' if step == 1 else why}"


# -- one function a scheduler ------------------------------------------------------------------------------------------


def _comments(entry: _Entry, *more: str) -> str:
    lines = (
        f"Calls run-due {entry.reason}.",
        "run-due knows each pipeline's schedule and time zone, and fires each slot once.",
        *more,
    )
    return "".join(f"# {line}\n" for line in lines)


def _program_hint(entry: _Entry) -> tuple[str, ...]:
    program = entry.command[0]
    return () if program.startswith("/") else (f"Write `{program}` with its full path where it is not on the PATH.",)


def _cron(entry: _Entry) -> str:
    line = f"cd {shlex.quote(entry.workdir)} && {shlex.join(entry.call())}"
    return (
        f"# {entry.name}: add with `crontab -e`\n"
        + _comments(
            entry, "The minutes are UTC's; some crons ignore CRON_TZ and use the machine's zone.", *_program_hint(entry)
        )
        + f"CRON_TZ=UTC\n{entry.cron} {line.replace('%', chr(92) + '%')}\n"
    )


def _systemd(entry: _Entry) -> str:
    unit = re.sub(r"[^A-Za-z0-9:_.@-]", "-", entry.name)
    description = entry.name.replace("%", "%%")
    service = [
        f"# /etc/systemd/system/{unit}.service",
        *_comments(entry, *_program_hint(entry)).splitlines(),
        "[Unit]",
        f"Description=Due pipelines of {description}",
        "Wants=network-online.target",
        "After=network-online.target",
        "",
        "[Service]",
        "Type=oneshot",
        f"WorkingDirectory={entry.workdir.replace('%', '%%')}",
        f"ExecStart={' '.join(_systemd_word(part) for part in entry.call())}",
    ]
    timer = [
        f"# /etc/systemd/system/{unit}.timer",
        f"# Then: systemctl daemon-reload && systemctl enable --now {unit}.timer",
        "[Unit]",
        f"Description=Calls run-due for {description}",
        "",
        "[Timer]",
        f"OnCalendar=*-*-* *:{_minute_list(entry.step, entry.phase)}:00 UTC",
        "AccuracySec=1s",
        "Persistent=true",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    return "\n".join([*service, "", *timer, ""])


def _k8s(entry: _Entry) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", entry.name.lower())[:_K8S_NAME_CHARS].strip("-") or "run-due"
    arguments = "".join(f"                - {_yaml(part)}\n" for part in entry.call())
    deadline = max(_K8S_DEADLINE_SECONDS, entry.step * 60)
    return (
        _comments(entry, "Replace the image by one that holds the package and your modules; secrets come by envFrom.")
        + f"""\
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {_yaml(name)}
spec:
  schedule: {_yaml(entry.cron)}
  timeZone: "Etc/UTC"
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: {deadline}
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
              workingDir: {_yaml(entry.workdir)}
              command:
{arguments}"""
    )


def _github_actions(entry: _Entry) -> str:
    more = ["GitHub starts scheduled workflows late at busy times: a slot of the last hour still counts as new."]
    if entry.step < _GITHUB_MIN_MINUTES:
        more.append("GitHub calls at most every 5 minutes: of slots in between, the catch-up policy decides.")
        entry = _Entry(entry.command, entry.workdir, entry.name, _GITHUB_MIN_MINUTES, 0, entry.reason)
    absolute = PurePosixPath(entry.workdir).is_absolute()
    if absolute:
        more.append("Runs in the root of the repository: an absolute workdir does not exist on a runner.")
    place = "" if absolute else f"        working-directory: {_yaml(_github_text(entry.workdir))}\n"
    return (
        f"# .github/workflows/{re.sub(r'[^A-Za-z0-9_.-]+', '-', entry.name)}.yml\n"
        + _comments(entry, *more)
        + f"""\
name: {_yaml(entry.name)}
on:
  schedule:
    - cron: {_yaml(entry.cron)}
  workflow_dispatch:
permissions:
  contents: read
concurrency:
  group: {_yaml(_github_text(entry.name))}
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
      - run: {_yaml(_github_text(shlex.join(entry.call(_GITHUB_LATE_SECONDS))))}
{place}        # env:
        #   EMATIX_FLOW_DSN_WAREHOUSE: ${{{{ secrets.EMATIX_FLOW_DSN_WAREHOUSE }}}}
"""
    )


EMITTERS: dict[str, Callable[[_Entry], str]] = {
    "cron": _cron,
    "systemd": _systemd,
    "k8s": _k8s,
    "github-actions": _github_actions,
}

_NEEDS_ABSOLUTE = ("cron", "systemd", "k8s")


# -- quoting -----------------------------------------------------------------------------------------------------------


def _check_line(what: str, text: str) -> None:
    """Refuse what cannot stand on one line of a unit file, crontab or YAML scalar."""
    for char in text:
        if unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} or char == "\ufeff":
            raise UsageError(f"{what} {text!r} holds a line break or control character, expected one line of text")


def _cron_minutes(step: int, phase: int) -> str:
    if step == 1:
        return "*"
    if phase == 0 and step < _STEPS[0]:
        return f"*/{step}"
    return ",".join(str(minute) for minute in range(phase, 60, step))


def _minute_list(step: int, phase: int) -> str:
    return "*" if step == 1 else ",".join(f"{minute:02}" for minute in range(phase, 60, step))


def _systemd_word(word: str) -> str:
    """One argument of ``ExecStart=``: no specifier, no variable, no shell."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return word if re.fullmatch(r"[A-Za-z0-9_./:=%$,+-]+", word) else f'"{word}"'


def _yaml(text: str) -> str:
    """A double-quoted YAML scalar."""
    return json.dumps(text, ensure_ascii=False)


def _github_text(text: str) -> str:
    """Text in which GitHub finds no expression."""
    return text.replace("${{", "${{ '${{' }}")
