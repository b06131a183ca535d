"""The cases of the page, each asked of another tool.

The answer begins with ``right``, ``lost``, ``doubled``, ``changed``, ``shown``, ``refused`` or ``not possible``; what
was found follows. ``not measured``: the case itself did not come about. Where a tool has an option for a case, it is
tried without it and with it.
"""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import psycopg

from tests.peers.ask import Ground, NotPossibleError, RefusedError, SilentError, ground, short
from tests.peers.place import EXTREMES, execute
from tests.support import postgres

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.peers.ask import Peer

MANY = 50_000
MOMENTS = 9
TRIALS = 3
LAG_S = 360
"""Enough for the row that comes late."""
ATTACK = "zz (id int); drop table victim; create table qq"
CLOSED = "postgresql://u:hunter22@127.0.0.1:1/d?sslpassword=hunter33&connect_timeout=1"


def measure(peer: Peer, name: str, server: str) -> str:
    """What came out of a case.

    Args:
        peer: The tool.
        name: Of the case.
        server: URL of a PostgreSQL server on which databases may be created.
    """
    with (
        postgres.fresh_database(server) as source,
        postgres.fresh_database(server) as target,
        ground(peer, source, target) as made,
    ):
        try:
            return outcome(CASES[name], made)
        except (AssertionError, psycopg.Error) as error:
            return f"not measured: {short(str(error))}"


def outcome(case: Callable[[Ground], str], made: Ground) -> str:
    """What a case says, or how the tool ended it."""
    try:
        return case(made)
    except NotPossibleError as error:
        return f"not possible: {error}"
    except RefusedError as error:
        return f"refused: {short(str(error))}"
    except SilentError as error:
        return f"refused: {error}"


def variant(made: Ground, what: str, case: Callable[[Ground], str]) -> str:
    """The same with an option, where the tool has it."""
    made.again(f"{made.table}_v")
    found = outcome(case, made)
    return "" if found.startswith("not possible") else f"; with {what} {found}"


# -- incremental loads --------------------------------------------------------------------------------------------


def tie(made: Ground, **options: Any) -> str:
    made.add(*((number, "x", number) for number in range(1, 11)))
    made.ask(cursor="ts", **options)
    made.add((11, "tie", 10), (12, "late", 4.5), (13, "new", 11))
    made.ask(cursor="ts", **options)
    made.ask(cursor="ts", **options)
    found = made.counted(range(1, 14))
    if not options:
        merge = {"lag": LAG_S, "mode": "merge", "keys": ["id"]}
        found += variant(made, "a lag of 6 minutes", lambda again: tie(again, lag=LAG_S))
        found += variant(made, "such a lag and a merge on `id`", lambda again: tie(again, **merge))
    return found


def gap(made: Ground) -> str:
    insert = b"INSERT INTO src SELECT %s, '', clock_timestamp()"
    with psycopg.connect(made.source) as slow, psycopg.connect(made.source, autocommit=True) as fast:
        slow.execute(insert, [1])
        fast.execute(insert, [2])
        made.ask(cursor="ts")
        slow.commit()
        fast.execute(insert, [3])
    made.ask(cursor="ts")
    return made.counted([1, 2, 3])


# -- merge --------------------------------------------------------------------------------------------------------


def merge_twice(made: Ground, **options: Any) -> str:
    """In both orders, of which one would be chance."""
    kept: list[str] = []
    for rows in (((1, "newer", 2), (1, "older", 1)), ((1, "older", 1), (1, "newer", 2))):
        made.again(f"{made.table}_{len(kept)}")
        made.add(*rows)
        made.ask(mode="merge", keys=["id"], **options)
        kept.append(" and ".join(row[0] for row in made.rows("note")))
    verdict = "doubled" if any(" and " in one for one in kept) else "lost" if "older" in kept else "right"
    found = f"{verdict}: the {kept[0]} one is kept, in the other order the {kept[1]} one{made.silently()}"
    return found if options else found + variant(made, "`dedup_sort`", lambda again: merge_twice(again, newest="ts"))


def merge_null(made: Ground) -> str:
    made.add((None, "a", 1), (None, "b", 2), (3, "c", 3))
    made.ask(mode="merge", keys=["id"])
    return made.counted([None, None, 3]) + made.silently()


