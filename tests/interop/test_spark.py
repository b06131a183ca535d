"""Frames to and from a real Spark: every value as it was, in every time zone, or refused by name."""

from __future__ import annotations

import datetime as dt
import importlib.util
import shutil
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from ematix_nb import DuckDBConnection, ematix, register_connection
from ematix_nb.declare import registry
from ematix_nb.df import from_pyspark, read_df, to_pyspark, write_df
from ematix_nb.errors import DataError, DeclarationError, RunError
from ematix_nb.interop.spark import for_spark
from tests.conftest import missing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ematix_nb.connections import Connection

pytestmark = [
    pytest.mark.spark,
    pytest.mark.nightly,  # the package is 460 MB, and a session starts in 10 to 30 s
    pytest.mark.filterwarnings("ignore"),  # Spark's own, about sockets and about the versions of pandas
]
NAN = float("nan")
NAIVE = [dt.datetime(1, 1, 1), dt.datetime(1582, 10, 10, 12), dt.datetime(2024, 3, 10, 2, 30), dt.datetime.max]  # noqa: DTZ001, DTZ901
MOMENTS = [
    dt.datetime(1, 1, 2, tzinfo=dt.UTC),
    dt.datetime(1850, 1, 1, 0, 0, 0, 1, dt.UTC),
    dt.datetime(2024, 11, 3, 5, 30, tzinfo=dt.UTC),
    dt.datetime(2024, 11, 3, 6, 30, tzinfo=dt.UTC),
]
COLUMNS: dict[str, tuple[pa.DataType, list[Any], str]] = {
    "whole": (pa.int64(), [2**63 - 1, -(2**63), 0], "bigint"),
    "small": (pa.int8(), [-128, 127], "tinyint"),
    "unsigned": (pa.uint64(), [2**64 - 1, 0], "decimal(20,0)"),
    "float": (pa.float32(), [NAN, -0.0, float("-inf")], "float"),
    "double": (pa.float64(), [0.1, NAN, 5e-324, float("inf")], "double"),
    "money": (pa.decimal128(22, 2), [Decimal("12345678901234567890.12"), Decimal("-0.01")], "decimal(22,2)"),
    "longest": (pa.decimal128(38, 10), [Decimal("9" * 28 + "." + "9" * 10)], "decimal(38,10)"),
    "flag": (pa.bool_(), [True, False], "boolean"),
    "text": (pa.string(), ["", "é😀\x00", "NULL"], "string"),
    "bytes": (pa.binary(), [b"", b"\x00\xff"], "binary"),
    "day": (pa.date32(), [dt.date(1, 1, 1), dt.date(1582, 10, 10), dt.date.max], "date"),
    "at": (pa.timestamp("us"), NAIVE, "timestamp_ntz"),
    "moment": (pa.timestamp("us", "UTC"), MOMENTS, "timestamp"),
    "berlin": (pa.timestamp("ms", "Europe/Berlin"), [MOMENTS[2]], "timestamp"),
    "time": (pa.time64("us"), [dt.time.max, dt.time(0)], "time(6)"),
    "span": (pa.duration("us"), [dt.timedelta(days=-3, microseconds=1)], "interval day to second"),
    "list": (pa.list_(pa.timestamp("us")), [[NAIVE[2], None], []], "array<timestamp_ntz>"),
    "record": (
        pa.struct([("x", pa.uint8()), ("y z", pa.timestamp("us", "UTC"))]),
        [{"x": 255, "y z": MOMENTS[1]}, {"x": None, "y z": None}],
        "struct<x:smallint,y z:timestamp>",
    ),
    "map": (pa.map_(pa.string(), pa.int16()), [[("a", 1), ("b", None)]], "map<string,smallint>"),
    "nothing": (pa.null(), [], "void"),
}  # fmt: skip


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    """A session of one thread, and the end of its JVM."""
    if importlib.util.find_spec("pyspark") is None:
        missing('pyspark: pip install "ematix-nb[spark]"')
    if shutil.which("java") is None:
        missing("Java (Debian: `apt-get install default-jre-headless`)")
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    options = {
        "spark.ui.enabled": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.shuffle.partitions": "1",
    }
    made = SparkSession.builder.master("local[1]").config(map=options).getOrCreate()
    gateway = SparkContext._gateway
    yield made
    made.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait(30)
    SparkContext._gateway = SparkContext._jvm = None


@pytest.fixture(params=["UTC", "America/New_York"])
def zone(request: pytest.FixtureRequest, spark: Any) -> str:
    """The zone of the session."""
    spark.conf.set("spark.sql.session.timeZone", request.param)
    return str(request.param)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Connection]:
    with registry.scratch():
        yield register_connection(DuckDBConnection(name="db", path=str(tmp_path / "x.duckdb")))


def everything() -> pa.Table:
    """All columns, padded with NULLs."""
    length = max(len(values) for _, values, _ in COLUMNS.values()) + 1
    arrays = [pa.array([*values, *[None] * (length - len(values))], kind) for kind, values, _ in COLUMNS.values()]
    return pa.table(arrays, names=list(COLUMNS))


