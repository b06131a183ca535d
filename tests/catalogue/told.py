"""What `flow`, a cell and Python say of one load that cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ematix_nb.api import handle
from ematix_nb.declare import registry
from ematix_nb.errors import FlowError

if TYPE_CHECKING:
    from tests.catalogue.conftest import Flow, Notebook

RUN = ("run", "p")


def told(code: int, flow: Flow, bare: Notebook) -> dict[str, str]:
    """The messages of a run of the pipeline `p` of `shop.py`, by who was asked; the command exits with a code."""
    found = flow(*RUN)
    texts = {"flow": found.out if "FLOW-" in found.out else found.err}
    assert found.code == code, found
    bare.cell("%load_ext ematix_nb")
    error, shown = bare.run("%flow run p --module shop.py")
    assert isinstance(error, FlowError)
    texts["cell"] = raised_part(shown)
    if "p" not in registry.pipelines():
        flow("list")
    with pytest.raises(FlowError) as caught:
        handle("p").sync()
    texts["python"] = str(caught.value)
    bare.cell("%unload_ext ematix_nb")
    return {who: unindented(text) for who, text in texts.items()}


def raised_part(shown: str) -> str:
    """The error of a cell; a run that failed shows its result as well."""
    start = shown.index(": FLOW-")
    return shown[start : shown.index("(%flow debug", start)]


def unindented(text: str) -> str:
    """The message of a failed target begins its lines at the left."""
    return "\n".join(line.strip() for line in text.splitlines())
