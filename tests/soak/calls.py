"""Processes of `flow`: started, looked at while they live, and ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ematix_nb.testing.failpoints import VARIABLE
from tests.soak.project import MODULE

if TYPE_CHECKING:
    import signal

    from tests.soak.project import Team

ROOT = Path(__file__).parents[2]


@dataclass
class Call:
    """One process of `flow`, with the figures of its life."""

    team: Team
    process: subprocess.Popen[bytes]
    log: Path
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    memory_mb: float = 0.0
    """The most that it ever held."""
    handles: int = 0
    """The most files and sockets that were seen open at once."""
    struck: bool = False
    """Whether a fault ended it or held it up."""

    @property
    def living(self) -> bool:
        """Whether the process has not ended."""
        return self.process.returncode is None

    def look(self) -> None:
        """Count its handles; when it has ended, take what the system says of it."""
        if not self.living:
            return
        pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
        if pid:
            self.process.returncode = os.waitstatus_to_exitcode(status)
            self.seconds = time.monotonic() - self.started
            self.memory_mb = usage.ru_maxrss / 1024
        else:
            self.handles = max(self.handles, handles_of(self.process.pid))

    def send(self, number: signal.Signals) -> None:
        """Send a signal; `kill`, `stop` and `term` make it a call that was struck."""
        self.look()
        if self.living:
            self.struck = True
            self.process.send_signal(number)


def handles_of(pid: int) -> int:
    """How many files and sockets a process has open; 0 when it is gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - names are all that is wanted
    except OSError:
        return 0


def environment(team: Team, machine: str = "one", failpoint: str = "") -> dict[str, str]:
    """What a process sees; `machine` names a cache of its own, as another machine has."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("EMATIX_")}
    places = {
        "PYTHONPATH": str(ROOT),
        "HOME": str(team.folder),
        "XDG_CACHE_HOME": str(team.folder / "caches" / machine),
    }
    return {**kept, **places, VARIABLE: failpoint}


def start(team: Team, logs: Path, *words: str, machine: str = "one", failpoint: str = "") -> Call:
    """Start `flow WORDS --module pipelines.py` in a team's folder."""
    log = logs / f"{time.time_ns()}-team{team.number}-{words[0]}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ematix_nb.testing", *words, "--module", MODULE],
            cwd=team.folder,
            env=environment(team, machine, failpoint),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return Call(team, process, log)


class Resident:
    """One process that serves a team for the whole time, as a notebook's kernel does."""

    def __init__(self, team: Team, logs: Path) -> None:
        self.team = team
        self.figures: list[dict[str, Any]] = []
        """After each line: exit code, memory (MB), handles, threads."""
        self._waiting = 0
        self._answers = logs / "resident.jsonl"
        with (logs / "resident.log").open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.soak.resident", str(self._answers)],
                cwd=team.folder,
                env=environment(team),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def ask(self, *words: str) -> None:
        """Hand it a line; it works them off one after the other."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([*words, "--module", MODULE]).encode() + b"\n")
        self.process.stdin.flush()
        self._waiting += 1

    @property
    def busy(self) -> bool:
        """Whether lines are not answered yet; takes the answers that came."""
        if self._answers.exists():
            self.figures = [json.loads(line) for line in self._answers.read_text().splitlines()]
        assert self.process.poll() is None, "the resident process ended by itself"
        return len(self.figures) < self._waiting

    def close(self) -> None:
        """Let it come to its end; kill it when it does not."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
