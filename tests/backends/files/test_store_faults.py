"""Stores that refuse, are not there, go away or lose answers: one clear error, the target as it was, a right rerun."""

from __future__ import annotations

import contextlib
import io
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ematix_nb.backends.files import BACKEND, azure, gcs, obstores, s3
from ematix_nb.declare import registry
from ematix_nb.declare.data_types import BIGINT, TEXT
from ematix_nb.errors import ConfigError, ConnectError, DeclarationError, FlowError, TransientError, UsageError
from ematix_nb.query import open_file_query
from tests.conformance.matrix import BucketFiles, DuckDB, System, open_system
from tests.conformance.run import Bench
from tests.support.azure import ACCOUNT, VERSION, sign
from tests.support.faults import CUT, DEAF, DROP, LOSE, Fault, Faults, in_front_of
from tests.support.postgres import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.stores import Bucket

BUCKETS = ("s3", "azure", "gcs")
COLUMNS = {"id": BIGINT, "name": TEXT}
SECRETS = ("tester-secret", "Eby8vdM02xNOcqFlqUwJPLlm", "sig=")
PATIENCE_S = 45
ROWS = 160_000


@pytest.fixture(autouse=True)
def _empty_registry() -> Iterator[None]:
    with registry.scratch():
        yield


@pytest.fixture(autouse=True)
def _less_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcs, "RETRY_SECONDS", 2)
    monkeypatch.setattr(gcs, "PROBE_SECONDS", 1)
    monkeypatch.setattr(obstores, "RETRIES", {**obstores.RETRIES, "max_retries": 2})
    for module in (s3, azure):
        monkeypatch.setattr(module, "RETRIES", {**obstores.RETRIES, "max_retries": 2})


@pytest.fixture(params=BUCKETS)
def bucket(request: pytest.FixtureRequest, fresh_bucket: Callable[[str], Bucket]) -> Bucket:
    return fresh_bucket(request.param)


@pytest.fixture
def faults(bucket: Any) -> Iterator[Faults]:
    with in_front_of(bucket.endpoint) as proxy:
        yield proxy


@pytest.fixture
def bench(bucket: Bucket, faults: Faults, tmp_path: Path) -> Bench:
    """From DuckDB into the store, by way of the proxy."""
    target = open_system(bucket.store, tmp_path / "target", None, bucket=bucket)
    assert isinstance(target, BucketFiles)
    target.connection = bucket.connection("parquet", prefix=target.prefix, endpoint=faults.url)
    found = Bench(target, DuckDB(tmp_path / "source.duckdb"))
    found.give(COLUMNS, [(1, "a"), (2, "b")])
    found.pipeline("append").sync()
    found.give(COLUMNS, [(3, "c")])
    return found


def failure(call: Callable[[], object]) -> FlowError:
    """The error of a call, which shows no secret and takes not too long."""
    started = time.monotonic()
    with pytest.raises(FlowError) as caught:
        call()
    assert time.monotonic() - started < PATIENCE_S
    assert not any(secret in str(caught.value) for secret in SECRETS)
    return caught.value


def opened(there: Bucket, /, **settings: Any) -> Callable[[], object]:
    return lambda: BACKEND.open(there.connection("parquet", **settings))


def is_data(path: str) -> bool:
    return "part-" in path and "_ematix_flow" not in path


def is_manifest(path: str) -> bool:
    return "/manifest/" in path and path.endswith(".json")


# -- places that are not there, or not for us ----------------------------------------------------------------------


def test_a_bucket_that_is_not_there(bucket: Bucket) -> None:
    setting = "container" if bucket.store == "azure" else "bucket"
    error = failure(opened(bucket, **{setting: "not-there-at-all"}))
    assert isinstance(error, ConnectError)
    assert "there is no bucket" in str(error)


def test_a_server_that_is_not_there(bucket: Bucket) -> None:
    error = failure(opened(bucket, endpoint=f"http://127.0.0.1:{free_port()}/x"))
    assert isinstance(error, ConnectError)
    assert "does not answer" in str(error)


@pytest.mark.parametrize("settings", [{"bucket": "Ä B"}, {"endpoint": "no url"}])
def test_settings_that_no_store_can_have(fresh_bucket: Callable[[str], Bucket], settings: dict[str, str]) -> None:
    assert isinstance(failure(opened(fresh_bucket("s3"), **settings)), UsageError)


def test_a_wrong_key(fresh_bucket: Callable[[str], Bucket]) -> None:
    error = failure(opened(fresh_bucket("azure"), account_key="c2VjcmV0LXRlc3Rlci1zZWNyZXQ="))
    assert isinstance(error, ConnectError)
    assert "refuses to list" in str(error)
    assert "c2VjcmV0" not in str(error)
    error = failure(opened(fresh_bucket("azure"), account_key="not base64 at all!"))
    assert isinstance(error, (ConnectError, DeclarationError))
    assert "not base64" not in str(error)


