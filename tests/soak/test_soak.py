"""Two minutes of what `make soak` does for fifteen."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.soak.drive import soak

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.nightly
def test_fifty_pipelines_under_faults(tmp_path: Path, pg_server: str) -> None:
    seed = random.randrange(2**32)
    said = [f"python -m tests.soak --minutes 2 --seed {seed}"]
    figures, wrong = soak(tmp_path, pg_server, 2, seed, said.append)
    assert wrong == [], "\n".join([*said, figures.table()])
    assert figures.struck.total() > 0
