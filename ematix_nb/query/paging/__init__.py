"""Looking at any rows page by page, sorted and filtered, without loading them."""

from __future__ import annotations

from .model import Page, PreviewModel, Stop, frame_model, query_model
from .stats import ColumnStats
from .wanted import Condition, Order

__all__ = ["ColumnStats", "Condition", "Order", "Page", "PreviewModel", "Stop", "frame_model", "query_model"]