def test_every_value_goes_and_comes_back(spark: Any, zone: str) -> None:
    table = everything()
    frame = to_pyspark(table, spark=spark)
    assert dict(frame.dtypes) == {name: kind for name, (_, _, kind) in COLUMNS.items()}
    assert repr(from_pyspark(frame).to_pylist()) == repr(for_spark(table).to_pylist()).replace(
        "tzinfo=<UTC>", "tzinfo=zoneinfo.ZoneInfo(key='UTC')"
    )


def test_spark_itself_sees_the_values(spark: Any, zone: str) -> None:
    """By its own texts of them."""
    frame = to_pyspark(everything().select(["day", "at", "moment", "money", "longest"]), spark=spark)
    texts = frame.selectExpr(*(f"CAST({name} AS STRING) AS {name}" for name in frame.columns)).collect()
    assert [row["day"] for row in texts[:3]] == ["0001-01-01", "1582-10-10", "9999-12-31"]
    assert [row["at"] for row in texts[:3]] == ["0001-01-01 00:00:00", "1582-10-10 12:00:00", "2024-03-10 02:30:00"]
    local = ["2024-11-03 05:30:00", "2024-11-03 06:30:00"] if zone == "UTC" else ["2024-11-03 01:30:00"] * 2
    assert [row["moment"] for row in texts[2:4]] == local
    assert (texts[0]["money"], texts[0]["longest"]) == ("12345678901234567890.12", "9" * 28 + "." + "9" * 10)


def test_values_that_spark_made(spark: Any, zone: str) -> None:
    frame = spark.sql(
        "SELECT timestamp'2024-07-01 12:00:00 UTC' AS moment, timestamp_ntz'2024-07-01 12:00:00' AS at,"
        " date'1582-10-10' AS day, CAST('NaN' AS double) AS d, 1.50 AS n, named_struct('a', array(1, NULL)) AS s,"
        " time'10:00:00.5' AS t"
    )
    (row,) = from_pyspark(frame).to_pylist()
    assert row.pop("moment") == dt.datetime(2024, 7, 1, 12, tzinfo=dt.UTC)
    assert repr(row.pop("d")) == "nan"
    assert row == {
        "at": dt.datetime(2024, 7, 1, 12),  # noqa: DTZ001  without a zone
        "day": dt.date(1582, 10, 10),
        "n": Decimal("1.50"),
        "s": {"a": [1, None]},
        "t": dt.time(10, 0, 0, 500_000),
    }


@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        ("SELECT 1 AS id, parse_json('1') AS v", DataError, "column `v` has the type variant of Spark"),
        ("SELECT array(make_ym_interval(1, 2)) AS v", DataError, "array<interval year to month>"),
        ("SELECT CAST(X'61FF' AS string) AS v", DataError, "column `v` holds text that is not UTF-8"),
        ("SELECT assert_true(id > 5) AS v FROM range(1)", RunError, "could not give the rows.*not true"),
    ],
)
def test_what_has_no_exact_form_is_refused(
    spark: Any, db: Connection, tmp_path: Path, query: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        write_df(db, spark.sql(query), "out")
    assert list(tmp_path.iterdir()) == []


def test_frames_of_spark_are_sources_and_rows_become_frames(spark: Any, db: Connection) -> None:
    assert write_df(db, spark.range(3), "direct").counts["rows_inserted"] == 3

    @ematix.pipeline(target="db:main.out", source_connection="db", mode="merge", keys=("id",))
    def doubled() -> Any:
        return spark.range(3).selectExpr("id", "id * 2 AS twice")

    assert doubled.sync().counts["rows_inserted"] == 3
    assert doubled.to_pyspark(spark=spark).agg({"twice": "sum"}).collect()[0][0] == 6
    found = read_df(db, "SELECT id, twice FROM out ORDER BY id", "pyspark", spark=spark)
    assert [tuple(row) for row in found.collect()] == [(0, 0), (1, 2), (2, 4)]
    assert to_pyspark(pa.table({"a": [1]})).count() == 1  # in the active session


def test_an_empty_table_keeps_its_types(spark: Any) -> None:
    frame = to_pyspark(everything().slice(0, 0), spark=spark)
    assert (from_pyspark(frame).num_rows, len(frame.dtypes)) == (0, len(COLUMNS))
    assert frame.drop("time").count() == 0  # Spark 4.3 counts no TIME unless spark.sql.timeType.enabled says so


def test_wrong_sessions(spark: Any) -> None:
    with pytest.raises(DeclarationError, match="spark= must be a Spark session, got str"):
        to_pyspark(pa.table({"a": [1]}), spark="local")


def test_without_a_session(spark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyspark.sql import SparkSession

    monkeypatch.setattr(SparkSession, "getActiveSession", classmethod(lambda _: None))
    with pytest.raises(DeclarationError, match="no Spark session is active"):
        to_pyspark(pa.table({"a": [1]}))
