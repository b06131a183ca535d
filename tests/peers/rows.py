"""What is tried, and what comes out here; what came out elsewhere is in `found.json`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One case."""

    what: str
    ours: str
    """What the test of this case finds."""


SECTIONS: dict[str, dict[str, Row]] = {
    "Incremental loads": {
        "tie": Row(
            "Ten rows; then one with the watermark's own value, one that is older, one that is newer: 13",
            "13 rows: 0 lost, 0 doubled",
        ),
        "gap": Row("A transaction that began earlier commits later, after a run: 3 rows", "3 rows: 0 lost, 0 doubled"),
    },
    "Merge": {
        "merge_twice": Row("A key twice in one load", "the newer one is kept, 1 counted as deduplicated"),
        "merge_null": Row("A row without a key", "refused: 2 rows have no value in a key column (id)"),
        "merge_unindexed": Row("A target without a unique index on the key", "merged: new, b"),
    },
    "Versions (scd2)": {
        "scd2_twice": Row("The same row twice in one load", "a; 1 current"),
        "scd2_versions": Row("Two versions of a key in one load, with event times", "a, b; 1 current"),
        "scd2_late": Row("An event older than the current version", "a, late, c; 1 current"),
        "scd2_back": Row("A value that comes back: a, b, a", "a, b, a; 1 current"),
        "scd2_empty": Row("The second load finds an empty source", "a; 1 current; warned"),
    },
    "Values": {
        "types": Row(
            "PostgreSQL to PostgreSQL: numeric(38,10), NaN, infinite times, years BC, 5e-324, 1 MB of text, uuid",
            "4 of 4 rows equal",
        ),
        "decimal": Row("A decimal of 18 digits after the point", "kept: 0.012345678901234567"),
        "nan": Row("NaN and infinity", "kept: NaN, Infinity"),
        "big": Row("The integer 2^70", "kept: 1180591620717411303424"),
        "nul": Row("A NUL character in a text", "refused: column `note` row 1"),
        "mixed": Row(
            "An integer, then a text in one column", "refused: rows.jsonl, line 2, column `id`: text after bigint"
        ),
        "case": Row("Columns `Order` and `order`", "refused: columns `Order` and `order` differ only by case"),
        "reserved": Row("Columns named `select` and `order`", "kept: 3, 4"),
        "attack": Row(
            "A table named `zz (id int); drop table victim; create table qq`", "a table of that name; `victim` is there"
        ),
    },
    "Crashes": {
        "kill": Row("`kill -9` at nine moments of a load, then a second run", "9 of 9 right"),
        "cut": Row("The connection is cut while rows travel", "0 rows; a second run is right"),
        "bad_row": Row(
            "A row that a rule of the target's refuses; the source is corrected",
            "2 rows: 0 lost, 0 doubled after the second run",
        ),
    },
    "Two at once": {
        "pairs": Row("Two runs of one incremental load at the same time", "rows lost in 0, doubled in 0 of 50"),
        "zombie": Row(
            "A run stops after its last rows, another one takes over and finishes, the first goes on",
            "its commit is refused; 7 rows: 0 lost, 0 doubled",
        ),
        "due_twice": Row("The scheduler calls twice in one minute: 10 rows", "10 rows: 0 lost, 0 doubled"),
    },
    "Schedule and messages": {
        "cron": Row(
            "02:30 in Berlin on both days of a clock change",
            "1 on 2026-10-25 at 00:30 UTC; 1 on 2026-03-29 at 01:00 UTC",
        ),
        "failing": Row("`flow run` of a load that fails", "exit code 1; the result, and the reason with the value"),
        "password": Row("A password in the query of a URL", "shown in 0 of 4 places"),
    },
}
ROWS = {name: row for section in SECTIONS.values() for name, row in section.items()}
