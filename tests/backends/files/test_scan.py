"""Files that others wrote: types, partitions, drift, broken and foreign files, names that leave the root."""

from __future__ import annotations

import datetime as dt
import decimal
import gzip
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ematix_nb.backends.files import BACKEND
from ematix_nb.connections import ObjectStoreLocalConnection
from ematix_nb.declare.data_types import TEXT
from ematix_nb.declare.spec import Column
from ematix_nb.errors import (
    ConnectError,
    DataError,
    DeclarationError,
    SchemaDriftError,
    TransientError,
    UnknownNameError,
)
from ematix_nb.query import open_file_query

from .test_round_trip import lake, rows

if TYPE_CHECKING:
    from pathlib import Path


def put(root: Path, name: str, text: str | bytes) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def parquet(root: Path, name: str, **columns: Any) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def kinds(root: Path, file_format: str, thing: str) -> dict[str, str]:
    return {column.name: str(column.type) for column in lake(root, file_format).scan(thing).columns}


def test_csv_types_are_inferred_without_changing_a_value(tmp_path: Path) -> None:
    put(
        tmp_path,
        "t.csv",
        "id,zip,price,f,ok,day,at,atz,mixed,none\n"
        "1,007,1.50,1e3,true,2024-02-29,2024-01-01 10:00:00,2024-01-01T10:00:00+01:00,1,\n"
        "22,123,-0.125,2,FALSE,2024-03-01,2024-01-01T10:00:00.5,2024-01-01T10:00:00Z,x,\n",
    )
    assert kinds(tmp_path, "csv", "t.csv") == {
        "id": "bigint",
        "zip": "text",
        "price": "numeric(38,3)",
        "f": "double",
        "ok": "boolean",
        "day": "date",
        "at": "timestamp",
        "atz": "timestamptz",
        "mixed": "text",
        "none": "text",
    }
    [first, _] = rows(lake(tmp_path, "csv"), "select * from t order by id")
    assert first[:3] == (1, "007", decimal.Decimal("1.500"))
    assert first[5] == dt.date(2024, 2, 29)
    assert first[7] == dt.datetime(2024, 1, 1, 9, tzinfo=dt.UTC)
    assert first[9] is None


def test_csv_empty_text_and_null(tmp_path: Path) -> None:
    put(tmp_path, "t.csv", 'a,b\n,""\n"",x\n')
    assert rows(lake(tmp_path, "csv"), "select a, b from t") == [(None, ""), ("", "x")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3\n", r"t\.csv, line 3: Expected 2 columns, got 1"),
        ("a,b\n1,2\n3,4,5\n", r"t\.csv, line 3: Expected 2 columns, got 3"),
        ('a,b\n"x\ny",2\n"z,4\n5,6\n', r"t\.csv, line 4: a quote is never closed"),
        ('a,b\n1,x\n2,"y\n3,z\n', r"t\.csv, line 3: a quote is never closed"),
        ('a,b\n1,x\n2,"y', r"t\.csv, line 3: a quote is never closed"),
        ("a,a\n1,2\n", r"t\.csv, line 1: column name `a` stands twice"),
        ("a,\n1,2\n", r"t\.csv, line 1: a column has no name"),
        (b"a,b\n1,\xff\n", r"t\.csv.* not UTF-8"),
    ],
)
def test_csv_that_is_broken_is_told_with_its_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    put(tmp_path, "t.csv", text)
    with pytest.raises(DataError, match=message):
        rows(lake(tmp_path, "csv"), "select * from t")


def test_a_csv_value_after_the_sample_that_does_not_fit_is_told_with_its_line(tmp_path: Path) -> None:
    put(tmp_path, "t.csv", "a,b\n" + '1,"x\ny"\n' * 60_000 + "oops,z\n")
    with pytest.raises(DataError, match=r"t\.csv, line 120002, column `a`: .*invalid value 'oops'"):
        rows(lake(tmp_path, "csv"), "select * from t")


def test_declared_columns_decide(tmp_path: Path) -> None:
    put(tmp_path, "t.csv", "a\n" + "1\n" * 2000 + "oops\n")
    session = lake(tmp_path, "csv")
    session.declare("t.csv", [Column("a", TEXT)])
    assert rows(session, "select a from t where a > '2'") == [("oops",)]


def test_csv_with_a_record_larger_than_a_block(tmp_path: Path) -> None:
    put(tmp_path, "t.csv", "a,b\n1,x\n2," + "y" * 5_000_000 + "\n3,z\n")
    assert rows(lake(tmp_path, "csv"), "select a, character_length(b) from t") == [(1, 1), (2, 5_000_000), (3, 1)]