def merge_unindexed(made: Ground) -> str:
    """The table's own key, where the tool wants one, is another column."""
    made.add((1, "old", 1))
    made.ask(declared=["ts"])
    made.give("UPDATE src SET note = 'new'")
    made.add((2, "b", 2))
    made.ask(mode="merge", keys=["id"], declared=["ts"])
    found = ", ".join(row[0] for row in made.rows("note", "id"))
    return f"{'right' if found == 'new, b' else 'doubled'}: merged: {found}"


# -- versions -----------------------------------------------------------------------------------------------------


def versions(made: Ground, expected: str) -> str:
    """The notes in the order of time, and how many are current."""
    value, current, order = made.peer.versions.split(", ")
    rows = made.rows(f"{value}, {current}", f"{order}, 1")
    found = f"{', '.join(row[0] for row in rows)}; {sum(row[1] for row in rows)} current"
    wanted = expected.partition(";")[0].split(",")
    more = (len(rows) - len(wanted)) or sum(row[1] for row in rows) - 1
    verdict = "right" if found == expected else "lost" if more < 0 else "doubled" if more > 0 else "changed"
    return f"{verdict}: {found}{'' if verdict == 'right' else made.silently()}"


def with_event_times(made: Ground, case: Callable[[Ground, dict[str, str]], str]) -> str:
    """With the event times of rows; where the tool takes none, without, which is said."""
    try:
        return case(made, {"event_time": "ts"})
    except NotPossibleError as error:
        made.again("u")
        without = outcome(lambda again: case(again, {}), made)
        return f"not possible: {error}; without {without}"


def scd2_twice(made: Ground) -> str:
    def twice(made: Ground, options: dict[str, str]) -> str:
        made.add((1, "a", 1), (1, "a", 1))
        made.ask(mode="scd2", keys=["id"], **options)
        return versions(made, "a; 1 current")

    return outcome(lambda again: twice(again, {}), made) + variant(
        made, "event times", lambda again: twice(again, {"event_time": "ts"})
    )


def scd2_versions(made: Ground) -> str:
    def both(made: Ground, options: dict[str, str]) -> str:
        made.add((1, "b", 2), (1, "a", 1))
        made.ask(mode="scd2", keys=["id"], **options)
        return versions(made, "a, b; 1 current")

    return with_event_times(made, both)


def scd2_late(made: Ground) -> str:
    def late(made: Ground, options: dict[str, str]) -> str:
        for note, minutes in (("a", 1), ("c", 9), ("late", 5)):
            made.give("DELETE FROM src")
            made.add((1, note, minutes))
            made.ask(mode="scd2", keys=["id"], **options)
        return versions(made, "a, late, c; 1 current")

    return with_event_times(made, late)


def scd2_back(made: Ground) -> str:
    for note in ("a", "b", "a"):
        made.give("DELETE FROM src")
        made.add((1, note, 1))
        made.ask(mode="scd2", keys=["id"])
    return versions(made, "a, b, a; 1 current")


def scd2_empty(made: Ground) -> str:
    made.add((1, "a", 1))
    made.ask(mode="scd2", keys=["id"], deletes="soft")
    made.give("DELETE FROM src")
    made.ask(mode="scd2", keys=["id"], deletes="soft")
    return versions(made, "a; 1 current")


# -- values -------------------------------------------------------------------------------------------------------


WIDE = {
    "a": "numeric(38,10)", "b": "numeric(60,30)", "c": "timestamptz", "d": "date", "e": "double precision", "f": "text",
    "g": "jsonb", "h": "uuid", "i": "bytea",
}  # fmt: skip


def types(made: Ground) -> str:
    """Row by row, each into a table of its own, so that one that is refused does not hide the others."""
    made.give("DROP TABLE src", f"CREATE TABLE src (id int, {', '.join(map(' '.join, WIDE.items()))})")
    equal, refused, changed = 0, 0, set[str]()
    for number, row in enumerate(EXTREMES):
        made.table = f"t{number}"
        made.give("TRUNCATE src", f"INSERT INTO src VALUES {row}")
        try:
            made.ask(sql=f"SELECT id, {', '.join(WIDE)} FROM src")
        except RefusedError:
            refused += 1
            continue
        other = {
            kind for name, kind in WIDE.items() if as_text(made.target, name, made.table) != as_text(made.source, name)
        }
        equal, changed = equal + (not other), changed | other
    verdict = "changed" if changed else "refused" if refused else "right"
    which = f"; other values in: {', '.join(sorted(changed))}" if changed else ""
    return f"{verdict}: {equal} of {len(EXTREMES)} rows equal{f', {refused} refused' if refused else ''}{which}"


