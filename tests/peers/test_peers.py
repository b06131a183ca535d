"""What other tools lost, doubled or changed, for this one: each case is measured, and the page says what was found."""

from __future__ import annotations

import datetime as dt
import json
import os
import pickle
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import polars as pl
import psycopg
import pytest

from ematix_nb.config import connect
from ematix_nb.connections import get_connection
from ematix_nb.declare import registry
from ematix_nb.declare.pipelines import build_pipeline
from ematix_nb.errors import FlowError
from ematix_nb.schedule.cron import parse_schedule
from ematix_nb.schedule.due import due_slots
from ematix_nb.verbs.run import run
from tests.concurrency.test_two_runs import wait_for
from tests.crash.child import Job, Step
from tests.crash.conftest import _mysql_shared, _pg_shared, _sources, make_world
from tests.crash.world import reports, rows_after, run_child, start_child
from tests.peers.page import PAGE, read, render
from tests.peers.pairs import FORMS, pair, workers
from tests.peers.place import EXTREMES, Place, execute, told
from tests.peers.rows import ROWS, SECTIONS
from tests.support import postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.crash.world import World

__all__ = ["_mysql_shared", "_pg_shared", "_sources", "make_world"]
PAIRS, NIGHTLY_PAIRS = 50, 500
UTC = dt.UTC
MANY = 20_000
KILLED_AT = ("lock", "open_source", "tx_begin", "fetch", "apply", "state_write", "before_commit", "commit")


@pytest.fixture(scope="module")
def _databases(pg_server: str) -> Iterator[tuple[str, str]]:
    with postgres.fresh_database(pg_server) as source, postgres.fresh_database(pg_server) as target:
        yield source, target


@pytest.fixture
def place(_databases: tuple[str, str], tmp_path: Path, make_world: Callable[..., World]) -> Iterator[Place]:
    """With an empty table `src`: id, note, ts."""
    with registry.scratch():
        made = Place(*_databases, tmp_path, make_world)
        made.give("DROP TABLE IF EXISTS src", "CREATE TABLE src (id int, note text, ts timestamptz)")
        yield made


ALL = "SELECT id, note, ts FROM src"
ADD = "INSERT INTO src SELECT {0}, '{1}', '2026-01-01T10:00Z'::timestamptz + {2} * interval '1 minute'"


def add(place: Place, *rows: tuple[int | None, str, float]) -> None:
    """Rows of the source: id, note, minutes."""
    place.give(*(ADD.format("NULL" if key is None else key, note, minutes) for key, note, minutes in rows))


# -- incremental loads --------------------------------------------------------------------------------------------


def tie(place: Place) -> str:
    options: dict[str, Any] = {"incremental": True, "watermark_column": "ts"}
    add(place, *((number, "x", number) for number in range(1, 11)))
    place.load(ALL, "append", **options)
    add(place, (11, "tie", 10), (12, "late", 4.5), (13, "new", 11))
    place.load(ALL, "append", **options)
    place.load(ALL, "append", **options)
    return told((row[0] for row in place.rows()), range(1, 14))


def gap(place: Place) -> str:
    """The clock of the insert is earlier, the commit later than a run."""
    options: dict[str, Any] = {"incremental": True, "watermark_column": "ts", "late_rows": "snapshot"}
    insert = b"INSERT INTO src SELECT %s, '', clock_timestamp()"
    with psycopg.connect(place.source) as slow, psycopg.connect(place.source, autocommit=True) as fast:
        slow.execute(insert, [1])
        fast.execute(insert, [2])
        place.load(ALL, "append", **options)
        slow.commit()
        fast.execute(insert, [3])
    place.load(ALL, "append", **options)
    return told((row[0] for row in place.rows()), [1, 2, 3])


# -- merge --------------------------------------------------------------------------------------------------------


def merge_twice(place: Place) -> str:
    add(place, (1, "newer", 2), (1, "older", 1))
    done = place.load(ALL, "merge", keys=("id",), incremental=True, watermark_column="ts")
    kept = ", ".join(row[0] for row in place.rows("note"))
    return f"the {kept} one is kept, {done.counts['rows_deduplicated']} counted as deduplicated"


def merge_null(place: Place) -> str:
    add(place, (None, "a", 1), (None, "b", 2), (3, "c", 3))
    return place.refused(ALL, "merge", keys=("id",))


def merge_unindexed(place: Place) -> str:
    execute(place.target, f"CREATE TABLE {place.name} (id int, note text, ts timestamptz)")
    execute(place.target, f"INSERT INTO {place.name} VALUES (1, 'old', now())")
    add(place, (1, "new", 1), (2, "b", 2))
    place.load(ALL, "merge", keys=("id",))
    return f"merged: {', '.join(row[0] for row in place.rows('note', order='id'))}"