def test_csv_without_header_with_bom_and_compressed(tmp_path: Path) -> None:
    put(tmp_path, "bom.csv", b"\xef\xbb\xbfid,x\r\n1,a\r\n")
    put(tmp_path, "z.csv.gz", gzip.compress(b"id,x\n2,b\n"))
    session = lake(tmp_path, "csv")
    assert rows(session, "select id, x from bom union all select id, x from z order by id") == [(1, "a"), (2, "b")]
    put(tmp_path, "n/n.csv", "1;a\n")
    headless = lake(tmp_path, "csv", csv_header=False, csv_delimiter=";")
    assert rows(headless, "select f0, f1 from n") == [(1, "a")]


def test_jsonl_types_and_nesting(tmp_path: Path) -> None:
    put(tmp_path, "t.jsonl", '{"a":1,"b":{"x":[1,2]},"d":"2024-01-01"}\n\n{"a":2.5,"c":null,"b":{"y":"z"}}\n')
    assert kinds(tmp_path, "jsonl", "t.jsonl") == {
        "a": "double",
        "b": "struct(x array(bigint), y text)",
        "d": "text",
        "c": "text",
    }
    assert rows(lake(tmp_path, "jsonl"), "select a, b from t order by a") == [
        (1.0, {"x": [1, 2], "y": None}),
        (2.5, {"x": None, "y": "z"}),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a":1}\n{"a":', r"t\.jsonl, line 2: not a JSON object"),
        ('[{"a":1}]\n', r"t\.jsonl, line 1: expected one JSON object a line, found list"),
        ('{"a":1}\n{"a":"x"}\n', r"t\.jsonl, line 2, column `a`: text after bigint"),
        ('{"a":1,"a":2}\n', r"t\.jsonl, line 1: .*a key stands twice"),
        ('{"a":1}\n' * 2000 + '{"a":"x"}\n', r't\.jsonl, line 2001, column `a`: "x" is not bigint'),
        ('{"a":1}\n' * 2000 + '{"a":1.5}\n', r"t\.jsonl, line 2001, column `a`: 1.5 is not bigint"),
        ('{"a":1}\n' * 2000 + '{"b":1}\n', r"t\.jsonl, line 2001: key `b` is not among"),
        ('{"a":1}\n' * 2000 + '{"a":', r"t\.jsonl, line 2001: not a JSON object"),
    ],
)
def test_jsonl_that_is_broken_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    put(tmp_path, "t.jsonl", text)
    with pytest.raises(DataError, match=message):
        rows(lake(tmp_path, "jsonl"), "select * from t")


@pytest.mark.parametrize("lines", [0, 2000], ids=["in the sample", "after the sample"])
@pytest.mark.parametrize(
    "number", ["9007199254740993", "-9223372036854775807", "18446744073709551615", f"1{'0' * 400}"]
)
@pytest.mark.parametrize("form", ["{}", "[0.5,{}]", '{{"x":{}}}'])
def test_a_json_integer_that_a_double_cannot_hold_is_told(tmp_path: Path, form: str, number: str, lines: int) -> None:
    put(tmp_path, "t.jsonl", "".join(f'{{"a":{form.format(n)}}}\n' for n in (*["0.5"] * (lines + 1), number)))
    with pytest.raises(DataError, match=rf"t\.jsonl, line {lines + 2}, column `a`: .*(would be rounded|is not)"):
        rows(lake(tmp_path, "jsonl"), "select * from t")


def test_json_integers_that_a_double_holds_are_read(tmp_path: Path) -> None:
    numbers = [2**53, -(2**60), 1152921504606847000, 10**22, 3]
    put(tmp_path, "t.jsonl", '{"a":0.5}\n' + "".join(f'{{"a":{number}}}\n' for number in numbers))
    assert [a for (a,) in rows(lake(tmp_path, "jsonl"), "select a from t")] == [0.5, *map(float, numbers)]


def test_json_integers_beyond_64_bits_are_exact(tmp_path: Path) -> None:
    numbers = [1, 2**64 - 1, -(10**37), 9007199254740993]
    put(tmp_path, "t.jsonl", "".join(f'{{"a":{number},"b":[{number}]}}\n' for number in numbers))
    assert kinds(tmp_path, "jsonl", "t.jsonl") == {"a": "numeric(38,0)", "b": "array(numeric(38,0))"}
    found = rows(lake(tmp_path, "jsonl"), "select a, b from t")
    assert [(int(a), [int(n) for n in b]) for a, b in found] == [(number, [number]) for number in numbers]


