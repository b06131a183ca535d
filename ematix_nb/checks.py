"""What has to hold before a load commits, under the name that users import: ``from ematix_nb import checks``."""

from __future__ import annotations

from ematix_nb.declare.checks import Check, between, freshness, not_null, row_count, sql, unique

__all__ = ["Check", "between", "freshness", "not_null", "row_count", "sql", "unique"]
