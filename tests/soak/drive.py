"""A soak: fifty pipelines a minute, sources that change, and a fault each half a minute."""

from __future__ import annotations

import contextlib
import datetime as dt
import heapq
import itertools
import random
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

from tests.soak.calls import Resident, start
from tests.soak.changes import Changes
from tests.soak.checks import problems, source_problems
from tests.soak.faults import FAULTS, Scene, small_disk
from tests.soak.figures import Figures
from tests.soak.project import OWN, make_project
from tests.support.lines import line_to
from tests.support.postgres import fresh_database

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.soak.project import Project

HALF_S = 30.0
POLL_S = 0.05
PATIENCE_S = 180.0
"""How long calls may take to end after the last fault."""
FIRST_CALL_S = 6.0
"""How long a call takes, before one has ended."""
SESSIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = ANY(%s) AND pid <> pg_backend_pid()"
    " AND backend_type = 'client backend' AND application_name <> %s"
)


def soak(folder: Path, server: str, minutes: float, seed: int, say: Callable[[str], None]) -> tuple[Figures, list[str]]:
    """Run it.

    Args:
        folder: An empty folder; it keeps the logs of all calls.
        server: The URL of a PostgreSQL server on which databases may be created.
        minutes: How long; a whole number of halves.
        seed: Of the changes and faults.
        say: Hears what happens.

    Returns:
        The figures, and what is wrong at the end.
    """
    rng = random.Random(seed)
    for name in ("sources", "targets", "logs"):
        (folder / name).mkdir()
    with contextlib.ExitStack() as stack:
        has_disk = stack.enter_context(small_disk(folder / "targets"))
        urls = [stack.enter_context(fresh_database(server)) for _ in range(2)]
        line = stack.enter_context(line_to(server))
        project = make_project(folder / "sources", folder / "targets", urls[0], urls[1], line.url)
        changes = Changes(project, rng)
        scene = Scene(project, line, [], project.teams[1:], folder / "logs", rng, has_disk)
        drive = Drive(scene, server, Figures(seed, minutes), say)
        stack.callback(drive.close)
        with changes:
            drive.work(minutes)
            drive.calm()
        drive.recover()
        found = [
            f"{one.world.name}: {text}"
            for one in project.pipelines
            for text in problems(one, changes.sources[one.source])
        ]
        for source in changes.sources.values():
            found += source_problems(source, project.sources)
        found += [*drive.wrong, *_internal_errors(folder / "logs"), *drive.figures.problems()]
        _count(project, changes, drive.figures)
        return drive.figures, found


