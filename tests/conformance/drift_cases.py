"""What a changed source means, stated once: kind of change x policy x target; the test and the docs follow it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import BIGINT, BOOLEAN, INTEGER, TEXT, DataType

if TYPE_CHECKING:
    from tests.conformance.matrix import Columns

TARGETS = ("postgres", "mysql", "sqlite", "duckdb", "delta", "parquet", "csv", "jsonl", "orc")
POLICIES = ("evolve", "freeze", "quarantine")
BIG = 2**40
DATE = DataType("date")


@dataclass(frozen=True)
class Change:
    """A source as the first run found it, and as the second one does."""

    words: str
    before: Columns
    first: tuple[tuple[Any, ...], ...]
    after: Columns
    second: tuple[tuple[Any, ...], ...]


CHANGES = {
    "added": Change(
        "a column `more` is new",
        {"id": INTEGER, "name": TEXT}, ((1, "a"),),
        {"id": INTEGER, "name": TEXT, "more": TEXT}, ((2, "b", "c"), (3, "d", None)),
    ),
    "widened": Change(
        "`v` was `integer` and is `bigint`",
        {"id": INTEGER, "v": INTEGER}, ((1, 10),),
        {"id": INTEGER, "v": BIGINT}, ((2, BIG), (3, 7)),
    ),
    "narrowed": Change(
        "`v` was `bigint` and is `integer`",
        {"id": INTEGER, "v": BIGINT}, ((1, BIG),),
        {"id": INTEGER, "v": INTEGER}, ((2, 7),),
    ),
    "renamed": Change(
        "`name` is called `title` now",
        {"id": INTEGER, "name": TEXT}, ((1, "a"),),
        {"id": INTEGER, "title": TEXT}, ((2, "b"), (3, None)),
    ),
    "dropped": Change(
        "`name` is not there any more",
        {"id": INTEGER, "name": TEXT}, ((1, "a"),),
        {"id": INTEGER}, ((2,),),
    ),
    "reordered": Change(
        "`name` comes before `id`",
        {"id": INTEGER, "name": TEXT}, ((1, "a"),),
        {"name": TEXT, "id": INTEGER}, (("b", 2),),
    ),
    "retyped": Change(
        "`v` was `integer` and is `text`, which may hold numbers",
        {"id": INTEGER, "v": INTEGER}, ((1, 10),),
        {"id": INTEGER, "v": TEXT}, ((2, "12"), (3, "twelve"), (4, "007")),
    ),
    "exchanged": Change(
        "`v` was `date` and is `boolean`, which is never a date",
        {"id": INTEGER, "v": DATE}, ((1, dt.date(2024, 2, 29)),),
        {"id": INTEGER, "v": BOOLEAN}, ((2, True), (3, None)),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Loaded:
    """The run commits."""

    words: str
    rows: tuple[tuple[Any, ...], ...]
    """The target's rows afterwards, in the columns that it then has."""
    columns: tuple[str, ...]
    schema: tuple[str, ...] = ()
    """What the preview says of the schema, as regular expressions; nothing: the target stays as it is."""
    told: str = ""
    """A part of a warning or note."""
    held: tuple[tuple[int, str, dict[str, Any]], ...] = ()
    """Rows in quarantine: number, reason (a regular expression), the row."""


@dataclass(frozen=True)
class Refused:
    """Preview and run end with one error, and nothing is written."""

    words: str
    error: str
    """A regular expression."""


_NARROW = Loaded("loads: every value fits, and the target stays as it is", ((1, BIG), (2, 7)), ("id", "v"))
_ORDER = Loaded("loads: columns are told by their names", ((1, "a"), (2, "b")), ("id", "name"))
_DROP = Loaded(
    "loads; `name` stays and is NULL in new rows; a note says so",
    ((1, "a"), (2, None)), ("id", "name"), told="columns of the target that the source does not give: name",
)  # fmt: skip
_VALUE = r"column `v`, row 2: 'twelve' does not fit integer"

