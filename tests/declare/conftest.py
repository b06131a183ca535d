"""Every test of declarations begins with nothing declared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ematix_nb.declare import registry

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _empty_registry() -> Iterator[None]:
    with registry.scratch():
        yield