class Drive:
    """The clock of a soak: what is called when, and what is seen meanwhile."""

    def __init__(self, scene: Scene, server: str, figures: Figures, say: Callable[[str], None]) -> None:
        import psycopg

        self.scene, self.figures, self.say = scene, figures, say
        self.wrong: list[str] = []
        self.resident = Resident(scene.project.teams[0], scene.logs)
        self._watch = psycopg.connect(server, autocommit=True)
        self._names = [url.rpartition("/")[2] for url in (scene.project.source_url, scene.project.target_url)]
        self._agenda: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._deck: list[str] = []
        self._begun = time.monotonic()

    def work(self, minutes: float) -> None:
        """Ticks and calls by hand in turn, each with a fault."""
        for half in range(int(minutes * 60 / HALF_S)):
            self._until(lambda half=half: time.monotonic() >= self._begun + half * HALF_S)  # type: ignore[misc]
            self._look_at_idle()
            (self._by_hand if half % 2 else self._tick)()
            calls = sorted(call.seconds for call in self.scene.calls if call.seconds and not call.struck)
            usual = calls[len(calls) // 2] if calls else FIRST_CALL_S
            self._at(self.scene.rng.uniform(0, usual), self._strike)
        end = self._begun + minutes * 60
        self._until(lambda: time.monotonic() >= end)

    def calm(self) -> None:
        """Let the faults end, and every call."""
        while self._agenda:
            self._until(lambda: not self._agenda)
        deadline = time.monotonic() + PATIENCE_S
        self._until(lambda: not self._busy() or time.monotonic() > deadline)
        self.wrong += [f"{call.log.stem} does not end" for call in self.scene.calls if call.living]
        self._look_at_idle()

    def recover(self) -> None:
        """One call for each team, at a later minute: all must be well again."""
        started = time.monotonic()
        later = f"{dt.datetime.now(dt.UTC) + dt.timedelta(minutes=2):%Y-%m-%dT%H:%MZ}"
        calls = [start(team, self.scene.logs, "run-due", "--now", later) for team in self.scene.teams]
        self.scene.calls += calls
        self.resident.ask("run-due", "--now", later)
        deadline = started + PATIENCE_S
        self._until(lambda: not self._busy() or time.monotonic() > deadline)
        self.figures.recovery_s = time.monotonic() - started
        for call in calls:
            if call.process.returncode != 0:
                self.wrong.append(f"the last call of team {call.team.number} ended with {call.process.returncode}")
        self._look_at_idle()
        self.figures.resident = self.resident.figures

    def close(self) -> None:
        """End what is still there."""
        for call in self.scene.calls:
            call.send(signal.SIGKILL)
        self.resident.close()
        self._watch.close()

    # -- what is called ----------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Every team's `run-due`; one of them from two machines at once."""
        twice = self.scene.rng.choice(self.scene.teams)
        calls = [start(team, self.scene.logs, "run-due") for team in self.scene.teams]
        self.figures.calls += calls
        self.scene.calls += [*calls, start(twice, self.scene.logs, "run-due", machine="two")]
        self.resident.ask("run-due")

    def _by_hand(self) -> None:
        """Everybody runs three pipelines."""
        for team in self.scene.project.teams:
            names = [one.world.name for one in self.scene.rng.sample(team.pipelines, 3)]
            if team is self.resident.team:
                self.resident.ask("run", *names, "--continue")
            else:
                self.scene.calls.append(start(team, self.scene.logs, "run", *names, "--continue"))

    def _strike(self) -> None:
        """The next fault; each kind comes up equally often."""
        if not self._deck:
            self._deck = self.scene.rng.sample(sorted(FAULTS), len(FAULTS))
        name = self._deck.pop()
        self.figures.drawn[name] += 1
        blow = FAULTS[name](self.scene)
        if blow is None:
            self._tell(f"{name}: nothing to strike")
            return
        self.figures.struck[name] += 1
        self._tell(blow.what)
        self._at(blow.seconds, blow.end)

    # -- what is seen ------------------------------------------------------------------------------------------

    def _at(self, seconds: float, action: Callable[[], object]) -> None:
        heapq.heappush(self._agenda, (time.monotonic() + seconds, next(self._numbers), action))

    def _until(self, done: Callable[[], bool]) -> None:
        """Look after calls, faults and figures until something is so."""
        while not done():
            for call in self.scene.calls:
                call.look()
            while self._agenda and self._agenda[0][0] <= time.monotonic():
                heapq.heappop(self._agenda)[2]()
            self.figures.connections.append(self._sessions())
            time.sleep(POLL_S)

    def _busy(self) -> bool:
        return any(call.living for call in self.scene.calls) or self.resident.busy

    def _sessions(self) -> int:
        row = self._watch.execute(SESSIONS, [self._names, OWN]).fetchone()
        return int(row[0]) if row else 0

    def _look_at_idle(self) -> None:
        """Count the sessions when nothing runs; a server needs a moment to see that a client is gone."""
        if self._busy():
            return
        deadline = time.monotonic() + 5
        while (left := self._sessions()) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        self.figures.idle_connections.append(left)

    def _tell(self, text: str) -> None:
        self.say(f"{time.monotonic() - self._begun:7.1f} s  {text}")


def _internal_errors(logs: Path) -> list[str]:
    """Messages that no user should see; each once."""
    lines = [line for log in logs.glob("*.log") for line in log.read_text(errors="replace").splitlines()]
    return sorted({line[:300] for line in lines if "internal error" in line or line.startswith("Traceback")})


def _count(project: Project, changes: Changes, figures: Figures) -> None:
    figures.changes = sum(source.changes for source in changes.sources.values())
    figures.rows = sum(len(one.world.rows()) for one in project.pipelines)
    figures.statuses = Counter(status for one in project.pipelines for status in one.world.statuses())