def test_parquet_types_travel_in_plain_form(tmp_path: Path) -> None:
    parquet(
        tmp_path,
        "t.parquet",
        a=pa.array(["x", None]).dictionary_encode(),
        b=pa.array(["x", "y"], pa.large_string()),
        c=pa.array([1, 2], pa.timestamp("ms", "Europe/Paris")),
        d=pa.array([b"ab", b"cd"], pa.binary(2)),
        e=pa.array([1, 2], pa.time32("ms")),
    )
    session = lake(tmp_path, "parquet")
    assert list(kinds(tmp_path, "parquet", "t.parquet").values()) == ["text", "text", "timestamptz", "bytes", "time"]
    query = open_file_query(session)
    columns = query.describe("select * from t")
    [batch] = query.read("select * from t", columns)
    assert [str(kind) for kind in batch.schema.types] == [
        "string",
        "string",
        "timestamp[us, tz=UTC]",
        "binary",
        "time64[us]",
    ]
    assert batch.to_pylist()[0]["c"] == dt.datetime(1970, 1, 1, 0, 0, 0, 1000, dt.UTC)


def test_schemas_are_joined_by_name_and_widened(tmp_path: Path) -> None:
    parquet(tmp_path, "t/1.parquet", a=pa.array([1], pa.int32()), d=pa.array([decimal.Decimal("1.5")]))
    parquet(tmp_path, "t/2.parquet", b=["x"], a=pa.array([2**40], pa.int64()), d=pa.array([decimal.Decimal("20.25")]))
    parquet(tmp_path, "t/3.parquet", a=pa.nulls(1))
    assert kinds(tmp_path, "parquet", "t") == {"a": "bigint", "d": "numeric(4,2)", "b": "text"}
    assert rows(lake(tmp_path, "parquet"), "select a, b, d from t") == [
        (1, None, decimal.Decimal("1.50")),
        (2**40, "x", decimal.Decimal("20.25")),
        (None, None, None),
    ]


def test_schemas_that_do_not_fit_are_refused_with_both_files(tmp_path: Path) -> None:
    parquet(tmp_path, "t/1.parquet", a=[1])
    parquet(tmp_path, "t/2.parquet", a=["x"])
    with pytest.raises(SchemaDriftError, match=r"`a` is bigint in t/1.parquet and text in t/2.parquet"):
        lake(tmp_path, "parquet").scan("t")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda good: good[: len(good) // 2], r"t/bad.parquet: the file is cut off"),
        (lambda good: b"PK12" + good[4:-4] + b"PK12", r"t/bad.parquet: not a Parquet file \(it begins with b'PK12'\)"),
        (lambda _: b"PAR1" + b"\xff" * 20 + b"PAR1", r"t/bad.parquet: the footer is broken"),
        (lambda good: b"PARE" + good[4:-4] + b"PARE", r"t/bad.parquet: the file is encrypted"),
    ],
)
def test_broken_parquet_is_told_by_name(tmp_path: Path, content: Any, message: str) -> None:
    good = parquet(tmp_path, "t/good.parquet", a=[1]).read_bytes()
    put(tmp_path, "t/bad.parquet", content(good))
    with pytest.raises(DataError, match=message):
        lake(tmp_path, "parquet").scan("t")


def test_broken_pages_are_told_by_name(tmp_path: Path) -> None:
    parquet(tmp_path, "t/1.parquet", a=[1, 2, 3])
    raw = bytearray(parquet(tmp_path, "t/2.parquet", a=list(range(50_000))).read_bytes())
    raw[4:2000] = b"\xff" * 1996
    put(tmp_path, "t/2.parquet", bytes(raw))
    with pytest.raises(DataError, match=r"t/2.parquet: the data is broken"):
        rows(lake(tmp_path, "parquet"), "select sum(a) from t")


def test_markers_are_skipped_and_told(tmp_path: Path) -> None:
    parquet(tmp_path, "t/1.parquet", a=[1])
    for name in ("_SUCCESS", ".1.parquet.crc", "x.crc", ".hidden.parquet", "notes.txt", "_temporary/0.parquet"):
        put(tmp_path, f"t/{name}", b"x")
    put(tmp_path, "t/empty.parquet", b"")
    scan = lake(tmp_path, "parquet").scan("t")
    assert scan.files == ("t/1.parquet",)
    assert scan.skipped == (
        "t/.1.parquet.crc (hidden)",
        "t/.hidden.parquet (hidden)",
        "t/_SUCCESS (hidden)",
        "t/_temporary (hidden)",
        "t/notes.txt (not a data file)",
        "t/x.crc (not a data file)",
        "t/empty.parquet (0 bytes)",
    )


def test_hive_folders_become_typed_columns(tmp_path: Path) -> None:
    parquet(tmp_path, "t/year=2023/city=a/1.parquet", id=[1])
    parquet(tmp_path, "t/year=2024/city=__HIVE_DEFAULT_PARTITION__/1.parquet", id=[2])
    assert kinds(tmp_path, "parquet", "t") == {"id": "bigint", "year": "bigint", "city": "text"}
    session = lake(tmp_path, "parquet")
    assert rows(session, "select id, year, city from t order by id") == [(1, 2023, "a"), (2, 2024, None)]
    query = open_file_query(session)
    plan = query.explain("select id from t where year = 2024")
    assert plan.count("DataSourceExec") == 1
    assert rows(session, 'select id from "t/year=2023/**/*.parquet"') == [(1,)]
    parquet(tmp_path, "t/2.parquet", id=[3])
    with pytest.raises(SchemaDriftError, match="without partitions"):
        session.scan("t")


