"""The steps between a source query and a load, under the name that users import."""

from __future__ import annotations

from ematix_nb.declare.normalizers import deduplicate_by, filter_where, limit, sample_pct
from ematix_nb.declare.transforms import transform_ref

__all__ = ["deduplicate_by", "filter_where", "limit", "sample_pct", "transform_ref"]
