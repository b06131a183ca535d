"""A project in a folder of its own, `flow` in this process, and an IPython shell: those of the catalogue."""

from __future__ import annotations

from tests.catalogue.conftest import _shell, bare, flow, notebook, project

__all__ = ["_shell", "bare", "flow", "notebook", "project"]
