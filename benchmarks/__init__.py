"""Speed and memory as ratios inside one run: to a hand-written limit, and to what a user would pick instead."""

from __future__ import annotations
