"""kill -9 at the failpoints of a load into a Delta table in an object store, then the same run again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.load.failpoints import STEPS
from tests.backends.delta.conftest import PLACES, StoreDelta
from tests.crash.test_kill import KEY_STEPS, second_load, unreached
from tests.crash.world import MODES, World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.stores import Bucket

REACHED = [step for step in STEPS if step not in unreached("delta", "merge", 2)]
CASES = [
    (store, mode, step)
    for store in PLACES
    for number, step in enumerate(REACHED)
    for place, mode in enumerate(MODES)
    if step in KEY_STEPS or (number + len(store)) % len(MODES) == place
]
"""Every step in one mode, every mode at the steps that matter most."""
DAILY = [
    ("s3", "merge", "before_commit"),
    ("s3", "scd2", "commit"),
    ("s3", "append", "stage_done"),
    ("azure", "append", "commit"),
    ("azure", "merge", "before_commit"),
]


@dataclass
class DeltaStoreWorld(World):
    """A place in a bucket, read by the store's own client and the library."""

    place: Any = None

    def delta(self) -> Any:
        """The target as the library's own object; None when it is not there."""
        return self.place.delta(self.table)

    def _keys(self) -> list[str]:
        """The objects of the target, by their names below it."""
        mark = f"{self.table}/"
        return [key.partition(mark)[2] for key in self._all() if f"/{mark}" in f"/{key}"]

    def _all(self) -> list[str]:
        found: list[str] = self.place.keys()
        return found

    def _files(self, folder: str) -> list[str]:
        names = [key.removeprefix(f"{folder}/") for key in self._keys() if key.startswith(f"{folder}/")]
        return sorted(name for name in names if "/" not in name)

    def _text(self, name: str) -> str:
        import obstore

        (key,) = [key for key in self._all() if key.endswith(f"{self.table}/{name}")]
        return bytes(obstore.get(self.place.client, key).bytes()).decode()

    def _loose_files(self) -> list[str]:
        keys = self._keys()
        log = "".join(self._text(key) for key in keys if key.startswith("_delta_log/") and key.endswith(".json"))
        loose = [key for key in keys if key.endswith(".parquet") and key.rpartition("/")[2] not in log]
        return [*loose, *(key for key in keys if "/_delta_log/" in key)]


def settings_of(place: StoreDelta) -> str:
    """The connection as JSON for another process."""
    names = ("bucket", "container", "account", "prefix", "region", "endpoint")
    found = {name: getattr(place.connection, name) for name in names if hasattr(place.connection, name)}
    secret = {name: place.connection.reveal(name) for name in KEYS if getattr(place.connection, name, None)}
    return json.dumps({"kind": place.connection.kind, **found, **secret})


KEYS = ("access_key_id", "secret_access_key", "account_key")


@pytest.fixture
def make_store_world(
    delta_bucket: Callable[[str], Bucket],
    _sources: Callable[[str, str], tuple[str, str]],
    tmp_path: Path,
) -> Callable[[str, str], World]:
    """Makes a world in a store for a mode."""

    def make(store: str, mode: str) -> World:
        place = PLACES[store](delta_bucket(store))
        return DeltaStoreWorld("delta", mode, tmp_path, settings_of(place), _sources("delta", mode), place=place)

    return make


@pytest.mark.parametrize(
    ("place", "mode", "step"),
    [case if case in DAILY else pytest.param(*case, marks=pytest.mark.nightly) for case in CASES],
)
def test_second_load_killed(place: str, mode: str, step: str, make_store_world: Callable[[str, str], World]) -> None:
    second_load(make_store_world(place, mode), step)


def test_the_daily_cases_are_cases() -> None:
    assert set(DAILY) <= set(CASES)
