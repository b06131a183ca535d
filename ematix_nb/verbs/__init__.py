"""Every verb once: typed options in, a result object out. Front ends parse, call and show."""

from __future__ import annotations
