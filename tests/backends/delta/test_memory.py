"""What a load into a large table holds in memory: the same whatever the size of the table."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

CHANGED = 100_000
SIZES = (1_000_000, 4_000_000)
GOAL_MB = 1000
NOISE = 1.15
"""What two runs of the same load differ by."""

MAKE = """
import sys, pyarrow as pa
from deltalake import write_deltalake
place, rows = sys.argv[1], int(sys.argv[2])
schema = pa.schema([("id", pa.int64()), *((f"c{n}", pa.string()) for n in range(7)),
                    ("_loaded_at", pa.timestamp("us", "UTC")), ("_batch_id", pa.string()),
                    *([("valid_from", pa.timestamp("us", "UTC")), ("valid_to", pa.timestamp("us", "UTC")),
                       ("is_current", pa.bool_()), ("row_hash", pa.binary())] if sys.argv[3] == "scd2" else [])])
def batches():
    for first in range(0, rows, 50_000):
        ids = list(range(first, first + 50_000))
        made = [ids, *([f"value {n} of {key}" for key in ids] for n in range(7)), [None] * 50_000, [None] * 50_000]
        if sys.argv[3] == "scd2":
            made += [[0] * 50_000, [None] * 50_000, [True] * 50_000, [b""] * 50_000]
        yield pa.RecordBatch.from_arrays([pa.array(v, f.type) for v, f in zip(made, schema)], schema=schema)
write_deltalake(f"{place}/tgt", pa.RecordBatchReader.from_batches(schema, batches()))
"""
LOAD = """
import sys, pyarrow as pa
from ematix_nb import DeltaLocalConnection, ematix
place, rows, mode, changed = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
keys = [*range(0, rows, rows // changed), *range(rows, rows + changed)]
frame = pa.table({"id": keys, **{f"c{n}": [f"new {n} of {key}" for key in keys] for n in range(7)}})
connection = DeltaLocalConnection(name="lake", path=place)
@ematix.pipeline(target_connection=connection, target="tgt", mode=mode, keys=("id",))
def load(_):
    return frame
assert load.sync().counts["rows_inserted"] >= changed
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak_mb(place: Path, rows: int, mode: str) -> float:
    """The most memory of a process that loads changes into a table of so many rows."""
    place.mkdir()
    arguments = [str(place), str(rows), mode]
    subprocess.run([sys.executable, "-c", MAKE, *arguments], check=True)
    command = [sys.executable, "-c", LOAD, *arguments, str(CHANGED)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=place)
    return int(done.stdout.splitlines()[-1]) / 1024


@pytest.mark.nightly
@pytest.mark.parametrize("mode", ["merge", "scd2"])
def test_a_change_of_a_larger_table_needs_no_more(tmp_path: Path, mode: str) -> None:
    small, large = (peak_mb(tmp_path / str(rows), rows, mode) for rows in SIZES)
    assert large <= GOAL_MB
    assert large <= small * NOISE
