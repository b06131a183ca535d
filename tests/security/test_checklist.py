"""The rows of the security checklist, and the tests that show each: they have to be there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
ROWS: dict[str, tuple[str, ...]] = {
    "X1 one quoting function": (
        "security/test_names.py::test_an_attack_is_the_name_of_table_key_and_watermark",
        "security/test_names.py::test_an_attack_is_the_name_of_a_schema",
        "security/test_names.py::test_what_is_no_name_is_refused",
        "security/test_names.py::test_statements_hold_only_what_was_quoted",
        "conformance/test_names.py::test_odd_names",
    ),
    "X2 values are values": (
        "security/test_names.py::test_a_stored_watermark_is_a_value",
        "backends/postgres/test_postgres_types.py::",
        "backends/mysql/test_mysql_values.py::",
    ),
    "X3 one SELECT, read only": (
        "security/test_one_select.py::test_what_is_no_select_is_refused",
        "security/test_one_select.py::test_a_step_stays_in_its_brackets",
        "sql/test_check.py::test_anything_else_is_refused",
    ),
    "X4 HTML": (
        "security/test_html.py::test_every_verb_escapes",
        "widgets/test_static.py::test_hostile_text_is_text_everywhere",
        "widgets/test_static.py::test_hostile_text_is_text_in_the_live_view",
        "widgets/test_browser.py::test_values_are_shown_as_text_and_nothing_in_them_runs",
    ),
    "X5 saved notebooks": (
        "widgets/test_live.py::test_the_bundle_holds_widget_html_and_text",
        "widgets/test_static.py::test_the_html_is_small_however_large_the_sample_is",
        "widgets/test_browser.py::test_the_saved_notebook_is_small",
    ),
    "X6 terminals": (
        "verbs/test_text.py::test_a_table_is_aligned_and_cannot_disturb_a_terminal",
        "security/test_html.py::test_every_verb_escapes",
    ),
    "X7 the type of secrets": (
        "connections/test_secret.py::test_no_form_of_a_connection_shows_a_secret",
        "security/test_canary.py::test_no_secret_comes_out",
    ),
    "X8 errors of drivers": ("security/test_canary.py::test_no_secret_comes_out",),
    "X9 literal secrets": (
        "security/test_exports.py::test_no_literal_secret_is_exported",
        "export/test_module.py::test_no_secret_is_exported",
        "magics/test_flow.py::test_a_connection_cell_hides_and_warns_of_a_literal_secret",
    ),
    "X10 where secrets come from": (
        "connections/test_toml_files.py::test_a_secret_that_others_may_read_is_warned_about",
        "connections/test_resolve.py::test_the_chain_from_the_lowest_to_the_highest",
    ),
    "X11 interpolation": (
        "security/test_places.py::test_a_variable_is_a_value_and_is_read_once",
        "security/test_places.py::test_a_variable_cannot_lead_a_url_elsewhere",
        "connections/test_interpolate.py::test_one_pass",
    ),
    "X12 settings of others": (
        "security/test_places.py::test_a_connection_that_takes_the_place_of_another_is_told",
        "security/test_places.py::test_settings_name_no_command",
        "connections/test_toml_files.py::test_a_file_of_another_user_is_refused_unless_trusted",
    ),
    "X13 TLS": (
        "security/test_places.py::test_another_machine_has_to_show_a_certificate",
        "security/test_source_code.py::test_no_verification_is_switched_off",
        "catalogue/test_settings.py::test_a_server_without_encryption_row_68",
    ),
    "X14 no pickle, no eval": (
        "security/test_source_code.py::test_a_module_runs_no_text_and_reads_no_pickle",
        "security/test_state_files.py::test_a_flipped_bit_is_noticed",
    ),
    "X15 annotations": ("security/test_source_code.py::test_an_annotation_is_never_run",),
    "X16 names of exports": (
        "export/test_verb.py::test_bad_names_are_refused",
        "export/test_verb.py::test_links_are_not_followed",
        "export/test_verb.py::test_hand_edits_are_refused_with_the_difference",
    ),
    "X17 exported code": (
        "security/test_exports.py::test_an_export_runs_no_cell_and_its_module_does_nothing_but_declare",
        "security/test_exports.py::test_a_query_stays_a_text",
        "security/test_exports.py::test_an_option_stays_a_text",
        "export/test_module.py::test_injected_names_and_quotes_stay_text",
    ),
    "X18 an export runs nothing": (
        "security/test_exports.py::test_an_export_runs_no_cell_and_its_module_does_nothing_but_declare",
        "export/test_verb.py::test_writes_a_module_and_never_runs_the_notebook",
    ),
    "X19 places of files": (
        "security/test_places.py::test_no_thing_leaves_the_folder_of_its_connection",
        "security/test_names.py::test_partition_values_stay_inside_their_folder",
        "backends/files/test_scan.py::test_links_that_leave_the_root_are_refused",
        "conformance/test_names.py::test_a_folder_never_lies_outside",
    ),
    "X20 packed and broken files": (
        "security/test_packed.py::test_a_packed_file_does_not_unfold_for_ever",
        "security/test_packed.py::test_a_line_without_an_end",
        "security/test_packed.py::test_json_that_nests_a_hundred_thousand_times",
        "security/test_packed.py::test_a_page_that_declares_two_gigabytes",
    ),
    "X21 network": (
        "security/test_source_code.py::test_importing_and_listing_connects_to_nobody",
        "../tests/conftest.py::_no_foreign_connections",
    ),
    "X22 formulas": ("backends/files/test_csv_safe.py::test_no_text_begins_like_a_formula",),
    "X23 text is UTF-8": (
        "connections/test_toml_files.py::test_utf16_is_named",
        "connections/test_toml_files.py::test_latin1_is_named_with_its_line",
    ),
    "X24 temporary files": (
        "security/test_places.py::test_scratch_folders_are_private",
        "security/test_places.py::test_files_that_hold_logins_are_their_owners",
    ),
    "X26 log lines": ("security/test_html.py::test_progress_is_one_line_whatever_the_data_says",),
    "X27 rights": ("security/test_rights.py::test_the_named_rights_are_enough_and_one_less_is_named",),
    "X28 consent": (
        "cli/test_flow.py::test_full_refresh_asks_only_where_rows_would_double",
        "verbs/test_replicate.py::test_rows_of_somebody_else_are_replaced_with_consent_only",
    ),
    "X29 limits": (
        "catalogue/test_cells.py::test_a_wrong_cell",
        "widgets/test_static.py::test_the_html_is_small_however_large_the_sample_is",
    ),
}
OPEN = {
    "X25": "nothing listens on a port yet",
}
"""Rows without a test, and why."""


def test_every_row_is_here() -> None:
    rows = {name.partition(" ")[0] for name in ROWS} | set(OPEN)
    assert rows == {f"X{number}" for number in range(1, 30)}


@pytest.mark.parametrize("row", ROWS)
def test_the_tests_of_a_row_exist(row: str) -> None:
    for place in ROWS[row]:
        file, _, name = place.partition("::")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in functions if name else functions, place