STATED: dict[tuple[str, str], Loaded | Refused] = {
    ("added", "evolve"): Loaded(
        "the column joins the target, NULL in old rows",
        ((1, "a", None), (2, "b", "c"), (3, "d", None)), ("id", "name", "more"), (r"(?=.*`?more`?)(add|new|.*is new)",),
    ),
    ("added", "freeze"): Refused("refused, names `more`", r"column `more` \(text\) is missing in the target"),
    ("added", "quarantine"): Loaded(
        "rows without a value in `more` are loaded, the others go to quarantine",
        ((1, "a"), (3, "d")), ("id", "name"),
        held=((1, r"column `more` is not in the target", {"id": 2, "name": "b", "more": "c"}),),
    ),
    ("widened", "evolve"): Loaded(
        "the target's column becomes `bigint`",
        ((1, 10), (2, BIG), (3, 7)), ("id", "v"), (r"widen column v from integer to bigint",),
    ),
    ("widened", "freeze"): Refused(
        "refused, names `v`", r"column `v` is integer in the target and bigint in the source"
    ),
    ("widened", "quarantine"): Loaded(
        "rows whose value fits `integer` are loaded, the others go to quarantine",
        ((1, 10), (3, 7)), ("id", "v"),
        held=((1, r"column `v`, row 1: .*1099511627776.* does not fit integer", {"id": 2, "v": BIG}),),
    ),
    **{("narrowed", policy): _NARROW for policy in POLICIES},
    ("renamed", "evolve"): Loaded(
        "`title` joins the target, `name` stays and is NULL in new rows; a warning shows how to keep one column",
        ((1, "a", None), (2, None, "b"), (3, None, None)), ("id", "name", "title"), (r"(?=.*`?title`?)(add|.*is new)",),
        told="if it was renamed, column_map={'name': 'title'} keeps one column",
    ),
    ("renamed", "freeze"): Refused(
        "refused, names `title` and `name`",
        r"column `title` \(text\) is missing in the target; column `name` of the target is not in the source",
    ),
    ("renamed", "quarantine"): Loaded(
        "rows without a value in `title` are loaded, the others go to quarantine",
        ((1, "a"), (3, None)), ("id", "name"),
        held=((1, r"column `title` is not in the target", {"id": 2, "title": "b"}),),
    ),
    ("dropped", "evolve"): _DROP,
    ("dropped", "freeze"): Refused("refused, names `name`", r"column `name` of the target is not in the source"),
    ("dropped", "quarantine"): _DROP,
    **{("reordered", policy): _ORDER for policy in POLICIES},
    ("retyped", "evolve"): Refused("values that are whole numbers fit; the first other one is refused by row", _VALUE),
    ("retyped", "freeze"): Refused("refused, names `v`", r"column `v` is integer in the target and text in the source"),
    ("retyped", "quarantine"): Loaded(
        "rows whose value is a whole number are loaded, the others go to quarantine",
        ((1, 10), (2, 12)), ("id", "v"),
        held=(
            (2, _VALUE, {"id": 3, "v": "twelve"}),
            (3, r"column `v`, row 3: '007' does not fit integer", {"id": 4, "v": "007"}),
        ),
    ),
    ("exchanged", "evolve"): Refused("refused, names `v`", r"column `v` \(boolean\) does not go into date unchanged"),
    ("exchanged", "freeze"): Refused(
        "refused, names `v`", r"column `v` is date in the target and boolean in the source"
    ),
    ("exchanged", "quarantine"): Loaded(
        "rows without a value in `v` are loaded, the others go to quarantine",
        ((1, dt.date(2024, 2, 29)), (3, None)), ("id", "v"),
        held=((1, r"column `v` \(boolean\) does not go into date", {"id": 2, "v": True}),),
    ),
}  # fmt: skip
"""The result on every target that is not named in `ELSEWHERE`."""

ELSEWHERE: dict[tuple[str, str, str], Loaded | Refused] = {
    ("widened", "evolve", "sqlite"): Refused(
        "refused, names `v`: SQLite cannot change the type of a column",
        r"column `v` of `.*tgt` would have to become bigint",
    ),
    ("widened", "evolve", "delta"): Refused(
        "a Delta column keeps its type: values that fit are loaded, the first other one is refused by row",
        r"column `v`, row 1: .*1099511627776.* does not fit integer",
    ),
}
"""Where a target cannot do what the others do."""


def stated(kind: str, policy: str, target: str) -> Loaded | Refused:
    """The result of a run."""
    return ELSEWHERE.get((kind, policy, target)) or STATED[kind, policy]