def test_patterns(tmp_path: Path) -> None:
    for name in ("o/a1.parquet", "o/a2.parquet", "o/b1.parquet", "o/x/a3.parquet"):
        parquet(tmp_path, name, n=[name])
    session = lake(tmp_path, "parquet")
    assert session.scan("o/a*.parquet").files == ("o/a1.parquet", "o/a2.parquet")
    assert session.scan("o/**/a*.parquet").files == ("o/a1.parquet", "o/a2.parquet", "o/x/a3.parquet")
    assert session.scan("o/[ab]1.parquet").files == ("o/a1.parquet", "o/b1.parquet")
    with pytest.raises(UnknownNameError, match="no file fits `o/c"):
        session.scan("o/c*.parquet")


def test_odd_file_names(tmp_path: Path) -> None:
    for name in ("o/a b%20#?.parquet", "o/'\"é😀.parquet"):
        parquet(tmp_path, name, n=[1])
    assert rows(lake(tmp_path, "parquet"), "select sum(n) from o") == [(2,)]


@pytest.mark.parametrize(
    "thing", ["../x", "a/../../x", "/etc/passwd", "~/x", "file:///etc/passwd", "C:\\x", "a\\..\\b", "a\nb"]
)
def test_names_that_leave_the_root_are_refused(tmp_path: Path, thing: str) -> None:
    session = lake(tmp_path, "csv")
    with pytest.raises(DeclarationError, match="is not a name inside the connection"):
        session.scan(thing)
    with pytest.raises(DeclarationError, match="is not a name inside the connection"):
        session.manifest(thing)


def test_links_that_leave_the_root_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "secret/s.csv", "a\n1\n")
    (tmp_path / "lake" / "t").mkdir(parents=True)
    (tmp_path / "lake" / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "lake" / "t" / "s.csv").symlink_to(tmp_path / "secret" / "s.csv")
    session = lake(tmp_path / "lake", "csv")
    for thing in ("out", "out/s.csv", "t", "t/s.csv", "t/*.csv", "out/*"):
        with pytest.raises(DeclarationError, match="leads out of the folder"):
            session.scan(thing)
    with pytest.raises(DeclarationError, match="leads out of the folder"):
        session.manifest("out")


def test_roots_that_are_wrong(tmp_path: Path) -> None:
    put(tmp_path, "file", "x")
    missing = ObjectStoreLocalConnection(name="lake", path=str(tmp_path / "none" / "lake"), format="csv")
    with pytest.raises(ConnectError, match="does not exist"):
        BACKEND.open(missing, read_only=True)
    with pytest.raises(ConnectError, match="does not exist"):
        BACKEND.open(missing)
    with pytest.raises(ConnectError, match="is a file where a folder is wanted"):
        BACKEND.open(ObjectStoreLocalConnection(name="lake", path=str(tmp_path / "file"), format="csv"))


def test_targets_that_are_wrong(tmp_path: Path) -> None:
    put(tmp_path, "t.csv", "a\n")
    session = lake(tmp_path, "csv")
    with pytest.raises(DeclarationError, match="is a file where a folder is wanted"):
        session.manifest("t.csv")
    with pytest.raises(DeclarationError, match="cannot be a target"):
        session.stage("t/*.csv", [], [], "r")


def test_a_file_that_changes_while_it_is_read_is_told(tmp_path: Path) -> None:
    path = put(tmp_path, "t.csv", "a\n" + "1\n" * 10)
    query = open_file_query(lake(tmp_path, "csv"))
    columns = query.describe("select a from t")
    path.write_text("a\n1\n")
    with pytest.raises(TransientError, match=r"t\.csv changed while it was read"):
        list(query.read("select a from t", columns))


def test_tables_lists_folders_and_files(tmp_path: Path) -> None:
    parquet(tmp_path, "raw/orders/year=2024/1.parquet", a=[1])
    put(tmp_path, "x.csv", "a\n1\n")
    assert lake(tmp_path, "parquet").tables() == ["raw/orders", "x.csv"]


def test_a_file_of_another_format_is_read_by_its_ending(tmp_path: Path) -> None:
    put(tmp_path, "x.csv", "a\n1\n")
    put(tmp_path, "m/x.csv", "a\n1\n")
    parquet(tmp_path, "m/y.parquet", a=[2])
    session = lake(tmp_path, "parquet")
    assert rows(session, 'select a from "x.csv"') == [(1,)]
    assert session.scan("m").skipped == ("m/x.csv (csv)",)
