"""kill -9 at the failpoints of a load into an object store, then the same run again."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from ematix_nb.load.failpoints import STEPS
from tests.crash.test_kill import AFTER, KEY_STEPS, KILLED, recovers, settled, unreached
from tests.crash.world import World, rows_after, run_child
from tests.support.s3 import KEY, REGION, SECRET

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.stores import Bucket

PREFIX = "lake"
CASES = [(mode, step) for mode in ("append", "truncate") for step in STEPS if step not in unreached("files", mode, 2)]
USUAL = [(mode, step) for mode, step in CASES if step in (*KEY_STEPS, "release") or (mode, step) == ("append", "lock")]


@dataclass
class StoreWorld(World):
    """A prefix of a bucket, read by the store's own client."""

    bucket: Any = None

    def _file_rows(self) -> list[tuple[Any, ...]]:
        import pyarrow.parquet as pq

        rows = []
        for name in self.manifest().get("files", []):
            folder = f"{PREFIX}/{self.table}"
            key = f"{folder}/{name}" if f"{folder}/{name}" in self.bucket.keys(folder) else f"{folder}/.{name}.tmp"
            found = pq.ParquetFile(io.BytesIO(self.bucket.get(key))).read().to_pylist()
            rows += [(row["id"], row["name"], row["amount"], str(row["ts"])[:19]) for row in found]
        return sorted(rows, key=repr)

    def manifest(self) -> dict[str, Any]:
        """The newest manifest; empty when there is none."""
        found = self.bucket.keys(f"{PREFIX}/{self.table}/_ematix_flow/manifest")
        return dict(json.loads(self.bucket.get(found[-1]))) if found else {}

    def _loose_files(self) -> list[str]:
        listed = {f"{PREFIX}/{self.table}/{name}" for name in self.manifest().get("files", [])}
        return [key for key in self.bucket.keys(PREFIX) if "_ematix_flow" not in key and key not in listed]


@pytest.fixture
def make_store_world(
    fresh_bucket: Callable[[str], Bucket],
    _sources: Callable[[str, str], tuple[str, str]],
    tmp_path: Path,
) -> Callable[[str], StoreWorld]:
    """Makes a world in S3 for a mode."""

    def make(mode: str) -> StoreWorld:
        bucket: Any = fresh_bucket("s3")
        settings = f"format=parquet&region={REGION}&access_key_id={KEY}&secret_access_key={SECRET}"
        url = f"s3://{bucket.name}/{PREFIX}?{settings}&endpoint={quote(bucket.endpoint, safe='')}"
        return StoreWorld("files", mode, tmp_path, url, _sources("files", mode), bucket=bucket)

    return make


@pytest.mark.parametrize(("mode", "step"), USUAL)
def test_second_load_killed(mode: str, step: str, make_store_world: Callable[[str], StoreWorld]) -> None:
    second_load(make_store_world(mode), step)


@pytest.mark.nightly
@pytest.mark.parametrize(("mode", "step"), [case for case in CASES if case not in USUAL])
def test_second_load_killed_everywhere(mode: str, step: str, make_store_world: Callable[[str], StoreWorld]) -> None:
    second_load(make_store_world(mode), step)


def second_load(world: StoreWorld, step: str) -> None:
    """The second load is killed at a step, and run again."""
    code, reports = run_child(world.job(world.step(1), world.step(2, f"{step}=kill")))
    assert (code, reports) == (KILLED, [])
    committed = step in AFTER
    assert world.rows() == sorted(rows_after(world.mode, 2 if committed else 1), key=repr)
    recovers(world, "success" if committed else "abandoned", step)
    settled(world, 2)
