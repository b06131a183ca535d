"""A notebook as a plain Python module: selected, put in order, written and checked; never executed."""

from __future__ import annotations
