"""Fifty pipelines of five teams: each team has a folder with settings, a module and targets of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.crash.world import MODES, World
from tests.support.postgres import with_database

if TYPE_CHECKING:
    from pathlib import Path

TEAMS = 5
SOURCES = ("sqlite", "duckdb", "postgres")
TARGETS = {
    "sqlite": (SOURCES, MODES),
    "duckdb": (SOURCES, MODES),
    "postgres": (SOURCES, MODES),
    "delta": (("sqlite", "postgres"), MODES),
    "files": (SOURCES, ("append", "truncate")),
}
"""Which sources each kind of target is loaded from, and in which modes."""
MODULE = "pipelines.py"
OWN = "soak"
"""The name under which the soak itself talks to PostgreSQL: its sessions are not counted."""

_SETTINGS = """\
[connections.from_sqlite]
kind = "sqlite"
path = "{sources}/source.sqlite"

[connections.from_duckdb]
kind = "duckdb"
path = "{sources}/source.duckdb"

[connections.from_postgres]
kind = "postgres"
url = "{source_url}"

[connections.to_sqlite]
kind = "sqlite"
path = "{folder}/target.sqlite"

[connections.to_duckdb]
kind = "duckdb"
path = "{folder}/target.duckdb"

[connections.to_postgres]
kind = "postgres"
url = "{target_url}"

[connections.to_delta]
kind = "delta_local"
path = "{folder}/delta"

[connections.to_files]
kind = "object_store_local"
path = "{folder}/files"
format = "parquet"
"""

_PIPELINE = """

@ematix.pipeline(
    target="to_{target}:t_{name}",
    source_connection="from_{source}",
    mode="{mode}",
    schedule="* * * * *",{options}
)
def {name}(conn):
    return "SELECT id, name, amount, ts FROM {table}"
"""
_INCREMENTAL = '\n    incremental=True,\n    watermark_column="ts",'
_KEYS = '\n    keys=("id",),'
_OPTIONS = {"append": _INCREMENTAL, "truncate": "", "merge": _KEYS + _INCREMENTAL, "scd2": _KEYS}


@dataclass(frozen=True)
class Pipeline:
    """One of the fifty."""

    source: str
    target: str
    mode: str
    world: World
    """Its target, as tests read it."""

    @property
    def table(self) -> str:
        """What it reads: `events` are only added, `things` change as well."""
        return "events" if self.mode == "append" else "things"


@dataclass(frozen=True)
class Team:
    """A folder with a module of pipelines."""

    number: int
    folder: Path
    pipelines: tuple[Pipeline, ...]


@dataclass(frozen=True)
class Project:
    """All of it."""

    sources: Path
    """The folder of the sources that are files."""
    targets: Path
    """The folder of the teams' folders."""
    source_url: str
    target_url: str
    teams: tuple[Team, ...]

    @property
    def pipelines(self) -> list[Pipeline]:
        """Those of all teams."""
        return [each for team in self.teams for each in team.pipelines]


def make_project(sources: Path, targets: Path, source_url: str, target_url: str, by_line: str) -> Project:
    """Write the teams' folders.

    Args:
        sources: An empty folder for the sources.
        targets: An empty folder for everything that the teams write.
        source_url: The PostgreSQL database of the sources.
        target_url: The PostgreSQL database of the targets.
        by_line: The URL under which the pipelines reach that server.
    """
    every = [(source, kind, mode) for kind, (froms, modes) in TARGETS.items() for mode in modes for source in froms]
    teams = []
    for number in range(TEAMS):
        folder = targets / f"team{number}"
        for place in ("delta", "files"):
            (folder / place).mkdir(parents=True)
        mine = tuple(_pipeline(*one, folder, target_url) for one in every[number::TEAMS])
        text = "from __future__ import annotations\n\nfrom ematix_nb import ematix\n"
        (folder / MODULE).write_text(text + "".join(_declaration(one) for one in mine), encoding="utf-8")
        settings = _SETTINGS.format(
            sources=sources, folder=folder, source_url=_by(by_line, source_url), target_url=_by(by_line, target_url)
        )
        (folder / ".ematix-flow.toml").write_text(settings, encoding="utf-8")
        teams.append(Team(number, folder, mine))
    return Project(sources, targets, source_url, target_url, tuple(teams))


def _by(line: str, url: str) -> str:
    """The same database by way of the line."""
    return with_database(line, url.rpartition("/")[2])


def _pipeline(source: str, target: str, mode: str, folder: Path, target_url: str) -> Pipeline:
    urls = {
        "sqlite": f"sqlite:///{folder}/target.sqlite",
        "duckdb": f"duckdb:///{folder}/target.duckdb",
        "postgres": target_url,
        "delta": f"delta:///{folder}/delta",
        "files": f"file:///{folder}/files?format=parquet",
    }
    name = f"{source}_{target}_{mode}"
    return Pipeline(source, target, mode, World(target, mode, folder, urls[target], ("", ""), name=name))


def _declaration(one: Pipeline) -> str:
    return _PIPELINE.format(
        target=one.target,
        source=one.source,
        mode=one.mode,
        name=one.world.name,
        options=_OPTIONS[one.mode],
        table=one.table,
    )
