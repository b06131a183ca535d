"""Asks another tool to load something, in a process with a Python that has it, and looks at what it left."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from tests.peers.place import execute, told

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parents[2]
LOCK_STEP_S = 0.02
MESSAGE_LENGTH = 110
INITIAL = "id int, note text, ts timestamptz"
ALL = "SELECT id, note, ts FROM src"


@dataclass(frozen=True)
class Peer:
    """One of the other tools."""

    module: str
    """In `tests.peers.sides`."""
    distribution: str
    python: str
    versions: str = "note, is_current, valid_from"
    """The columns of a version's value, whether it is current, and what puts versions in order."""
    has_folder: bool = False
    """Whether it keeps files between runs, so that two runs on one machine differ from two on two."""
    wants_key: bool = False
    """Whether its tables must have a primary key."""
    unfinished: str | None = None
    """The query that counts the runs of which its history does not know the end."""

    def version(self) -> str | None:
        """Its version; None where it is not installed."""
        query = f"import importlib.metadata as m; print(m.version({self.distribution!r}))"
        done = subprocess.run([self.python, "-c", query], capture_output=True, text=True, check=False)
        return done.stdout.strip() or None


class NotPossibleError(Exception):
    """It has nothing for this."""


class RefusedError(Exception):
    """It did not load."""


class SilentError(Exception):
    """It came to no end."""


@dataclass
class Asked:
    """A process of the tool."""

    process: subprocess.Popen[str]
    noise: Path

    def go(self) -> None:
        """Let it begin; it has imported what it needs."""
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def answer(self, seconds: float = 90) -> Any:
        """What it says at the end.

        Raises:
            NotPossibleError: It has nothing for this.
            RefusedError: It did not load, or the process ended before it said anything.
            SilentError: That took longer than ``seconds``.
        """
        try:
            out, _ = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            message = f"no end within {seconds:g} s"
            raise SilentError(message) from None
        if not out.strip():
            last = self.noise.read_text(errors="replace").strip().splitlines()[-1:]
            raise RefusedError(last[0] if last else f"exit code {self.process.returncode}")
        reply = json.loads(out.strip().splitlines()[-1])
        if reply["status"] == "not possible":
            raise NotPossibleError(reply["said"])
        if reply["status"] == "failed":
            raise RefusedError(reply["said"])
        return reply["said"]

    def warned(self) -> bool:
        """Whether anything it wrote speaks of a warning."""
        return "warn" in self.noise.read_text(errors="replace").lower()


@dataclass
class Ground:
    """Two databases and a folder for one case: a table `src` in the one, the tool's table `t` in the other."""

    peer: Peer
    source: str
    target: str
    folder: Path
    table: str = "t"
    last: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.again(self.table)

    def again(self, table: str) -> None:
        """Begin anew, with an empty source and another name for the target."""
        self.table = table
        self.give("DROP TABLE IF EXISTS src", f"CREATE TABLE src ({INITIAL})")

    def give(self, *statements: str) -> None:
        """Statements in the source's database."""
        execute(self.source, *statements)

    def add(self, *rows: tuple[int | None, str, float]) -> None:
        """Rows of the source: id, note, minutes."""
        query = "INSERT INTO src SELECT %s, %s, '2026-01-01T10:00Z'::timestamptz + %s * interval '1 minute'"
        with psycopg.connect(self.source) as session:
            session.cursor().executemany(query, rows)

    def start(self, do: str = "load", folder: str = "own", **job: Any) -> Asked:
        """A process that has imported the tool and waits."""
        own = self.folder / folder
        own.mkdir(exist_ok=True)
        usual = {"do": do, "source": self.source, "target": self.target, "folder": str(own), "table": self.table}
        usual |= {"sql": ALL, "from": "src", "mode": "append"}
        noise = own / f"{len(self.last)}.log"
        with noise.open("w") as errors:
            process = subprocess.Popen(
                [self.peer.python, "-m", f"tests.peers.sides.{self.peer.module}", json.dumps({**usual, **job})],
                cwd=own, env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(own)},
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip
        assert process.stdout
        asked = Asked(process, noise)
        self.last.append(asked)
        if process.stdout.readline().strip() != "ready":
            asked.answer()
        return asked

    def ask(self, do: str = "load", *, folder: str = "own", **job: Any) -> Any:
        """Its answer to a job; errors as of `Asked.answer`."""
        asked = self.start(do, folder, **job)
        asked.go()
        return asked.answer()

    def rows(self, columns: str = "id", order: str = "1") -> list[tuple[Any, ...]]:
        """Rows of the target; none where there is no table."""
        name = '"' + self.table.replace('"', '""') + '"'
        try:
            return execute(self.target, f"SELECT {columns} FROM {name} ORDER BY {order}")
        except psycopg.errors.UndefinedTable:
            return []

    def counted(self, expected: Iterable[object]) -> str:
        """Whether each row is there once."""
        have, want = [row[0] for row in self.rows()], list(expected)
        text = told(have, want)
        lost, doubled = (int(number) for number in re.findall(r"(\d+) (?:lost|doubled)", text))
        verdict = " and ".join(word for word, count in (("lost", lost), ("doubled", doubled)) if count)
        return f"{verdict or 'right'}: {text}"

    def records(self) -> list[dict[str, str | None]]:
        """The target's rows as texts by column, without the columns that tools add; columns with NULL alone too."""
        name = '"' + self.table.replace('"', '""') + '"'
        with psycopg.connect(self.target) as session:
            names = [column.name for column in session.execute(f"SELECT * FROM {name}".encode()).description or ()]
        kept = [one for one in names if not one.startswith("_") and one != "row_key"]
        if not kept:
            return []
        columns = ", ".join(f'"{one}"::text' for one in kept)
        return [dict(zip(kept, row, strict=True)) for row in self.rows(columns)]

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Nobody writes into the target meanwhile; who tries, waits."""
        with psycopg.connect(self.target) as session:
            session.execute(f'LOCK TABLE "{self.table}" IN SHARE MODE'.encode())
            yield

    def wait_for_writers(self, number: int = 1, seconds: float = 20) -> list[int]:
        """The sessions that wait to write, once there are so many, or after ``seconds``."""
        query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        until = time.monotonic() + seconds
        while len(found := execute(self.target, query)) < number and time.monotonic() < until:
            time.sleep(LOCK_STEP_S)
        return [row[0] for row in found]

    def silently(self) -> str:
        """Says so where the last run spoke of no warning."""
        return "" if self.last[-1].warned() else ", no warning"


@contextlib.contextmanager
def ground(peer: Peer, source: str, target: str) -> Iterator[Ground]:
    """The ground of one case; what still runs of the tool is ended with it."""
    with tempfile.TemporaryDirectory() as folder:
        made = Ground(peer, source, target, Path(folder))
        try:
            yield made
        finally:
            for asked in made.last:
                if asked.process.poll() is None:
                    asked.process.kill()
                    asked.process.communicate()


def short(text: str) -> str:
    """One line of a message that fits in a table, without what differs from run to run."""
    line = re.sub(r"0x[0-9a-f]+|\d{10}\.\d+|[0-9a-f]{8}-[0-9a-f-]{27}", "...", " ".join(text.split()))
    line = line.replace("|", "/").replace("`", "'").replace("<", "(").replace(">", ")")
    return line if len(line) <= MESSAGE_LENGTH else f"{line[:MESSAGE_LENGTH].rstrip()} ..."
