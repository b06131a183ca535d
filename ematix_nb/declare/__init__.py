"""What a user writes, as pure data: types, tables, pipelines and their registry."""

from __future__ import annotations
