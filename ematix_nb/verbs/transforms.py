"""Running named transforms by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ematix_nb.errors import EXIT_FAILED, EXIT_OK
from ematix_nb.verbs.results import TableResult

if TYPE_CHECKING:
    from collections.abc import Sequence


def run_transform(transforms: Sequence[Any]) -> TableResult:
    """Run transforms in order, each in its own transaction and with a row in its target's history.

    Returns:
        One row a transform; after a failure the rest is not run, and the code is 1.
    """
    from ematix_nb.load.post import run_step

    rows: list[tuple[Any, ...]] = []
    code = EXIT_OK
    for transform in transforms:
        step = run_step(transform, transform.target_connection, None, name=transform.name)
        good = step["status"] == "transform_success"
        rows.append(
            (transform.name, "success" if good else "failed", step["error"], step["metrics"] or None, step["run_id"])
        )
        if not good:
            code = EXIT_FAILED
            break
    columns = ("transform", "status", "error", "metrics", "run")
    return TableResult("", columns, tuple(rows), code=code)
