"""Files and servers that are broken, not for us, or go away: one clear error, the target as it was, a right rerun."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.orc as po
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from ematix_nb.connections.kinds import MySQLConnection, PostgresConnection
from ematix_nb.declare.data_types import BIGINT, TEXT
from ematix_nb.errors import FlowError, TransientError
from tests.conformance.matrix import BucketFiles, DuckDB, MySQL, Postgres, SqlSystem, open_system
from tests.conformance.run import Bench
from tests.support.faults import in_front_of
from tests.support.lines import line_to
from tests.support.postgres import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conformance.matrix import System
    from tests.support.lines import Line
    from tests.support.stores import Bucket

COLUMNS = {"id": BIGINT, "name": TEXT}
GOOD = [(1, "one"), (2, "two")]
MORE = pa.table({"id": pa.array(range(100, 2100), pa.int64()), "name": [f"name {n * 7919}" for n in range(2000)]})


def refused(call: Callable[[], object], *told: str) -> FlowError:
    """The one error of a run: it says these things and what to do, and shows no inner error."""
    with pytest.raises(FlowError) as caught:
        call()
    text = str(caught.value)
    assert all(each in text for each in told), text
    assert "Traceback" not in text
    assert caught.value.hint
    return caught.value


# -- files under the prefix ----------------------------------------------------------------------------------------


def encoded(file_format: str, table: pa.Table = MORE) -> bytes:
    """A whole file."""
    sink = io.BytesIO()
    if file_format == "parquet":
        pq.write_table(table, sink)
    elif file_format == "orc":
        po.write_table(table, sink, compression="zlib")
    elif file_format == "csv":
        pc.write_csv(table, sink)
    else:
        sink.write("".join(f'{{"id": {row["id"]}, "name": "{row["name"]}"}}\n' for row in table.to_pylist()).encode())
    return sink.getvalue()


def corrupt(data: bytes, at: float = 0.5) -> bytes:
    """Forty bytes in the middle are others."""
    place = int(len(data) * at)
    return _flipped(data, place)


def footless(data: bytes) -> bytes:
    """A Parquet file with other bytes where its footer begins."""
    return _flipped(data, len(data) - 8 - int.from_bytes(data[-8:-4], "little"))


def _flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes(byte ^ 0xFF for byte in data[place : place + 40]) + data[place + 40 :]


class _Keys(pe.KmsClient):  # type: ignore[misc]  # the class is compiled
    """Wraps keys by nothing but their text."""

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> str:  # noqa: ARG002  the interface's
        return key_bytes.hex()

    def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:  # noqa: ARG002  the interface's
        return bytes.fromhex(wrapped_key)


def encrypted(*, plain_footer: bool) -> bytes:
    """A file whose columns, and perhaps its footer, nobody can read without the key."""
    config = pe.EncryptionConfiguration(
        footer_key="f", column_keys={"c": ["id", "name"]}, plaintext_footer=plain_footer
    )
    factory = pe.CryptoFactory(lambda _: _Keys())
    sink = io.BytesIO()
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), config)
    with pq.ParquetWriter(sink, MORE.schema, encryption_properties=properties) as writer:
        writer.write_table(MORE)
    return sink.getvalue()


@dataclass(frozen=True)
class BadFile:
    """A file that cannot be loaded, and what is said of it."""

    name: str
    format: str
    content: Callable[[], bytes]
    told: str


OTHER = pa.table({"id": ["x"], "name": ["y"]})
BAD_FILES = [
    BadFile("cut off", "parquet", lambda: encoded("parquet")[:-2000], "the file is cut off"),
    BadFile("just begun", "parquet", lambda: encoded("parquet")[:4], "the file is cut off"),
    BadFile("broken pages", "parquet", lambda: corrupt(encoded("parquet")), "the data is broken"),
    BadFile("broken footer", "parquet", lambda: footless(encoded("parquet")), "the footer is broken"),
    BadFile("encrypted", "parquet", lambda: encrypted(plain_footer=False), "the file is encrypted"),
    BadFile("encrypted columns", "parquet", lambda: encrypted(plain_footer=True), "columns of the file are encrypted"),
    BadFile("other schema", "parquet", lambda: encoded("parquet", OTHER), "column `id` is"),
    BadFile("cut off", "orc", lambda: encoded("orc")[:-2000], "the file is cut off"),
    BadFile("broken stripes", "orc", lambda: corrupt(encoded("orc"), 0.3), "the data is broken"),
    BadFile("other schema", "orc", lambda: encoded("orc", OTHER), "column `id` is"),
    BadFile("cut off", "csv", lambda: encoded("csv")[:-9], "csv, line 2001: a quote is never closed"),
    BadFile("other text", "csv", lambda: b'"id","name"\nx,y\n', "`id`"),
    BadFile("other columns", "csv", lambda: b'"id","name"\n5,y,z\n', "csv, line 2"),
    BadFile("not UTF-8", "csv", lambda: b'"id","name"\n5,\xff\xfe\n', "UTF-8"),
    BadFile("cut off", "jsonl", lambda: encoded("jsonl")[:-9], "line 2000"),
    BadFile("other schema", "jsonl", lambda: b'{"id": "x", "name": 5}\n', "`id`"),
]
STORES = {"parquet": "s3", "csv": "s3-csv", "jsonl": "azure-jsonl", "orc": "gcs-orc"}


@pytest.mark.parametrize("where", ["folder", "store"])
@pytest.mark.parametrize("bad", BAD_FILES, ids=[f"{bad.format} {bad.name}" for bad in BAD_FILES])
def test_a_file_that_cannot_be_read(
    bad: BadFile, where: str, tmp_path: Path, fresh_bucket: Callable[[str], Bucket]
) -> None:
    name = bad.format if where == "folder" else STORES[bad.format]
    bucket = fresh_bucket(name.partition("-")[0]) if where == "store" else None
    bench = Bench(DuckDB(tmp_path / "wh.duckdb"), open_system(name, tmp_path / "source", None, bucket=bucket))
    bench.give(COLUMNS, GOOD)
    pipeline = bench.pipeline("truncate")
    pipeline.sync()
    before = bench.rows("id", "name", "_batch_id")
    file = f"src/zzz.{bad.format}"
    put(bench.source, file, bad.content())
    refused(pipeline.sync, f"zzz.{bad.format}", bad.told)
    assert bench.rows("id", "name", "_batch_id") == before
    put(bench.source, file, encoded(bad.format))
    assert pipeline.sync().rows_inserted == len(GOOD) + MORE.num_rows
    bench.check()


def put(source: System, name: str, data: bytes) -> None:
    """A file of somebody else's beside the source's own."""
    if isinstance(source, BucketFiles):
        source.bucket.put(f"{source.prefix}/{name}", data)
        return
    folder: Path = source.folder  # type: ignore[attr-defined]
    (folder / name).write_bytes(data)


# -- stores that do not let us in ----------------------------------------------------------------------------------

FORBIDDEN = (403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
ELSEWHERE = (301, "<Error><Code>PermanentRedirect</Code><Message>use another endpoint</Message></Error>")
CLOSED = {
    "no permission": (FORBIDDEN, "the store refuses"),
    "another region": (ELSEWHERE, "another region"),
}


@pytest.fixture
def store(fresh_bucket: Callable[[str], Bucket], tmp_path: Path) -> BucketFiles:
    system = open_system("s3", tmp_path / "store", None, bucket=fresh_bucket("s3"))
    assert isinstance(system, BucketFiles)
    return system


def by_way_of(store: BucketFiles, endpoint: str) -> None:
    """The connection goes to another endpoint."""
    store.connection = store.bucket.connection("parquet", name="lake", prefix=store.prefix, endpoint=endpoint)


@pytest.mark.parametrize("role", ["source", "target"])
@pytest.mark.parametrize("closed", CLOSED)
def test_a_bucket_that_is_closed_to_us(role: str, closed: str, store: BucketFiles, tmp_path: Path) -> None:
    answer, told = CLOSED[closed]
    other = DuckDB(tmp_path / "wh.duckdb")
    bench = Bench(other, store) if role == "source" else Bench(store, other)
    with in_front_of(store.bucket.endpoint) as faults:
        by_way_of(store, faults.url)
        closes(bench, lambda: setattr(faults, "rule", lambda *_: answer), faults.forget, told)


@pytest.mark.parametrize("role", ["source", "target"])
def test_an_endpoint_where_nobody_answers(role: str, store: BucketFiles, tmp_path: Path) -> None:
    other = DuckDB(tmp_path / "wh.duckdb")
    bench = Bench(other, store) if role == "source" else Bench(store, other)
    right = store.bucket.endpoint
    nobody = f"http://127.0.0.1:{free_port()}"
    closes(bench, lambda: by_way_of(store, nobody), lambda: by_way_of(store, right), "does not answer", nobody)


def closes(bench: Bench, close: Callable[[], None], reopen: Callable[[], None], *told: str) -> None:
    """A first load, one while the store is closed, and one after it."""
    bench.give(COLUMNS, GOOD)
    bench.pipeline("truncate").sync()
    bench.give(COLUMNS, [*GOOD, (3, "three")])
    before = bench.rows("id", "name", "_batch_id")
    close()
    refused(lambda: bench.pipeline("truncate").sync(), *told)
    reopen()
    assert bench.rows("id", "name", "_batch_id") == before
    assert bench.pipeline("truncate").sync().rows_inserted == len(GOOD) + 1
    bench.check()


# -- servers that go away in the middle ----------------------------------------------------------------------------

MANY = 120_000
NUMBERS = {
    "postgres": f"SELECT g AS id, repeat('x', 250) AS name FROM generate_series(1, {MANY}) AS g",
    "mysql": f"SELECT seq AS id, REPEAT('x', 250) AS name FROM seq_1_to_{MANY}",
    "duckdb": f"SELECT range AS id, repeat('x', 250) AS name FROM range({MANY})",
}
SESSIONS = {
    "postgres": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mysql": "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()",
}


def end_sessions(server: SqlSystem) -> None:
    """The server ends every session but this one."""
    with server.driver() as cursor:
        cursor.execute(SESSIONS[server.name])
        for (number,) in cursor.fetchall() if server.name == "mysql" else ():
            cursor.execute(f"KILL {number}")


class Once:
    """Does something at the first batch that was read; and waits until it is done."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act
        self.done = threading.Event()

    def on_event(self, event: Any) -> None:
        if type(event).__name__ == "BatchRead" and not self.done.is_set():
            self.done.set()
            self._act()