# -- versions -----------------------------------------------------------------------------------------------------


def versions(place: Place) -> str:
    """All notes in the order of time; how many are current."""
    found = place.rows("note, is_current, valid_from, valid_to", order="valid_from")
    ends = [row[3] for row in found[:-1]]
    assert ends == [row[2] for row in found[1:]], "one ends where the next begins"
    return f"{', '.join(row[0] for row in found)}; {sum(row[1] for row in found)} current"


def scd2_twice(place: Place) -> str:
    add(place, (1, "a", 1), (1, "a", 1))
    place.load(ALL, "scd2", keys=("id",))
    return versions(place)


def scd2_versions(place: Place) -> str:
    add(place, (1, "b", 2), (1, "a", 1))
    place.load(ALL, "scd2", keys=("id",), event_timestamp_column="ts")
    return versions(place)


def scd2_late(place: Place) -> str:
    add(place, (1, "a", 1), (1, "c", 9))
    place.load(ALL, "scd2", keys=("id",), event_timestamp_column="ts")
    place.give("DELETE FROM src")
    add(place, (1, "late", 5))
    place.load(ALL, "scd2", keys=("id",), event_timestamp_column="ts")
    return versions(place)


def scd2_back(place: Place) -> str:
    for note in ("a", "b", "a"):
        place.give("DELETE FROM src")
        add(place, (1, note, 1))
        place.load(ALL, "scd2", keys=("id",))
    return versions(place)


def scd2_empty(place: Place) -> str:
    add(place, (1, "a", 1))
    place.load(ALL, "scd2", keys=("id",), handle_deletes="soft")
    place.give("DELETE FROM src")
    done = place.load(ALL, "scd2", keys=("id",), handle_deletes="soft")
    assert "nothing was deleted" in done.targets[0].warnings[0]
    return f"{versions(place)}; warned"


# -- values -------------------------------------------------------------------------------------------------------


def types(place: Place) -> str:
    place.give(
        "DROP TABLE IF EXISTS wide",
        "CREATE TABLE wide (id int, a numeric(38,10), b numeric, c timestamptz, d date, e double precision, f text,"
        " g jsonb, h uuid, i bytea)",
        *(f"INSERT INTO wide VALUES {row}" for row in EXTREMES),
    )
    place.load("SELECT id, a, b, c, d, e, f, g, h, i FROM wide", "append")
    look = "SELECT id, concat_ws('|', a, b, c, d, e, md5(f), g, h, i) FROM {} ORDER BY id"
    have, want = execute(place.target, look.format(place.name)), execute(place.source, look.format("wide"))
    return f"{sum(one == other for one, other in zip(have, want, strict=True))} of {len(want)} rows equal"