def as_text(url: str, column: str, table: str = "src") -> str | None:
    """The one value of a column, as the database writes it; a JSON value in its normal form.

    A column that was not made, as for NULL alone, is NULL.
    """
    form = "::text::jsonb::text" if column == "g" else "::text"
    try:
        found: str | None = execute(url, f'SELECT {column}{form} FROM "{table}"')[0][0]
    except psycopg.errors.UndefinedColumn:
        return None
    return found


def value(made: Ground, kept: set[str], *rows: dict[str, Any], table: tuple[str, str] | None = None) -> str:
    """Load rows, or the same from a table (its type, its values) where the tool reads databases only; what is there."""
    try:
        made.ask(rows=rows)
        how = ""
    except NotPossibleError:
        if table is None:
            raise
        made.give("DROP TABLE src", f"CREATE TABLE src {table[0]}", f"INSERT INTO src VALUES {table[1]}")
        made.ask(sql="SELECT * FROM src")
        how = " (from a table)"
    records = made.records()
    found = [record.get(name, f"no column `{name}`") for record in records for name in rows[0] if name != "id"]
    shown = ", ".join("NULL" if text is None else text for text in found)
    verdict = "right" if set(found) == kept else "changed"
    return f"{verdict}: {shown}{how}{'' if verdict == 'right' else made.silently()}"


def decimal(made: Ground) -> str:
    digits = "0.012345678901234567"
    return value(
        made, {digits}, {"id": 1, "d": {"decimal": digits}}, table=("(id int, d numeric(38,18))", f"(1, {digits})")
    )


def nan(made: Ground) -> str:
    rows = ({"id": 1, "d": float("nan")}, {"id": 2, "d": float("inf")})
    return value(
        made, {"NaN", "Infinity"}, *rows, table=("(id int, d double precision)", "(1, 'NaN'), (2, 'Infinity')")
    )


def big(made: Ground) -> str:
    return value(made, {str(2**70)}, {"id": 1, "d": 2**70}, table=("(id int, d numeric(38,0))", f"(1, {2**70})"))


def nul(made: Ground) -> str:
    return value(made, set(), {"id": 1, "d": "a\0b"})


def mixed(made: Ground) -> str:
    made.ask(rows=({"id": 1}, {"id": "two"}))
    records = made.records()
    return f"changed: {len(records)} rows, columns {', '.join(f'`{name}`' for name in records[0])}{made.silently()}"


def case(made: Ground) -> str:
    found = value(made, {"3", "4"}, {"Order": 3, "order": 4}, table=('("Order" int, "order" int)', "(3, 4)"))
    return found.replace("changed", "lost", 1)


def reserved(made: Ground) -> str:
    return value(made, {"3", "4"}, {"select": 3, "order": 4}, table=('("select" int, "order" int)', "(3, 4)"))


def attack(made: Ground) -> str:
    execute(made.target, "CREATE TABLE victim (id int)")
    made.add((1, "a", 1))
    made.table = ATTACK
    said = outcome(lambda again: str(again.ask()), made)
    if execute(made.target, "SELECT to_regclass('victim') IS NULL") == [(True,)]:
        return "lost: `victim` is dropped"
    if said.startswith(("refused", "not possible")):
        return said
    query = "SELECT tablename::text FROM pg_tables WHERE tablename LIKE 'zz%' AND schemaname = 'public'"
    (name,) = execute(made.target, query)[0]
    return f"right: a table `{name}`; `victim` is there" if name == ATTACK else f"changed: a table `{name}`"


# -- crashes ------------------------------------------------------------------------------------------------------


def fill(made: Ground, since: int, until: int) -> None:
    """Rows with these numbers."""
    made.give(f"INSERT INTO src SELECT g, 'row ' || g FROM generate_series({since}, {until}) AS g")


LOAD: dict[str, Any] = {"sql": "SELECT id, note FROM src", "cursor": "id"}


