"""A folder that cannot be made is the user's mistake, told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ematix_nb.backends.registry import backend_for
from ematix_nb.connections.kinds import ObjectStoreLocalConnection
from ematix_nb.errors import ConnectError


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder that even root cannot write to")
def test_a_folder_that_cannot_be_made() -> None:
    connection = ObjectStoreLocalConnection(name="lake", path="/proc/nowhere", format="parquet")
    with pytest.raises(ConnectError, match="connection `lake`: the folder `/proc/nowhere` cannot be made: "):
        backend_for(connection.kind).open(connection, read_only=False, create=True)