def of_lines(place: Place, *rows: dict[str, Any]) -> dict[str, Any]:
    """Rows as a file of JSON lines; where they are read from."""
    (place.folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return {"source_connection": "lake"}


FILE = 'SELECT * FROM "rows.jsonl"'


def decimal(place: Place) -> str:
    digits = "0.012345678901234567"
    frame = pl.DataFrame({"id": [1], "d": [digits]}).with_columns(pl.col("d").cast(pl.Decimal(38, 18)))
    load_frame(place, frame)
    return f"kept: {place.rows('d::text')[0][0]}"


def nan(place: Place) -> str:
    load_frame(place, pl.DataFrame({"id": [1, 2], "d": [float("nan"), float("inf")]}))
    return f"kept: {', '.join(row[0] for row in place.rows('d::text', order='id'))}"


def load_frame(place: Place, frame: pl.DataFrame) -> None:
    """Load a frame that a function gives."""

    def rows() -> pl.DataFrame:
        return frame

    options = {"name": place.name, "target": f"target:public.{place.name}", "mode": "append"}
    run(build_pipeline(rows, **options)).raise_for_status()


def big(place: Place) -> str:
    place.load(FILE, "append", **of_lines(place, {"id": 2**70}))
    return f"kept: {place.rows('id::text')[0][0]}"


def nul(place: Place) -> str:
    found = place.refused(FILE, "append", **of_lines(place, {"id": 1, "note": "a\0b"}))
    assert "holds a NUL character" in found
    return found.partition(": `a")[0]


def mixed(place: Place) -> str:
    return place.refused(FILE, "append", **of_lines(place, {"id": 1}, {"id": "two"}))


def case(place: Place) -> str:
    return place.refused(FILE, "append", **of_lines(place, {"Order": 3, "order": 4}))


def reserved(place: Place) -> str:
    place.load(FILE, "append", **of_lines(place, {"select": 3, "order": 4}))
    (found,) = place.rows('"select", "order"')
    return f"kept: {found[0]}, {found[1]}"


def attack(place: Place) -> str:
    name = "zz (id int); drop table victim; create table qq"
    execute(place.target, "DROP TABLE IF EXISTS victim", "CREATE TABLE victim (id int)")
    add(place, (1, "a", 1))
    place.load(ALL, "append", target=f"target:{name}")
    found = execute(place.target, "SELECT relname::text FROM pg_class WHERE relname IN ('victim', 'zz', 'qq')")
    assert execute(place.target, f'SELECT id FROM "{name}"') == [(1,)]
    execute(place.target, f'DROP TABLE "{name}"')
    return f"a table of that name; `{found[0][0]}` is there" if found == [("victim",)] else f"{found}"


# -- crashes ------------------------------------------------------------------------------------------------------


def job(place: Place, *steps: Step, **options: Any) -> Job:
    """A job in a process of its own that loads `src`."""
    declared = place.options("SELECT id, note FROM src", "append", watermark_column="id", incremental=True)
    out = place.folder / f"{len(list(place.folder.iterdir()))}.json"
    return Job(place.target, {**declared, **options}, steps, str(out))


def fill(place: Place, since: int, until: int) -> None:
    """Rows with these numbers."""
    place.give(f"INSERT INTO src SELECT g, 'row ' || g FROM generate_series({since}, {until}) AS g")


def right(place: Place, rows: int) -> bool:
    """Whether each row is there once, and all runs have an end."""
    found = place.rows("count(*), count(DISTINCT id), min(id), max(id)")
    query = f"SELECT count(*) FROM ematix_flow.run_history WHERE pipeline_name = '{place.name}' AND status = 'running'"
    return found == [(rows, rows, 1, rows)] and execute(place.target, query) == [(0,)]


def kill(place: Place) -> str:
    """Eight times in a first load, once in a later one while its rows are staged."""
    count = 0
    fill(place, 1, MANY)
    for step in (*KILLED_AT, "stage_write"):
        if step == "stage_write":
            fill(place, MANY + 1, 2 * MANY)
        else:
            execute(place.target, f"DROP TABLE IF EXISTS {place.name}")
            execute(place.target, "DROP SCHEMA IF EXISTS ematix_flow CASCADE")
        code, _ = run_child(job(place, Step(place.source, f"{step}=kill")))
        assert code == -signal.SIGKILL, f"{step} was not reached"
        code, (again,) = run_child(job(place, Step(place.source)))
        count += again["status"] == "success" and right(place, 2 * MANY if step == "stage_write" else MANY)
    return f"{count} of {len(KILLED_AT) + 1} right"


def cut(place: Place) -> str:
    fill(place, 1, MANY)
    hold = place.folder / "hold"
    work = job(place, Step(place.source, f"fetch=hold:{hold}"))
    process = start_child(work)
    wait_for(hold)
    with psycopg.connect(place.target, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    hold.unlink()
    process.join(60)
    (found,) = reports(work)
    assert (found["status"], place.missing()) == ("failed", True)
    _, (again,) = run_child(job(place, Step(place.source, options={"wait": 60})))
    return f"0 rows; a second run is {'right' if right(place, MANY) else again}"


def bad_row(place: Place) -> str:
    """The target's own rule refuses it."""
    add(place, (1, "a", 1))
    place.load(ALL, "merge", keys=("id",))
    execute(place.target, f"ALTER TABLE {place.name} ADD CHECK (note <> 'bad')")
    add(place, (2, "bad", 2))
    with pytest.raises(FlowError, match="check constraint"):
        place.load(ALL, "merge", keys=("id",))
    place.give("UPDATE src SET note = 'good' WHERE id = 2")
    place.load(ALL, "merge", keys=("id",))
    return f"{told((row[0] for row in place.rows()), [1, 2])} after the second run"


# -- two at once --------------------------------------------------------------------------------------------------


def pairs(place: Place, number: int = PAIRS) -> str:
    lost = doubled = 0
    with workers() as both:
        for turn in range(number):
            kind, form = FORMS[turn % len(FORMS)]
            world = place.make_world(kind, ("append", "merge")[turn // len(FORMS) % 2])
            counts = pair(world, form, both, place.folder / f"pair{turn}")
            lost, doubled = lost + (counts[0] > 0), doubled + (counts[1] > 0)
    return f"rows lost in {lost}, doubled in {doubled} of {number}"


def zombie(place: Place) -> str:
    world = place.make_world("postgres", "append")
    assert run_child(world.job(world.step(1)))[0] == 0
    note = place.folder / "staged"
    first = world.job(world.step(2, f"stage_write=note:{note};stage_done=stop"), lease_seconds=0.5)
    hung = start_child(first)
    wait_for(note)
    _, (taker,) = run_child(world.job(world.step(2, options={"wait": 60})))
    assert taker["status"] == "success"
    os.kill(hung.pid or 0, signal.SIGCONT)
    hung.join(60)
    (found,) = reports(first)
    what = "refused" if "lost the lease" in found["error"] else found
    return f"its commit is {what}; {told(world.rows(), rows_after('append', 2))}"


def due_twice(place: Place) -> str:
    fill(place, 1, 10)
    at = [Step(place.source, due=(f"2026-03-02T12:00:{second}+00:00", "latest")) for second in (20, 40)]
    options = {"schedule": "* * * * *", "watermark_column": None, "incremental": False}
    for step in at:
        assert run_child(job(place, step, **options))[0] == 0
    return told((row[0] for row in place.rows()), range(1, 11))


# -- schedule and messages ----------------------------------------------------------------------------------------


def cron(_: Place) -> str:
    daily = parse_schedule("30 2 * * *", "Europe/Berlin")
    fired = []
    for day in (dt.date(2026, 10, 25), dt.date(2026, 3, 29)):
        done: dt.datetime | None = None
        start = dt.datetime(day.year, day.month, day.day, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
        slots: list[dt.datetime] = []
        for minute in range(12 * 60):
            due = due_slots(daily, start + minute * dt.timedelta(minutes=1), last_done=done)
            slots, done = [*slots, *due.slots], due.slots[-1] if due.slots else done
        fired.append(f"{len(slots)} on {day} at {', '.join(f'{slot:%H:%M} UTC' for slot in slots)}")
    return "; ".join(fired)


MODULE = """\
from ematix_nb import ematix


@ematix.pipeline(target="warehouse:main.t", source_connection="warehouse", mode="append")
def p(conn):
    return "SELECT CAST(name AS INT) AS id FROM (VALUES ('nothing')) AS t(name)"
"""


def failing(place: Place) -> str:
    text = 'modules = ["shop.py"]\n[connections.warehouse]\nkind = "duckdb"\npath = "w.duckdb"\n'
    (place.folder / ".ematix-flow.toml").write_text(text)
    (place.folder / "shop.py").write_text(MODULE)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])}
    found = subprocess.run(
        [sys.executable, "-m", "ematix_nb", "run", "p"],
        cwd=place.folder, env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "failed" in found.stdout.splitlines()[0]
    assert "FLOW-230 Could not convert string 'nothing'" in found.stdout
    return f"exit code {found.returncode}; the result, and the reason with the value"


def password(_: Place) -> str:
    connect("postgresql://u:hunter22@127.0.0.1:1/d?sslpassword=hunter33&connect_timeout=1", name="closed")
    found = get_connection("closed")
    shown = [repr(found), str(vars(found)), pickle.dumps(found).decode("latin-1")]
    try:
        found.read_df("SELECT 1 AS id")
    except Exception:  # noqa: BLE001 - whatever it raises is to be looked through
        shown.append(traceback.format_exc())
    return f"shown in {sum('hunter' in text for text in shown)} of {len(shown)} places"


MEASURES: dict[str, Callable[[Place], str]] = {
    measure.__name__: measure
    for measure in (
        tie, gap, merge_twice, merge_null, merge_unindexed, scd2_twice, scd2_versions, scd2_late, scd2_back, scd2_empty,
        types, decimal, nan, big, nul, mixed, case, reserved, attack, kill, cut, bad_row, pairs, zombie, due_twice,
        cron, failing, password,
    )
}  # fmt: skip


@pytest.mark.timeout(300)  # the pairs take 20 seconds of two processors that have nothing else to do
@pytest.mark.parametrize("name", ROWS)
def test_a_case_of_the_page(name: str, place: Place) -> None:
    assert MEASURES[name](place) == ROWS[name].ours


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_five_hundred_pairs(place: Place) -> None:
    assert pairs(place, NIGHTLY_PAIRS) == f"rows lost in 0, doubled in 0 of {NIGHTLY_PAIRS}"


def test_the_page_is_that_of_these_cases() -> None:
    page = render(SECTIONS, read())
    if os.environ.get("EMATIX_WRITE_PAGES"):
        PAGE.write_text(page, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page