def kill(made: Ground) -> str:
    """At equal distances of the time that a whole load takes once it has imported what it needs."""
    made.give("ALTER TABLE src DROP COLUMN ts")
    fill(made, 1, MANY)
    whole = made.start(**LOAD)
    began = time.monotonic()
    whole.go()
    whole.answer()
    taken = time.monotonic() - began
    counts, hit = dict.fromkeys(("lost", "doubled", "right"), 0), 0
    for moment in range(1, MOMENTS + 1):
        made.table, own = f"t{moment}", f"own{moment}"
        asked = made.start(folder=own, **LOAD)
        asked.go()
        try:
            asked.process.wait(taken * moment / (MOMENTS + 1))
        except subprocess.TimeoutExpired:
            hit += 1
        asked.process.kill()
        asked.process.communicate()
        outcome(lambda again, own=own: str(again.ask(folder=own, **LOAD)), made)  # type: ignore[misc]
        (rows, distinct), *_ = made.rows("count(*), count(DISTINCT id)") or [(0, 0)]
        counts["lost" if distinct < MANY else "doubled" if rows > MANY else "right"] += 1
    verdict = next(word for word, count in counts.items() if count)
    return f"{verdict}: {counts['right']} of {MOMENTS} right ({hit} killed before the end){unfinished(made)}"


def unfinished(made: Ground) -> str:
    """How many runs have no end in the history of the tool, where it has one."""
    if made.peer.unfinished is None or not (count := execute(made.target, made.peer.unfinished)[0][0]):
        return ""
    return f"; the history says `running` of {count}"


def started(made: Ground) -> None:
    """The table with ten rows; ten more in the source."""
    fill(made, 1, 10)
    made.ask(**LOAD)
    fill(made, 11, 20)


def cut(made: Ground) -> str:
    made.give("ALTER TABLE src DROP COLUMN ts")
    started(made)
    asked = made.start(**LOAD)
    with made.held():
        asked.go()
        waiting = made.wait_for_writers()
        for pid in waiting:
            execute(made.target, f"SELECT pg_terminate_backend({pid})")
    first = outcome(lambda _: str(asked.answer()), made)
    between = len(made.rows()) - 10
    assert waiting, "it was not met while it wrote"
    second = outcome(lambda again: str(again.ask(**LOAD)), made)
    which = (
        f"the first run fails with {between} rows" if first.startswith("refused") else "the first run goes on by itself"
    )
    return f"{made.counted(range(1, 21))}; {which}{refusal(second)}"


def refusal(said: str) -> str:
    return f"; {said}" if said.startswith("refused") else ""


def bad_row(made: Ground) -> str:
    """The target's own rule refuses it."""
    load: dict[str, Any] = {"mode": "merge", "keys": ["id"]}
    made.add((1, "a", 1))
    made.ask(**load)
    execute(made.target, f"ALTER TABLE {made.table} ADD CHECK (note <> 'bad')")
    made.add((2, "bad", 2))
    first = outcome(lambda again: str(again.ask(**load)), made)
    assert first.startswith("refused"), first
    made.give("UPDATE src SET note = 'good' WHERE id = 2")
    second = outcome(lambda again: str(again.ask(**load)), made)
    if second.startswith("refused"):
        return f"refused: the second run fails too, with {second.removeprefix('refused: ')}"
    return f"{made.counted([1, 2])} after the second run"


# -- two at once --------------------------------------------------------------------------------------------------


def pairs(made: Ground) -> str:
    found = trials(made, ("own", "own"))
    if made.peer.has_folder:
        found += f"; with a folder each {trials(made, ('own', 'other'))}"
    if made.peer.wants_key:
        found += f"; with the key `id` {trials(made, ('own', 'own'), declared=['id'])}"
    return found


