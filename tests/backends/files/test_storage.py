"""The storage contract, on a folder and on the three object stores."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.backends.files import _storage
from ematix_nb.backends.files.buckets import CHUNK_BYTES, WHOLE_BYTES
from ematix_nb.backends.files.storage import Entry
from ematix_nb.connections import ObjectStoreLocalConnection
from ematix_nb.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ematix_nb.backends.files.storage import Storage
    from tests.support.stores import Bucket

PLACES = ("local", "s3", "azure", "gcs")
BUCKETS = PLACES[1:]
ODD = ["a=x%2Fy/.part-é 😀.tmp", "t/we ird+&#?='\".csv", "t/b.csv", "t/a/z.csv", "t/.hidden/x.csv", "t/_SUCCESS"]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return storage_of(request.param, request, tmp_path)


def storage_of(name: str, request: pytest.FixtureRequest, folder: Path) -> Storage:
    if name == "local":
        connection: Any = ObjectStoreLocalConnection(name="lake", path=str(folder), format="csv")
    else:
        connection = request.getfixturevalue("fresh_bucket")(name).connection("csv", prefix="some/where")
    return _storage(connection.resolved(), write=True, create=True)


def put(place: Storage, name: str, body: bytes) -> None:
    upload = place.upload(name)
    upload.write(body)
    upload.close()


def test_names_come_in_order_and_sizes_are_told(place: Storage) -> None:
    for name in ODD:
        put(place, name, b"hello")
    assert [entry.name for entry in place.entries("")] == sorted(ODD, key=lambda name: name.split("/"))
    assert {entry.size for entry in place.entries("t")} == {5}
    assert place.entries("nowhere") == []
    assert place.entries("t/b") == []
    skipped: list[str] = []
    assert [entry.name for entry in place.walk("t", skipped)] == ["t/a/z.csv", "t/b.csv", ODD[1]]
    assert skipped == ["t/.hidden (hidden)", "t/_SUCCESS (hidden)"]


def test_kinds(place: Storage) -> None:
    put(place, "t/a.csv", b"x")
    put(place, "t/_ematix_flow/manifest/1.json", b"x")
    assert [place.kind(name) for name in ("t", "t/a.csv", "a.csv", "t/a", "t/a.csv/b")] == [
        "folder",
        "file",
        None,
        None,
        None,
    ]
    targets, entries = place.overview()
    assert (targets, [entry.name for entry in entries]) == ({"t"}, ["t/a.csv"])


def test_a_version_is_read_in_any_way(place: Storage) -> None:
    body = bytes(range(256)) * (WHOLE_BYTES // 256 * 3)
    put(place, "big", body)
    [entry] = place.entries("")
    assert entry == place.stat("big")
    with place.open(entry) as file:
        assert file.size() == len(body)
        assert file.read_at(10, 1_000_000) == body[1_000_000:1_000_010]
        file.seek(len(body) - 8)
        assert file.read() == body[-8:]
        assert file.read_at(3 * 10**6, 5) == body[5 : 5 + 3 * 10**6]
    with place.open(entry, forward=True) as file:
        assert b"".join(iter(lambda: file.read(100_000), b"")) == body
    assert place.read("big") == body


def test_what_is_not_there_is_not_found(place: Storage) -> None:
    for call in (lambda: place.stat("no"), lambda: place.read("no")):
        with pytest.raises(FileNotFoundError):
            call()
    place.delete(["no", "neither/this"], "")
    place.move([("no", "there")])
    assert place.entries("") == []


def test_one_of_many_creates_a_name(place: Storage) -> None:
    barrier = threading.Barrier(8)

    def create(number: int) -> bool:
        barrier.wait()
        return place.create("m/000000000001.json", b"%d" % number)

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(create, range(8)))
    assert sum(won) == 1
    assert place.read("m/000000000001.json") == b"%d" % won.index(True)
    assert len(place.entries("m")) == 1


def test_files_are_moved_and_removed(place: Storage) -> None:
    for name in ("t/.a.tmp", "t/.b.tmp", "t/x=1/c"):
        put(place, name, name.encode())
    place.move([("t/.a.tmp", "t/a"), ("t/.b.tmp", "t/b"), ("t/.gone.tmp", "t/gone")])
    assert [entry.name for entry in place.entries("")] == ["t/a", "t/b", "t/x=1/c"]
    assert place.read("t/a") == b"t/.a.tmp"
    place.delete(["t/x=1/c", "t/a"], "t")
    assert [entry.name for entry in place.entries("")] == ["t/b"]


def test_a_large_upload_arrives_or_leaves_nothing(place: Storage) -> None:
    part = bytes(range(256)) * 4096
    upload = place.upload("big")
    for _ in range(20):
        upload.write(part)
    assert upload.tell() == 20 * len(part) > 2 * CHUNK_BYTES
    upload.close()
    upload.abort()
    assert place.stat("big").size == 20 * len(part)
    assert place.read("big") == part * 20
    other = place.upload("other")
    for _ in range(20):
        other.write(part)
    other.abort()
    other.abort()
    assert [entry.name for entry in place.entries("")] == ["big"]


def test_no_parts_of_a_given_up_upload_stay(fresh_bucket: Callable[[str], Bucket]) -> None:
    import urllib.request

    bucket: Any = fresh_bucket("s3")
    upload = _storage(bucket.connection("csv").resolved(), write=True, create=True).upload("big")
    upload.write(b"x" * 3 * CHUNK_BYTES)
    upload.abort()
    request = urllib.request.Request(
        f"{bucket.endpoint}/{bucket.name}?uploads",
        headers={"Authorization": "AWS4-HMAC-SHA256 Credential=t/20260101/us-east-1/s3/aws4_request"},
    )
    assert b"<Upload>" not in urllib.request.urlopen(request, timeout=10).read()


@pytest.mark.parametrize("name", BUCKETS)
def test_an_object_that_changes_while_it_is_read_is_told(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    place = storage_of(name, request, tmp_path)
    put(place, "t.csv", b"x" * 3 * WHOLE_BYTES)
    [entry] = place.entries("")
    file = place.open(entry)
    assert file.read(4) == b"xxxx"
    put(place, "t.csv", b"y" * 3 * WHOLE_BYTES)
    with pytest.raises(TransientError, match=r"t\.csv changed"):
        file.read_at(WHOLE_BYTES, WHOLE_BYTES)


@pytest.mark.parametrize("name", BUCKETS)
def test_an_object_that_goes_away_while_it_is_read_is_told(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    place = storage_of(name, request, tmp_path)
    put(place, "t.csv", b"x" * 100)
    [entry] = place.entries("")
    assert isinstance(entry, Entry)
    place.delete(["t.csv"], "")
    with pytest.raises((FileNotFoundError, TransientError), match=r"t\.csv"):
        place.open(entry).read()
