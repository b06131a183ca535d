"""What tests share: servers that they start, and helpers."""

from __future__ import annotations