def trials(made: Ground, folders: tuple[str, str], **options: Any) -> str:
    """Both runs have read what they need, and wait with their rows, when they are let go on; a quiet one follows.

    Rows are lost that are not there although the quiet run loaded.
    """
    counts = dict.fromkeys(("lost", "doubled", "refused", "quiet"), 0)
    for trial in range(TRIALS):
        made.again(f"{made.table}_{trial}")
        made.give("ALTER TABLE src DROP COLUMN ts")
        fill(made, 1, 10)
        for folder in dict.fromkeys(folders):
            made.ask(folder=folder, **LOAD, **options)
        fill(made, 11, 20)
        both = [made.start(folder=folder, **LOAD, **options) for folder in folders]
        with made.held():
            for asked in both:
                asked.go()
            made.wait_for_writers(2)
        said = [outcome(lambda _, one=one: str(one.answer()), made) for one in both]  # type: ignore[misc]
        quiet = outcome(lambda again: str(again.ask(folder=folders[0], **LOAD, **options)), made)
        verdict = made.counted(range(1, 21)).partition(":")[0]
        counts["refused"] += sum(one.startswith("refused") for one in said)
        counts["quiet"] += quiet.startswith("refused")
        counts["lost"] += "lost" in verdict and not quiet.startswith("refused")
        counts["doubled"] += "doubled" in verdict
    verdict = " and ".join(word for word in ("lost", "doubled") if counts[word])
    verdict = verdict or ("refused" if counts["quiet"] else "right")
    after = f", and {counts['quiet']} of {TRIALS} that came after them" if counts["quiet"] else ""
    found = f"lost in {counts['lost']}, doubled in {counts['doubled']} of {TRIALS}"
    return f"{verdict}: {found}, {counts['refused']} of {2 * TRIALS} runs refused{after}"


def zombie(made: Ground) -> str:
    made.give("ALTER TABLE src DROP COLUMN ts")
    started(made)
    folders = ("own", "other") if made.peer.has_folder else ("own", "own")
    first = made.start(folder=folders[0], **LOAD)
    with made.held():
        first.go()
        assert made.wait_for_writers(), "it was not met while it wrote"
        os.kill(first.process.pid, signal.SIGSTOP)
    second = made.start(folder=folders[1], **LOAD)
    second.go()
    taken = outcome(lambda _: str(second.answer(30)), made)
    os.kill(first.process.pid, signal.SIGCONT)
    late = outcome(lambda _: str(first.answer()), made)
    which = [text for text, said in (("the second", taken), ("the first", late)) if said.startswith("refused")]
    return f"{made.counted(range(1, 21))}; refused: {' and '.join(which) or 'neither'}"


def due_twice(made: Ground) -> str:
    fill(made, 1, 10)
    for second in (20, 40):
        words = ["run-due", "--module", "shop", "--now", f"2026-03-02T12:00:{second}+00:00", "--no-run-log"]
        done = made.ask("command", words=words, sql="SELECT id FROM src")
        assert not done["code"], done
    return made.counted(range(1, 11))


# -- schedule and messages ----------------------------------------------------------------------------------------


def cron(made: Ground) -> str:
    zone = ZoneInfo("Europe/Berlin")
    counts = []
    for day in (dt.date(2026, 10, 25), dt.date(2026, 3, 29)):
        since = dt.datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(dt.UTC).isoformat()
        times = made.ask("cron", since=since, minutes=12 * 60, schedule="30 2 * * *", timezone="Europe/Berlin")
        counts.append((len(times), f"{len(times)} on {day}{' at ' if times else ''}{', '.join(times)} UTC"))
    most, least = max(count for count, _ in counts), min(count for count, _ in counts)
    verdict = "doubled" if most > 1 else "lost" if least < 1 else "right"
    return f"{verdict}: {'; '.join(text for _, text in counts)}"


def failing(made: Ground) -> str:
    done = made.ask("command", words=["run", "--module", "shop", "p"], sql="SELECT CAST(note AS int) AS id FROM src")
    assert not done["code"], done
    made.add((1, "nothing", 1))
    done = made.ask("command", words=["run", "--module", "shop", "p"], sql="SELECT CAST(note AS int) AS id FROM src")
    said = done["out"] + done["err"]
    lines = len([line for line in said.splitlines() if line.strip()])
    what = "the reason with the value" if "nothing" in said else "not the reason" if lines else "nothing"
    verdict = "right" if done["code"] and "nothing" in said else "lost"
    return f"{verdict}: exit code {done['code']}, {lines} lines: {what}"


def password(made: Ground) -> str:
    texts = made.ask("password", url=CLOSED)
    shown = sum("hunter" in text for text in texts)
    return f"{'changed' if shown else 'right'}: shown in {shown} of {len(texts)} places".replace("changed", "shown", 1)


CASES: dict[str, Callable[[Ground], str]] = {
    found.__name__: found
    for found in (
        tie, gap, merge_twice, merge_null, merge_unindexed, scd2_twice, scd2_versions, scd2_late, scd2_back, scd2_empty,
        types, decimal, nan, big, nul, mixed, case, reserved, attack, kill, cut, bad_row, pairs, zombie, due_twice,
        cron, failing, password,
    )
}  # fmt: skip
