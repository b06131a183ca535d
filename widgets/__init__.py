"""Live views of result objects, built on ipywidgets."""

from __future__ import annotations
