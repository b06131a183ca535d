"""What was tried, and what came out: of the others as measured once, of ours as the tests find it each time."""

from __future__ import annotations

from dataclasses import dataclass

EMATIX = "ematix-flow 1.0.0"
DLT = "dlt 1.31"
NOT_TRIED = "-"


@dataclass(frozen=True)
class Row:
    """One case."""

    what: str
    ematix: str
    dlt: str
    ours: str
    """What the test of this case finds."""


SECTIONS: dict[str, dict[str, Row]] = {
    "Incremental loads": {
        "tie": Row(
            "Ten rows; then one with the watermark's own value, one that is older, one that is newer: 13",
            "11 rows: 2 lost, 0 doubled",
            "12 rows: 1 lost, 0 doubled; with `lag` 15 rows: 0 lost, 2 doubled",
            "13 rows: 0 lost, 0 doubled",
        ),
        "gap": Row(
            "A transaction that began earlier commits later, after a run: 3 rows",
            "2 rows: 1 lost, 0 doubled",
            NOT_TRIED,
            "3 rows: 0 lost, 0 doubled",
        ),
    },
    "Merge": {
        "merge_twice": Row(
            "A key twice in one load",
            "the load fails",
            "one is kept (the first), not told",
            "the newer one is kept, 1 counted as deduplicated",
        ),
        "merge_null": Row(
            "A row without a key",
            "refused with the database's message",
            "refused; the package stays pending",
            "refused: 2 rows have no value in a key column (id)",
        ),
        "merge_unindexed": Row(
            "A target without a unique index on the key",
            "refused with the database's message",
            NOT_TRIED,
            "merged: new, b",
        ),
    },
    "Versions (scd2)": {
        "scd2_twice": Row(
            "The same row twice in one load",
            "the load fails; with event times 1 current version",
            "2 current versions",
            "a; 1 current",
        ),
        "scd2_versions": Row(
            "Two versions of a key in one load, with event times",
            "1 version: the older one is lost",
            "2 current versions",
            "a, b; 1 current",
        ),
        "scd2_late": Row(
            "An event older than the current version", "the load fails", NOT_TRIED, "a, late, c; 1 current"
        ),
        "scd2_back": Row(
            "A value that comes back: a, b, a", "3 versions, 1 current", "3 versions, 1 current", "a, b, a; 1 current"
        ),
        "scd2_empty": Row(
            "The second load finds an empty source", NOT_TRIED, "all stay current", "a; 1 current; warned"
        ),
    },
    "Values": {
        "types": Row(
            "PostgreSQL to PostgreSQL: numeric(38,10), NaN, infinite times, years BC, 5e-324, 1 MB of text, uuid",
            "4 of 4 rows equal",
            "texts equal",
            "4 of 4 rows equal",
        ),
        "decimal": Row(
            "A decimal of 18 digits after the point",
            NOT_TRIED,
            "rounded to 9 digits, not told",
            "kept: 0.012345678901234567",
        ),
        "nan": Row("NaN and infinity", "kept", "stored as NULL, not told", "kept: NaN, Infinity"),
        "big": Row("The integer 2^70", NOT_TRIED, "an error without the column", "kept: 1180591620717411303424"),
        "nul": Row("A NUL character in a text", NOT_TRIED, "taken out, not told", "refused: column `note` row 1"),
        "mixed": Row(
            "An integer, then a text in one column",
            NOT_TRIED,
            "a second column is made",
            "refused: rows.jsonl, line 2, column `id`: text after bigint",
        ),
        "case": Row(
            "Columns `Order` and `order`",
            "the load fails",
            "one column; a value is lost, not told",
            "refused: columns `Order` and `order` differ only by case",
        ),
        "reserved": Row("Columns named `select` and `order`", "a syntax error", "kept", "kept: 3, 4"),
        "attack": Row(
            "A table named `zz (id int); drop table victim; create table qq`",
            "`victim` is dropped",
            "another name is made of it",
            "a table of that name; `victim` is there",
        ),
    },
    "Crashes": {
        "kill": Row(
            "`kill -9` at nine moments of a load, then a second run",
            "9 of 9 right; the history says `running` for ever",
            "10 of 10 right",
            "9 of 9 right",
        ),
        "cut": Row(
            "The connection is cut while rows travel",
            "0 rows; a second run is right",
            NOT_TRIED,
            "0 rows; a second run is right",
        ),
        "bad_row": Row(
            "A bad row; the source is corrected",
            NOT_TRIED,
            "the second run fails on the first one's package",
            "the second run loads all 2 rows",
        ),
    },
    "Two at once": {
        "pairs": Row(
            "Two runs of one incremental load at the same time",
            "doubled in 3 of 3",
            "doubled (120,000 rows for 60,000)",
            "rows lost in 0, doubled in 0 of 50",
        ),
        "zombie": Row(
            "A run stops after its last rows, another one takes over and finishes, the first goes on",
            NOT_TRIED,
            NOT_TRIED,
            "its commit is refused; 7 rows: 0 lost, 0 doubled",
        ),
        "due_twice": Row(
            "The scheduler calls twice in one minute: 10 rows",
            "20 rows: 0 lost, 10 doubled",
            NOT_TRIED,
            "10 rows: 0 lost, 0 doubled",
        ),
    },
    "Schedule and messages": {
        "cron": Row(
            "02:30 in Berlin on both days of a clock change",
            "2 on 2026-10-25, 1 on 2026-03-29",
            NOT_TRIED,
            "1 on 2026-10-25 at 00:30 UTC; 1 on 2026-03-29 at 01:00 UTC",
        ),
        "failing": Row(
            "`flow run` of a load that fails",
            "exit code 1, nothing is said",
            NOT_TRIED,
            "exit code 1; the result, and the reason with the value",
        ),
        "password": Row("A password in the query of a URL", "shown", NOT_TRIED, "shown in 0 of 4 places"),
    },
}
ROWS = {name: row for section in SECTIONS.values() for name, row in section.items()}
