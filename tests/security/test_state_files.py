"""State in files: what is damaged, changed by hand or no file of ours is noticed, and never believed (X14, P15)."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ematix_nb.backends.sealed import seal, unseal
from ematix_nb.declare.data_types import BIGINT
from ematix_nb.errors import DataError, FlowError
from tests.conformance.matrix import open_system
from tests.conformance.run import Bench

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY = {
    "version": 2,
    "seq": 7,
    "files": ["part-a.csv"],
    "state": {"pipelines": {"p": {"watermark": {"value": "é 41"}}}},
}


def flips(raw: bytes) -> Iterator[bytes]:
    """The bytes with one bit changed, each in turn."""
    for position in range(len(raw)):
        for bit in range(8):
            changed = bytearray(raw)
            changed[position] ^= 1 << bit
            yield bytes(changed)


def test_a_flipped_bit_is_noticed() -> None:
    """Whatever bit of a state file changes: it reads as before (white space), or it is refused."""
    raw = seal(BODY)
    noticed = 0
    for changed in flips(raw):
        try:
            found = unseal(changed)
        except ValueError:
            noticed += 1
            continue
        assert found == BODY or found["version"] > 2, changed
    assert noticed > 0.9 * 8 * len(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{}", b"[]", b"null", b"{", b'{"version": 2}', b'{"version": "2"}', b'{"version": 2, "sha256": ""}',
        b"\x80\x04\x95", b"\xff\xfe{", b'{"version": 0, "files": []}', b"[" * 100_000,
        json.dumps({**BODY, "sha256": "0" * 64}).encode(), json.dumps(BODY).encode(),
    ],
)  # fmt: skip
def test_what_is_no_file_of_ours_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        unseal(raw)


def test_a_file_of_the_first_version_is_read() -> None:
    old = {"version": 1, "seq": 1, "files": [], "state": {}}
    assert unseal(json.dumps(old).encode()) == old


def loaded(kind: str, folder: Path) -> tuple[Bench, list[Path]]:
    """A target with state, and the state's files."""
    system = open_system(kind, folder / "place", None, label="place")
    system.make("src", {"id": BIGINT}, [(1,), (2,)])
    bench = Bench(system, system)
    bench.pipeline("append", incremental=True, watermark_column="id").sync()
    files = sorted(path for path in folder.rglob("*.json") if "_ematix_flow" in path.parts)
    return bench, files


class _Canary:
    """Writes a file when it comes out of a pickle."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("unpickled"),))


@pytest.mark.parametrize("kind", ["csv", "parquet", "delta"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "pickle", "digit"])
def test_a_damaged_state_stops_the_next_run(kind: str, damage: str, project: Path, tmp_path: Path) -> None:
    bench, files = loaded(kind, tmp_path)
    rows = bench.rows("id")
    for path in files:
        raw = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(
            {
                "flip": raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 1]) + raw[len(raw) // 2 + 1 :],
                "cut": raw[: len(raw) // 2],
                "empty": b"",
                "pickle": pickle.dumps(_Canary()),
                "digit": raw.replace(b'"2"', b'"1"').replace(b"rows_read", b"rows_rread"),
            }[damage]
        )
    with pytest.raises(DataError, match="is not readable"):
        bench.pipeline("append", incremental=True, watermark_column="id").sync()
    with pytest.raises(FlowError):
        bench.pipeline("append", incremental=True, watermark_column="id").preview()
    assert not (project / "unpickled").exists()
    if kind == "delta":
        assert bench.rows("id") == rows
