"""The page of what the suite shows of each backend follows the suite."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.collected import collect
from tests.support.matrix_page import Promise, render

PAGE = Path(__file__).parents[2] / "docs" / "matrix.md"
MODULES = (
    "tests/conformance", "tests/crash", "tests/concurrency", "tests/backends/delta", "tests/backends/files",
)  # fmt: skip
MODES = "tests/conformance/test_modes.py::"
INCREMENTAL = "tests/conformance/test_incremental.py::"
SCD2 = "tests/conformance/test_scd2.py::"
SCHEMA = "tests/conformance/test_schema.py::"
DRY = "tests/conformance/test_nothing_written.py::"
DELTA = "tests/backends/delta/test_stores.py::"
FILES = "tests/backends/files/test_stores.py::"
KILL = "tests/crash/test_kill.py::"
FAULTS = "tests/crash/test_faults.py::"
TWO = "tests/concurrency/test_two_runs.py::"
TYPES = "tests/conformance/test_types.py::"
STEPS = "tests/conformance/test_source_steps.py::"
STORE_MODES = f"{DELTA}test_modes"
SECTIONS = {
    "Modes": [
        Promise("append", [f"{MODES}test_append", STORE_MODES], {"mode": "append"}),
        Promise("truncate", [f"{MODES}test_truncate", STORE_MODES], {"mode": "truncate"}),
        Promise("merge", [f"{MODES}test_merge", STORE_MODES], {"mode": "merge"}),
        Promise("merge with hard deletes", [f"{MODES}test_hard_deletes"]),
        Promise("scd2", [f"{SCD2}test_versions_open_and_close", STORE_MODES], {"mode": "scd2"}),
        Promise("scd2 with soft deletes", [f"{SCD2}test_soft_deletes"]),
        Promise("scd2 by event times", [f"{SCD2}test_late_equal_and_corrected_events"]),
    ],
    "Incremental loads": [
        Promise(
            "ties, late and new rows arrive once",
            [f"{INCREMENTAL}test_ten_rows_then_a_tie_a_late_row_and_a_new_one_are_thirteen",
             f"{DELTA}test_incremental_with_ties_and_late_rows"],
        ),
        Promise("rows without a watermark arrive",
                [f"{INCREMENTAL}test_rows_without_a_watermark_arrive_whenever_they_come"]),
        Promise(
            "equal rows are kept as often", [f"{INCREMENTAL}test_equal_rows_are_kept_as_often_as_the_source_has_them"]
        ),
        Promise("a failed run leaves the watermark", [f"{INCREMENTAL}test_a_failed_run_leaves_the_watermark"]),
        Promise("a merge reads what is new",
                [f"{INCREMENTAL}test_merge_reads_only_what_is_new", f"{DELTA}test_incremental_merges"]),
    ],
    "Nothing by accident": [
        Promise("a dry run leaves no trace", [f"{DRY}test_a_first_dry_run_makes_nothing", STORE_MODES]),
        Promise(
            "a dry run counts what the run does",
            [f"{DRY}test_a_later_dry_run_counts_what_the_run_then_does", STORE_MODES],
        ),
        Promise(
            "a source that fails leaves the rows",
            [f"{MODES}test_truncate_that_fails_keeps_the_rows", f"{FILES}test_a_failing_source_leaves_nothing"],
        ),
        Promise("a source without rows leaves them", [f"{MODES}test_truncate_from_nothing_keeps_the_rows"]),
        Promise("keys that repeat or lack are told", [f"{MODES}test_merge_refuses_duplicate_and_null_keys_when_asked"]),
    ],
    "Schemas": [
        Promise("a new column joins", [f"{SCHEMA}test_a_new_column_of_the_source_joins_the_target"]),
        Promise("a type grows", [f"{SCHEMA}test_a_type_grows"]),
        Promise("a type that does not fit is told", [f"{SCHEMA}test_a_type_that_does_not_fit_is_refused"]),
        Promise("columns are renamed", [f"{MODES}test_columns_are_renamed"]),
    ],
    "Names and values": [
        Promise("odd names", ["tests/conformance/test_names.py::test_odd_names"]),
        Promise("odd values from seven systems", [f"{TYPES}test_odd_values_arrive_as_they_are"]),
        Promise("its own types at home", [f"{TYPES}test_types_that_only_one_system_has_stay_as_they_are_at_home"]),
        Promise("each of the four file formats", [f"{FILES}test_all_columns_round_trip"]),
    ],
    "Crashes and other runs": [
        Promise("killed at each step",
                [f"{KILL}test_second_load_killed", "tests/crash/test_stores.py::test_second_load_killed",
                 "tests/crash/test_delta_stores.py::test_second_load_killed"], system="s3"),
        Promise("failures at each step",
                [f"{FAULTS}test_faults_before_the_commit", f"{FAULTS}test_faults_before_the_commit_everywhere"]),
        Promise("interrupted while the source is slow", ["tests/crash/test_interrupt.py::test_slow_source"]),
        Promise("of two runs one wins", [f"{TWO}test_started_together"]),
        Promise("a hung run cannot commit", [f"{TWO}test_hung_run_cannot_commit"]),
        Promise(
            "two writers lose and double nothing",
            [f"{FILES}test_two_writers_lose_and_double_nothing", f"{DELTA}test_runs_at_once_neither_lose_nor_double",
             "tests/backends/delta/test_at_once.py::test_two_runs",
             "tests/backends/delta/test_at_once.py::test_two_runs_in_a_store"],
            system="delta",
        ),
    ],
    "As a source": [
        Promise("cleaned, renamed, derived, filtered", [f"{STEPS}test_cleaned_renamed_derived_and_filtered"]),
        Promise("limits and samples", [f"{STEPS}test_limits_and_samples"]),
    ],
}  # fmt: skip


def test_the_page_names_what_the_suite_shows(tmp_path: Path) -> None:
    page = render(SECTIONS, collect(MODULES, tmp_path))
    if os.environ.get("EMATIX_WRITE_PAGES"):
        PAGE.write_text(page, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page, "docs/matrix.md is old: run this file with EMATIX_WRITE_PAGES=1"
