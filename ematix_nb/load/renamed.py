"""A pipeline under a new name: its state is under the old one, and an append would load everything once more."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ematix_nb.declare import registry
from ematix_nb.declare.fingerprint import fingerprint
from ematix_nb.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ematix_nb.declare.spec import PipelineSpec
    from ematix_nb.state.model import RunRecord


def refuse_renamed(spec: PipelineSpec, runs: Iterable[RunRecord]) -> None:
    """Refuse an incremental append without a watermark whose rows are there under a name that is gone.

    Args:
        spec: A pipeline that has no watermark; one that is not registered may be anything, and is let through.
        runs: Those that loaded its table.

    Raises:
        DeclarationError: One of them was of a pipeline that was declared alike but for its name.
    """
    known = registry.pipelines()
    if spec.name not in known:
        return
    loaded = {run.pipeline.partition("::")[0]: run.fingerprint for run in runs}
    for name, found in loaded.items():
        if name not in known and found == fingerprint(dataclasses.replace(spec, name=name)):
            message = f"`{spec.name}` has no watermark, and `{name}`, which loaded these rows, is declared no more"
            hint = f'was it renamed? name="{name}" keeps its state; --full-refresh appends every row once more'
            raise DeclarationError(message, hint)
