"""Schedules as pure logic: when a pipeline fires, what is due now; `emit` writes entries for other schedulers."""

from __future__ import annotations

from ematix_nb.schedule.cron import Schedule, next_fire, parse_schedule, slots_between
from ematix_nb.schedule.due import CatchUp, Due, Now, due_slots, open_since, parse_interval, parse_now

__all__ = [
    "CatchUp",
    "Due",
    "Now",
    "Schedule",
    "due_slots",
    "next_fire",
    "open_since",
    "parse_interval",
    "parse_now",
    "parse_schedule",
    "slots_between",
]