@pytest.mark.parametrize("bucket", ["s3"], indirect=True)
def test_a_wrong_region(bucket: Bucket, faults: Faults) -> None:
    body = "<Error><Code>PermanentRedirect</Code><Message>use another endpoint</Message></Error>"
    faults.rule = lambda _method, _path: (400, body.replace("PermanentRedirect", "AuthorizationHeaderMalformed"))
    assert "another region" in str(failure(opened(bucket, endpoint=faults.url)))
    faults.rule = lambda _method, _path: (301, body)
    assert "another region" in str(failure(opened(bucket, endpoint=faults.url)))


@pytest.mark.parametrize("bucket", ["gcs"], indirect=True)
def test_a_service_account_that_is_none(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text('{"type": "service_account", "private_key": "hunter22"}')
    for path in ("key.json", "missing.json"):
        error = failure(opened(bucket, anonymous=False, service_account=str(tmp_path / path)))
        assert isinstance(error, ConfigError)
        assert "service account's file" in str(error)
        assert "hunter22" not in str(error)


@pytest.mark.parametrize("bucket", ["azure"], indirect=True)
def test_who_may_only_read_reads_and_is_refused_to_write(bucket: Bucket, bench: Bench) -> None:
    token = sas(bucket.name, "rl")
    reader = bucket.connection("parquet", prefix="some/where", sas_token=token)
    query = open_file_query(BACKEND.open(reader, read_only=True))
    assert query.fetch("select id, name from tgt order by id") == [(1, "a"), (2, "b")]
    before = bench.target.everything()
    bench.target.connection = reader
    error = failure(lambda: bench.pipeline("append").sync())
    assert "the store refuses to write" in str(error)
    assert token not in str(error)
    assert bench.target.everything() == before


def sas(container: str, rights: str) -> str:
    """A signed token for a container."""
    end = "2099-01-01T00:00:00Z"
    parts = [rights, "", end, f"/blob/{ACCOUNT}/{container}", "", "", "", VERSION, "c", "", "", "", "", "", "", ""]
    from urllib.parse import quote

    return f"sv={VERSION}&sr=c&sp={rights}&se={quote(end)}&sig={quote(sign(chr(10).join(parts)), safe='')}"


# -- a run that is disturbed ---------------------------------------------------------------------------------------

REFUSED = (403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
BUSY = (503, "<Error><Code>SlowDown</Code></Error>")


@pytest.mark.parametrize(
    ("fault", "message"),
    [(REFUSED, "the store refuses to write"), (BUSY, "does not answer"), (DROP, "does not answer")],
    ids=["refused", "busy", "gone"],
)
def test_data_that_cannot_be_written(bench: Bench, faults: Faults, fault: Fault, message: str) -> None:
    before = bench.rows("id", "name")
    faults.rule = lambda method, path: fault if method in ("PUT", "POST") and is_data(path) else None
    error = failure(lambda: bench.pipeline("append").sync())
    assert message in str(error)
    assert bench.rows("id", "name") == before
    faults.forget()
    assert bench.pipeline("append").sync().rows_inserted == 1
    assert bench.rows("id", "name") == [*before, (3, "c")]
    bench.check()


def test_a_manifest_that_is_refused(bench: Bench, faults: Faults) -> None:
    before = bench.rows("id", "name")
    seen: list[str] = []

    def rule(method: str, path: str) -> Fault:
        if method in ("PUT", "POST"):
            seen.append("data" if is_data(path) else "manifest" if is_manifest(path) else "")
        return REFUSED if method in ("PUT", "POST") and seen[-2:] == ["data", "manifest"] else None

    faults.rule = rule
    error = failure(lambda: bench.pipeline("append").sync())
    assert "the store refuses to write" in str(error)
    assert bench.rows("id", "name") == before
    faults.forget()
    bench.pipeline("append").sync()
    assert bench.rows("id", "name") == [*before, (3, "c")]
    bench.check()


def test_an_answer_to_a_manifest_that_is_lost(bench: Bench, faults: Faults) -> None:
    """The store has it: the run finds that out, and counts once."""
    lost = set()

    def rule(method: str, path: str) -> Fault:
        if method in ("PUT", "POST") and is_manifest(path) and path not in lost:
            lost.add(path)
            return LOSE
        return None

    faults.rule = rule
    result = bench.pipeline("append").sync()
    assert (result.status, result.rows_inserted) == ("success", 1)
    assert lost
    assert bench.rows("id", "name") == [(1, "a"), (2, "b"), (3, "c")]
    faults.forget()
    bench.check()


@pytest.mark.parametrize("bucket", ["s3"], indirect=True)
def test_a_store_without_conditional_writes_is_no_target(bench: Bench, faults: Faults) -> None:
    before = bench.rows("id", "name")
    faults.rule = lambda method, _path: DEAF if method == "PUT" else None
    assert "it cannot be a target" in str(failure(lambda: bench.pipeline("append").sync()))
    assert bench.rows("id", "name") == before


def test_files_that_cannot_be_revealed_are_revealed_by_the_next_run(bench: Bench, faults: Faults) -> None:
    def is_copy(path: str) -> bool:
        return "rewriteTo" in path or (is_data(path) and ".tmp" not in path)

    faults.rule = lambda method, path: REFUSED if method in ("PUT", "POST") and is_copy(path) else None
    with contextlib.suppress(FlowError):  # it may be told: the rows are there
        bench.pipeline("append").sync()
    faults.forget()
    assert bench.target.leftovers() != []
    query = open_file_query(BACKEND.open(bench.target.connection, read_only=True))
    assert query.fetch("select id from tgt order by id") == [(1,), (2,), (3,)]
    bench.give(COLUMNS, [(4, "d")])
    bench.pipeline("append").sync()
    assert bench.rows("id") == [(1,), (2,), (3,), (4,)]
    bench.check()


# -- a source that is disturbed ------------------------------------------------------------------------------------


def big(value: int) -> bytes:
    """A Parquet object of several MiB in several row groups."""
    sink = io.BytesIO()
    table = pa.table({"id": pa.array([value] * ROWS), "x": pa.array([(n * 7919) % 10**9 for n in range(ROWS)])})
    pq.write_table(table, sink, row_group_size=ROWS // 4, compression="none", use_dictionary=False)
    return sink.getvalue()


def reading(bucket: Bucket, faults: Faults, tmp_path: Path) -> Bench:
    bucket.put("some/where/src/a.parquet", big(1))
    source = open_system(bucket.store, tmp_path / "there", None, bucket=bucket)
    assert isinstance(source, BucketFiles)
    source.connection = bucket.connection("parquet", prefix=source.prefix, endpoint=faults.url)
    target: System = DuckDB(tmp_path / "target.duckdb")
    return Bench(target, source)


def of_data(faults: Faults) -> int:
    """How many ranges were asked for."""
    return sum(1 for method, path in faults.seen if method == "GET" and "a.parquet" in path)


ENGINE = "SELECT id, sum(x) AS x FROM {src} GROUP BY id"
WAYS = [
    pytest.param(store, fault, sql, id=f"{store}-{name}-{'engine' if sql else 'plain'}")
    for store in BUCKETS
    for name, fault in (("gone", DROP), ("cut", CUT), ("busy", BUSY))
    for sql in ("", ENGINE)
    if store == "s3" or name == "cut"
]


@pytest.mark.parametrize(("bucket", "fault", "sql"), WAYS, indirect=["bucket"])
def test_a_store_that_goes_away_in_the_middle(
    bucket: Bucket, faults: Faults, tmp_path: Path, fault: Fault, sql: str
) -> None:
    bench = reading(bucket, faults, tmp_path)
    sql = sql.format(src=bench.source.source("src"))

    def rule(method: str, path: str) -> Fault:
        return fault if method == "GET" and "a.parquet" in path and of_data(faults) > 2 else None

    faults.rule = rule
    error = failure(lambda: bench.pipeline("truncate", sql).sync())
    assert isinstance(error, TransientError), error
    assert "does not answer" in str(error) or "bytes where" in str(error)
    faults.forget()
    assert not bench.target.has("tgt") or bench.rows("id") == []
    bench.pipeline("truncate", sql).sync()
    assert len(bench.rows("id")) == (1 if sql else ROWS)


@pytest.mark.parametrize("sql", ["", ENGINE], ids=["plain", "engine"])
def test_an_object_that_is_replaced_in_the_middle(bucket: Bucket, faults: Faults, tmp_path: Path, sql: str) -> None:
    bench = reading(bucket, faults, tmp_path)
    sql = sql.format(src=bench.source.source("src"))
    replaced: list[str] = []

    def rule(method: str, path: str) -> Fault:
        if method == "GET" and "a.parquet" in path and of_data(faults) > 2 and not replaced:
            replaced.append(path)
            bucket.put("some/where/src/a.parquet", big(2))
        return None

    faults.rule = rule
    error = failure(lambda: bench.pipeline("truncate", sql).sync())
    assert isinstance(error, TransientError), error
    assert "changed" in str(error)
    bench.pipeline("truncate", sql).sync()
    assert set(bench.rows("id")) == {(2,)}
