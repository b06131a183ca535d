"""A text as watermark: compared by code point in every system, whatever its collations are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.declare.data_types import BIGINT, TEXT
from ematix_nb.errors import DataError, DeclarationError, UsageError
from ematix_nb.load.targets import open_state
from ematix_nb.state.model import Watermark
from ematix_nb.verbs.dispatch import Call
from ematix_nb.verbs.grammar import parse
from tests.conformance.conftest import pairs
from tests.conformance.run import counts

if TYPE_CHECKING:
    from ematix_nb.api import Pipeline
    from tests.conformance.run import Bench

COLUMNS = {"id": BIGINT, "code": TEXT}
TEN = [(number, f"c{number:02}") for number in range(1, 11)]
ORDERED = (
    "",
    " ",
    "B",
    "Z",
    "Z ",
    "a",
    "a ",
    "aa",
    "e\u0301",
    "\u00e4",
    "\u00e9",
    "\uff5e",
    "\U0001f600",
    "\U0001f600z",
)
"""By code point; a collation, UTF-16, and a comparison that pads with blanks give other orders."""
SQL = ("postgres", "mysql", "duckdb", "sqlite")
COLLATED = {
    "postgres": 'text COLLATE "en-x-icu"',
    "mysql": "varchar(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci",
    "duckdb": "VARCHAR COLLATE NOCASE",
    "sqlite": "TEXT COLLATE RTRIM",
}


def appending(bench: Bench, **options: Any) -> Pipeline:
    return bench.pipeline("append", incremental=True, **{"watermark_column": "code", **options})


def stored(pipeline: Pipeline) -> Watermark | None:
    with open_state(pipeline.spec, pipeline.spec.targets[0]) as (store, name):
        return store.watermark(name)


def ids(bench: Bench) -> list[int]:
    return sorted(row[0] for row in bench.rows("id"))


def between(*names: str) -> pytest.MarkDecorator:
    """One pair of systems for each source: into DuckDB, or SQLite."""
    found = [((("sqlite" if name == "duckdb" else "duckdb"), name), name) for name in names]
    return pytest.mark.parametrize("bench", [pytest.param(pair, id=name) for pair, name in found], indirect=True)


@pytest.mark.parametrize("bench", pairs("append"), indirect=True)
def test_ten_rows_then_a_tie_a_late_row_and_a_new_one(bench: Bench) -> None:
    bench.give(COLUMNS, TEN)
    pipeline = appending(bench)
    assert counts(pipeline.sync()) == {"read": 10, "inserted": 10}
    bench.more([(11, "c10"), (12, "c04x"), (13, "c11"), (14, None)])
    expected = {"read": 4, "inserted": 3, "deduplicated": 1}
    shown = pipeline.preview().targets[0].plan
    assert shown.window is not None
    assert (shown.window.stored, shown.window.lower) == ("c10", "c10")
    assert counts(pipeline.dry_run()) == expected
    assert counts(pipeline.sync()) == expected
    assert ids(bench) == [*range(1, 12), 13, 14]  # without an overlap nobody asks for what came late
    assert "inserted" not in counts(pipeline.sync())
    assert ids(bench) == [*range(1, 12), 13, 14]
    found = stored(pipeline)
    assert found is not None
    assert (found.column, found.value, found.type) == ("code", "c11", found.type.rstrip("+"))
    bench.check()


@pytest.mark.parametrize("last", range(1, len(ORDERED)), ids=lambda last: repr(ORDERED[last]))
@between(*SQL)
def test_texts_are_compared_by_code_point(bench: Bench, last: int) -> None:
    rows = list(enumerate(ORDERED))
    bench.give(COLUMNS, rows[: last + 1][::-1])
    pipeline = appending(bench)
    assert pipeline.sync().targets[0].watermark_after == ORDERED[last]
    bench.more([(100 + number, text) for number, text in rows])
    assert counts(pipeline.sync())["inserted"] == len(ORDERED) - last
    assert ids(bench)[last + 1 :] == [100 + number for number in range(last, len(ORDERED))]
    assert stored(pipeline) == Watermark("code", ORDERED[-1], "text")
    assert "inserted" not in counts(pipeline.sync())


@pytest.mark.parametrize("target", ["itself", "other"])
@between(*SQL)
def test_the_collation_of_a_column_does_not_count(bench: Bench, target: str) -> None:
    if target == "itself":
        bench.target = bench.source
    kind = COLLATED[bench.source.name]
    bench.columns = {"id": BIGINT, "code": TEXT}
    bench.source.execute(f"CREATE TABLE src (id BIGINT, code {kind})")  # type: ignore[attr-defined]
    bench.more([(1, "b"), (2, "Z"), (3, "B")])
    pipeline = appending(bench)
    assert pipeline.sync().targets[0].watermark_after == "b"
    bench.more([(4, "C"), (5, "a"), (6, "b"), (7, "b "), (8, "c")])
    assert counts(pipeline.sync())["inserted"] == 3
    assert ids(bench) == [1, 2, 3, 6, 7, 8]
    assert stored(pipeline) == Watermark("code", "c", "text" if bench.source.name != "mysql" else "string")


@between(*SQL)
def test_of_two_rows_with_one_key_the_larger_text_stays(bench: Bench) -> None:
    columns = {"id": BIGINT, "code": TEXT}
    bench.give(columns, [(1, "a"), (1, "B"), (2, "\U0001f600"), (2, "\uff5e"), (3, "Z"), (3, "Z ")])
    bench.target = bench.source
    pipeline = bench.pipeline("merge", keys=("id",), incremental=True, watermark_column="code")
    assert counts(pipeline.sync()) == {"read": 6, "inserted": 3, "deduplicated": 3}
    assert dict(bench.rows("id", "code")) == {1: "a", 2: "\U0001f600", 3: "Z "}


@pytest.mark.parametrize(
    "bench", [pair for pair in pairs("append", same=False) if "sqlite" in str(pair.id)], indirect=True
)
def test_an_empty_text_is_the_smallest(bench: Bench) -> None:
    bench.give(COLUMNS, [(1, "")])
    pipeline = appending(bench)
    assert counts(pipeline.sync()) == {"read": 1, "inserted": 1}
    bench.more([(1, ""), (2, "a"), (3, None)])
    assert counts(pipeline.sync())["inserted"] == 3
    assert "inserted" not in counts(pipeline.sync())


@pytest.mark.parametrize("bench", [pair for pair in pairs("append") if "s3" not in str(pair.id)], indirect=True)
def test_long_texts_are_compared_to_their_end(bench: Bench) -> None:
    """Logs and footers keep the front part of a text as its bound; sorting in some systems looks at the front alone."""
    front = "x" * 3000
    bench.give(COLUMNS, [(1, front + "B"), (2, front + "a"), (3, front[:-1] + "\U0010ffff")])
    bench.more([(4, front + "\U0010ffff")])
    pipeline = appending(bench)
    top = front[:-1] + "\U0010ffff"
    assert pipeline.sync().targets[0].watermark_after == top
    bench.more([(5, top), (6, top + "a"), (7, front + "z")])
    assert counts(pipeline.sync()) == {"read": 3, "inserted": 2, "deduplicated": 1}
    assert ids(bench) == [1, 2, 3, 4, 5, 6]
    assert stored(pipeline) == Watermark("code", top + "a", "text")


@between("sqlite")
def test_a_text_is_set_and_shown_as_it_is(bench: Bench) -> None:
    bench.give(COLUMNS, TEN)
    pipeline = appending(bench, name="load")
    pipeline.sync()
    for text in (
        "c05",
        "bigint+",
        "+",
        " c05 ",
        'it\'s "c"',
        "\u00e9\U0001f600",
        "15",
        "2026-01-01",
        '["a", "b"]',
        "NULL",
    ):
        change = flow("set", "load", text, "--yes")
        assert change.rows[0][-1] == text
        assert stored(pipeline) == Watermark("code", text, "text")
        assert flow("show", "load").rows[0][2:] == ("code", text, "text")
        window = pipeline.preview().targets[0].plan.window
        assert window is not None
        assert (window.stored, window.lower, window.ahead) == (text, text, False)


def flow(*words: str) -> Any:
    """A line of the command or the magic, as words."""
    return Call(parse(["watermark", *words])).run()


@between("sqlite")
def test_an_overlap_of_texts_is_refused(bench: Bench) -> None:
    bench.give(COLUMNS, TEN)
    for overlap in ("10m", 5):
        with pytest.raises(DeclarationError, match=r"overlap is .* but watermark column `code` is text: texts have no"):
            appending(bench, overlap=overlap).sync()
    assert counts(appending(bench, overlap=0).sync()) == {"read": 10, "inserted": 10}


@between("sqlite", "duckdb")
def test_a_watermark_with_nul_is_refused(bench: Bench) -> None:
    bench.give(COLUMNS, [(1, "a"), (2, "a\x00")])
    with pytest.raises(DataError, match=r"the watermark 'a\\x00' holds a NUL character"):
        appending(bench, on_nul="strip").sync()
    with pytest.raises(UsageError, match="holds a NUL character"):
        flow("set", "load", "a\x00b", "--yes")


OWN_ORDER = [
    ("postgres", "CREATE TYPE mood AS ENUM ('b', 'a')", "mood", "`mood` in postgres"),
    ("postgres", "", "char(3)", r"`character\(3\)` in postgres"),
    ("duckdb", "", "ENUM ('b', 'a')", r"`ENUM\('b', 'a'\)` in duckdb"),
    ("sqlite", "PRAGMA encoding = 'UTF-16le'", "TEXT", r"\(text\) is kept as UTF-16le in sqlite"),
]


@pytest.mark.parametrize(
    ("bench", "before", "kind", "why"),
    [pytest.param(("duckdb", name), *rest, id=rest[1]) for name, *rest in OWN_ORDER],
    indirect=["bench"],
)
def test_texts_with_an_order_of_their_own_are_refused(bench: Bench, before: str, kind: str, why: str) -> None:
    with bench.source.driver() as cursor:  # type: ignore[attr-defined]
        for statement in filter(None, (before, f"CREATE TABLE src (id BIGINT, code {kind})")):
            cursor.execute(statement)
    with pytest.raises(DeclarationError, match=f"watermark column `code`.*{why}"):
        appending(bench).sync()


@pytest.mark.parametrize("bench", [("duckdb", "postgres")], indirect=True, ids=["postgres"])
def test_a_late_text_is_found_by_its_transaction(bench: Bench) -> None:
    bench.source.execute('CREATE TABLE src (id BIGINT, code text COLLATE "en-x-icu")')  # type: ignore[attr-defined]
    bench.columns = COLUMNS
    bench.more([(number, f"c{number:02}") for number in range(1, 11)])
    pipeline = appending(bench, late_rows="snapshot")
    assert counts(pipeline.sync()) == {"read": 10, "inserted": 10}
    bench.more([(11, "c10"), (12, "C04"), (13, "c11"), (14, "b")])
    assert counts(pipeline.sync())["inserted"] == 4
    assert ids(bench) == list(range(1, 15))
    assert "inserted" not in counts(pipeline.sync())


@pytest.mark.parametrize(
    "bench",
    [pytest.param(pair, id=pair[0]) for pair in (("duckdb", "sqlite"), ("parquet", "duckdb"), ("delta", "sqlite"))],
    indirect=True,
)
def test_a_range_of_texts_is_loaded_again(bench: Bench) -> None:
    bench.give(COLUMNS, TEN)
    pipeline = appending(bench)
    pipeline.sync()
    bench.more([(11, "C"), (12, "c04x"), (13, "c06"), (14, None)])
    assert counts(pipeline.backfill("c04", "c06")) == {"read": 3, "inserted": 1, "deduplicated": 2}
    assert counts(pipeline.backfill("", "c02")) == {"read": 2, "inserted": 1, "deduplicated": 1}
    assert ids(bench) == [*range(1, 13)]
    with pytest.raises(UsageError, match=r"`--chunk 5` does not fit .* texts have no distances"):
        pipeline.backfill("a", "b", 5)
    with pytest.raises(UsageError, match="the range from b to B is empty"):
        pipeline.backfill("b", "B")