@pytest.fixture(params=["postgres", "mysql"])
def server(request: pytest.FixtureRequest) -> SqlSystem:
    if request.param == "postgres":
        return Postgres(request.getfixturevalue("pg_url"))
    return MySQL(request.getfixturevalue("mysql_url"))


WAYS = [("session ended", "append"), ("line cut", "append"), ("line cut", "merge"), ("line hung up", "append")]


@pytest.mark.parametrize(("how", "mode"), WAYS)
@pytest.mark.parametrize("role", ["source", "target"])
def test_a_server_that_goes_away_in_the_middle(
    server: SqlSystem, role: str, how: str, mode: str, tmp_path: Path
) -> None:
    other = DuckDB(tmp_path / "wh.duckdb")
    other.make("zero", {"id": BIGINT}, [])
    bench = Bench(other, server) if role == "source" else Bench(server, other)
    first = {"name": "load", "keys": ("id",)} if mode == "merge" else {"name": "load"}
    bench.pipeline(mode, "SELECT 0 AS id, 'zero' AS name", **first).sync()
    before = bench.rows("id", "name", "_batch_id")
    direct = server.url  # type: ignore[attr-defined]
    with line_to(direct) as line:
        server.connection = connection_to(server, line)
        pipeline = bench.pipeline(mode, NUMBERS[bench.source.name], **first)
        acts = {"line cut": line.cut, "line hung up": line.hang_up, "session ended": lambda: end_sessions(server)}
        gone = Once(acts[how])
        error = refused(lambda: pipeline.sync(listener=gone), "the connection to 127.0.0.1:", "was lost")
        assert isinstance(error, TransientError)
        assert gone.done.is_set()
        line.mend()
        assert bench.rows("id", "name", "_batch_id") == before
        result = pipeline.sync()
        assert (result.counts["rows_read"], result.counts["rows_inserted"]) == (
            MANY,
            MANY - (other is bench.source and mode == "merge"),
        )
        bench.check()


def connection_to(server: SqlSystem, line: Line) -> Any:
    """The server by way of a line."""
    kind = PostgresConnection if server.name == "postgres" else MySQLConnection
    return kind(name=server.connection.name, url=line.url)
