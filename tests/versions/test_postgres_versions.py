"""What PostgreSQL is promised to do, on the versions that the machine does not run; the whole suite at night."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.backends.postgres import test_generated, test_merge_counts, test_partitions

# the wording of errors, and what the catalogue says, are the server's
from tests.backends.postgres.test_postgres_session import (
    test_a_lost_connection_says_so,
    test_catalogue,
    test_failures_to_connect,
    test_text_does_not_depend_on_settings,
    test_wrong_queries,
)
from tests.concurrency import test_two_runs
from tests.conformance import test_modes, test_nothing_written, test_scd2
from tests.conformance.matrix import Postgres
from tests.conformance.round_trip import PairResult, send_all, send_natives
from tests.conformance.run import Bench, declare
from tests.conformance.type_cases import cases_of
from tests.support import postgres
from tests.versions.conftest import VERSIONS, started

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.backends.postgres.test_generated import Computed
    from tests.crash.world import World

__all__ = [
    "test_a_lost_connection_says_so",
    "test_catalogue",
    "test_failures_to_connect",
    "test_text_does_not_depend_on_settings",
    "test_wrong_queries",
]

ROOT = Path(__file__).parents[2]
PROMISES = (
    test_modes.test_append,
    test_modes.test_truncate,
    test_modes.test_truncate_that_fails_keeps_the_rows,
    test_modes.test_merge,
    test_modes.test_hard_deletes,
    test_scd2.test_versions_open_and_close,
    test_nothing_written.test_a_later_dry_run_counts_what_the_run_then_does,
)
EVERYTHING = ("tests/backends/postgres", "tests/concurrency", "tests/conformance")
NO_XML = "tests/backends/postgres/test_postgres_values.py::test_round_trip[xml]"
"""The servers of the wheels are built without libxml."""

with_virtual_columns = pytest.mark.parametrize("pg_server", [18], indirect=True)


def route(source: Postgres, target: Postgres) -> str:
    """How rows of plain types travel between two places."""
    plan = declare(source, target, "SELECT 1::bigint AS id", "travelled", mode="truncate").sync().targets[0].plan
    assert plan is not None
    return plan.route


def test_the_server_is_of_the_version_that_the_test_names(pg_server: str, request: pytest.FixtureRequest) -> None:
    with psycopg.connect(pg_server) as connection:
        assert f"PostgreSQL {connection.info.server_version // 10_000}" in request.node.name


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_promises(promise: Callable[[Bench], None], pg_url: str, machine_url: str) -> None:
    """From a database of the machine's version into one of this."""
    promise(Bench(Postgres(pg_url, "there"), Postgres(machine_url, "machine")))


def test_a_merge_at_home(pg_url: str) -> None:
    home = Postgres(pg_url)
    test_modes.test_merge(Bench(home, home))


def test_every_type_stays_as_it_is_at_home(pg_url: str) -> None:
    home = Postgres(pg_url)
    result = PairResult()
    send_all(home, home, cases_of("postgres"), result)
    send_natives(home, home, result)
    assert (result.wrong, result.refused) == ([], [])


@pytest.mark.parametrize("direction", ["from the machine's version", "to the machine's version"])
def test_every_type_travels_between_versions(direction: str, pg_url: str, machine_url: str) -> None:
    places = Postgres(pg_url, "here"), Postgres(machine_url, "machine")
    target, source = places if direction.startswith("from") else places[::-1]
    result = PairResult()
    send_all(source, target, cases_of("postgres"), result)
    send_natives(source, target, result)
    assert (result.wrong, result.refused) == ([], [])
    assert route(source, target) == "copy-through"


@pytest.mark.usefixtures("pg_server")
def test_two_runs_started_together(make_world: Callable[..., World], tmp_path: Path) -> None:
    test_two_runs.test_started_together("postgres", "merge", make_world, tmp_path)


def test_ranges_of_a_table_by_several_sessions(ranged: str) -> None:
    test_partitions.test_one_snapshot_for_all(ranged)


def test_a_merge_into_a_partitioned_table(merging: str) -> None:
    test_merge_counts.test_counts(merging, test_merge_counts.PARTITIONED)


@with_virtual_columns
def test_virtual_columns_of_a_source(computed: Computed) -> None:
    assert computed.kind == "VIRTUAL"
    test_generated.test_a_source_gives_computed_columns_like_others(computed, 1)


@with_virtual_columns
@pytest.mark.parametrize("mode", ["append", "merge"])
def test_virtual_columns_of_a_target(computed: Computed, mode: str) -> None:
    test_generated.test_a_target_computes_its_own(computed, mode, 1)


@pytest.mark.nightly
@pytest.mark.parametrize("version", VERSIONS)
def test_everything(version: int) -> None:
    """The daily tests of PostgreSQL, in a process of their own that knows this server only."""
    with started(version) as url:
        options = [
            "-q",
            "-m",
            "not nightly",
            "-k",
            "postgres or pg",
            "--timeout=600",
            "--durations=20",
            "--deselect",
            NO_XML,
        ]
        command = [sys.executable, "-m", "pytest", *options, *EVERYTHING]
        environment = {**os.environ, postgres.URL_VARIABLE: url}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    print("\n".join(done.stdout.splitlines()[-25:]))  # noqa: T201  how many there were, and what took long
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    assert "skipped" not in done.stdout.splitlines()[-1]
