"""What goes wrong during a soak: each fault strikes once, holds for a while, and ends."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sqlite3
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb.load.failpoints import STEPS
from tests.soak.calls import start
from tests.soak.project import OWN

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.soak.calls import Call
    from tests.soak.project import Project, Team
    from tests.support.lines import Line

DISK_MB = 512
TRY_S = 1.0
"""How long a lock is tried for."""


@dataclass
class Scene:
    """What there is to strike."""

    project: Project
    line: Line
    calls: list[Call]
    """Living and ended ones."""
    teams: tuple[Team, ...]
    """Those whose calls are processes of their own."""
    logs: Path
    rng: random.Random
    small_disk: bool
    """Whether the targets lie on a file system that is theirs alone."""

    def living(self) -> Call | None:
        """One of the processes that run now and were not struck before."""
        for call in self.calls:
            call.look()
        found = [call for call in self.calls if call.living and not call.struck]
        return self.rng.choice(found) if found else None


@dataclass(frozen=True)
class Blow:
    """A fault that struck."""

    what: str
    seconds: float = 0.0
    """For how long it holds."""
    end: Callable[[], object] = lambda: None


def kill(scene: Scene) -> Blow | None:
    """Kill -9 of a process, wherever it is."""
    return _signal(scene, signal.SIGKILL)


def term(scene: Scene) -> Blow | None:
    """SIGTERM to a process: it stops in order."""
    return _signal(scene, signal.SIGTERM)


def _signal(scene: Scene, number: signal.Signals) -> Blow | None:
    call = scene.living()
    if call is None:
        return None
    call.send(number)
    return Blow(f"{number.name} to {call.log.stem}")


def hang(scene: Scene) -> Blow | None:
    """A process hangs for seconds, or beyond the end of its lease, and goes on."""
    call = scene.living()
    if call is None:
        return None
    call.send(signal.SIGSTOP)
    seconds = scene.rng.choice((2, 8, 75))
    return Blow(f"{call.log.stem} hangs for {seconds} s", seconds, lambda: call.send(signal.SIGCONT))


def step(scene: Scene) -> Blow | None:
    """One more process, which is killed right after a step of one of its runs."""
    team = scene.rng.choice(scene.teams)
    names = [one.world.name for one in scene.rng.sample(team.pipelines, 3)]
    where = f"{scene.rng.choice(STEPS)}@{scene.rng.randint(1, 3)}"
    call = start(team, scene.logs, "run", *names, "--continue", failpoint=f"{where}=kill")
    call.struck = True
    scene.calls.append(call)
    return Blow(f"{call.log.stem} is killed after {where}")


def cut(scene: Scene) -> Blow | None:
    """Every connection to PostgreSQL ends, and no new one comes about for a while."""
    scene.line.cut()
    seconds = scene.rng.uniform(0.1, 3)
    return Blow(f"the line to PostgreSQL is cut for {seconds:.1f} s", seconds, scene.line.mend)


def lock(scene: Scene) -> Blow | None:
    """Somebody else holds a source, a target or one of its tables."""
    kind, seconds = scene.rng.choice(sorted(_LOCKS)), scene.rng.uniform(1, 12)
    folder = scene.rng.choice((scene.project.sources, *(team.folder for team in scene.teams)))
    name = "source" if folder == scene.project.sources else "target"
    held = _LOCKS[kind](scene, folder / f"{name}.{kind}")
    return Blow(f"a lock on {kind} ({folder.name}) for {seconds:.0f} s", seconds, held.close) if held else None


def _lock_sqlite(_: Scene, path: Path) -> Any:
    database = sqlite3.connect(path, timeout=TRY_S, isolation_level=None)
    try:
        database.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        database.close()
        return None
    return database


def _lock_duckdb(_: Scene, path: Path) -> Any:
    import duckdb

    deadline = time.monotonic() + TRY_S
    while time.monotonic() < deadline:
        with contextlib.suppress(duckdb.IOException):
            return duckdb.connect(str(path))
    return None


def _lock_postgres(scene: Scene, _: Path) -> Any:
    import psycopg
    from psycopg import sql

    server = psycopg.connect(scene.project.target_url, application_name=OWN)
    server.execute("SET lock_timeout = '1s'")
    found = server.execute(r"SELECT relname::text FROM pg_class WHERE relname LIKE 't\_%' AND relkind = 'r' ORDER BY 1")
    tables = [row[0] for row in found]
    try:
        if tables:
            name = sql.Identifier(scene.rng.choice(tables))
            server.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(name))
            return server
    except psycopg.errors.LockNotAvailable:
        pass
    server.close()
    return None


_LOCKS = {"sqlite": _lock_sqlite, "duckdb": _lock_duckdb, "postgres": _lock_postgres}


def full(scene: Scene) -> Blow | None:
    """The disk of the targets is full; without one of their own, files of one process cannot grow."""
    if not scene.small_disk:
        call = scene.living()
        if call is None:
            return None
        resource.prlimit(call.process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        call.struck = True
        return Blow(f"files of {call.log.stem} cannot grow")
    seconds, filler = scene.rng.uniform(1, 8), scene.project.targets / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    return Blow(f"the disk is full for {seconds:.0f} s", seconds, filler.unlink)


FAULTS = {each.__name__: each for each in (kill, term, hang, step, cut, lock, full)}


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Puts a file system of `DISK_MB` at a folder, where that is allowed; says whether it did."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    done = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
