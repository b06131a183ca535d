"""`flow export`: what it reads, where it writes, what it refuses."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from ematix_nb.errors import UsageError
from ematix_nb.export.session import LOG
from ematix_nb.verbs.export import export
from tests.support.notebooks import notebook_cells, write_notebook

LAKE = '%%flow connection lake\nkind = "duckdb"\npath = "lake.db"'
ORDERS = "%%flow pipeline orders --from lake --to lake:orders --mode append\nSELECT 1 AS id"
CANARY = "open('canary', 'w').write('ran')"


@pytest.fixture
def notebook(folder: Path) -> str:
    write_notebook(folder / "shop.ipynb", ("markdown", "# Shop"), LAKE, ORDERS, CANARY, "%flow run orders")
    return "shop.ipynb"


def test_writes_a_module_and_never_runs_the_notebook(folder: Path, notebook: str) -> None:
    found = export(notebook, out="pipelines/orders.py")
    assert (folder / "pipelines" / "orders.py").read_text() == found.text
    assert found.to_text() == "wrote pipelines/orders.py: 1 pipeline (orders), 1 connection (lake)"
    assert found.exit_code == 0
    assert not (folder / "canary").exists()
    assert sorted(path.name for path in (folder / "pipelines").iterdir()) == ["orders.py"]
    json.dumps(found.to_dict())


def test_without_a_file_the_text_is_the_result(notebook: str) -> None:
    assert export(notebook).to_text().startswith('"""Pipelines exported from a notebook')


def test_again_changes_nothing(folder: Path, notebook: str) -> None:
    export(notebook, out="orders.py")
    before = (folder / "orders.py").stat().st_mtime_ns
    assert export(notebook, out="orders.py").status == "unchanged"
    assert (folder / "orders.py").stat().st_mtime_ns == before


def test_an_older_export_is_replaced_and_keeps_its_mode(folder: Path, notebook: str) -> None:
    export(notebook, out="orders.py")
    (folder / "orders.py").chmod(0o640)
    write_notebook(folder / "shop.ipynb", LAKE, ORDERS.replace("SELECT 1", "SELECT 2"))
    assert export(notebook, out="orders.py").status == "written"
    assert "SELECT 2" in (folder / "orders.py").read_text()
    assert stat.S_IMODE((folder / "orders.py").stat().st_mode) == 0o640


@pytest.mark.parametrize("kind", ["edited", "foreign"])
def test_hand_edits_are_refused_with_the_difference(folder: Path, notebook: str, kind: str) -> None:
    text = export(notebook, out="orders.py").text
    edited = text.replace("SELECT 1 AS id", "SELECT 99 AS id") if kind == "edited" else "x = 1\n"
    (folder / "orders.py").write_text(edited)
    message = "was changed by hand" if kind == "edited" else "exists and is no export"
    with pytest.raises(
        UsageError, match=rf"`orders.py` {message}[\s\S]*\+.*SELECT 1 AS id[\s\S]*hint: .*--force"
    ) as no:
        export(notebook, out="orders.py")
    assert no.value.exit_code == 2
    assert (folder / "orders.py").read_text() == edited
    export(notebook, out="orders.py", force=True)
    assert (folder / "orders.py").read_text() == text


def test_check_says_whether_the_file_is_current(folder: Path, notebook: str) -> None:
    missing = export(notebook, out="orders.py", check=True)
    assert (missing.status, missing.exit_code) == ("differs", 1)
    assert not (folder / "orders.py").exists()
    export(notebook, out="orders.py")
    assert export(notebook, out="orders.py", check=True).exit_code == 0
    write_notebook(folder / "shop.ipynb", LAKE, ORDERS.replace("append", "truncate"))
    changed = export(notebook, out="orders.py", check=True)
    assert changed.exit_code == 1
    assert '-    mode="append",\n+    mode="truncate",' in changed.to_text()
    with pytest.raises(UsageError, match=r"`--check` compares with a file"):
        export(notebook, check=True)


BAD = [
    ("missing.ipynb", None, r"there is no notebook `missing.ipynb`"),
    ("empty.ipynb", "", r"`empty.ipynb` is empty"),
    ("text.ipynb", "hello", r"is not a notebook: it is not JSON"),
    ("binary.ipynb", "\udcff\udcfe", r"is not a notebook: it is not JSON"),
    ("deep.ipynb", "[" * 100_000, r"is not a notebook: it is not JSON"),
    ("old.ipynb", '{"nbformat": 3, "worksheets": []}', r"notebook of format 3; format 4[\s\S]*nbconvert"),
    ("none.ipynb", '{"nbformat": 4, "cells": []}', r"`none.ipynb` is empty: it has no cells"),
    ("list.ipynb", "[1, 2]", r"is JSON, but no notebook"),
    ("odd.ipynb", '{"nbformat": 4, "cells": [7]}', r"damaged: cell 1 has no source"),
    ("plain.ipynb", '{"nbformat": 4, "cells": [{"cell_type": "code", "source": ["x = 1"]}]}', r"nothing to export"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD)
def test_what_is_no_notebook_is_named(folder: Path, name: str, content: str | None, message: str) -> None:
    if content is not None:
        (folder / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=message):
        export(name, out="orders.py")
    assert not (folder / "orders.py").exists()


def test_a_folder_is_no_notebook(folder: Path) -> None:
    (folder / "d").mkdir()
    with pytest.raises(UsageError, match=r"`d` cannot be read"):
        export("d")


NAMES = [
    "../x.py", "../../etc/x.py", "/etc/x.py", "a/../../x.py", "a/../x.py", "~/x.py", "..", ".", "", "/", "con.py",
    "nul.py", "com1.py", ".ssh/x.py", ".py", ".x.py", "x\0y.py", "x\ny.py", "x\x1b[2J.py",
    "\uff0d.py", "import.py", "class.py",
    "a" * 300 + ".py", "a\\b.py", "..\\x.py", "my-pipes.py", "my pipes.py", "1st.py", "Orders.py", "orders",
    "orders.txt", "orders.py/", "orders.PY", "é.py", "-x.py", "C:\\x.py", "x.py\u202e",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_bad_names_are_refused(folder: Path, notebook: str, name: str) -> None:
    if name == "orders.py/":
        (folder / "orders.py").mkdir()
    with pytest.raises(UsageError, match=r"not a name|not the name|lies outside|no export goes|cannot be read"):
        export(notebook, out=name)
    assert {path.name for path in folder.iterdir()} <= {"shop.ipynb", "orders.py"}
    assert not (folder.parent / "x.py").exists()


def test_the_refusal_offers_a_name(notebook: str) -> None:
    with pytest.raises(UsageError, match=r"hint: --out my_pipes\.py"):
        export(notebook, out="My Pipes.py")


def test_an_absolute_name_inside_is_fine(folder: Path, notebook: str) -> None:
    assert export(notebook, out=str(Path.cwd() / "sub" / "a.py")).status == "written"
    assert (folder / "sub" / "a.py").exists()


@pytest.mark.parametrize("kind", ["file", "folder", "dangling"])
def test_links_are_not_followed(
    folder: Path, notebook: str, tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "victim.py").write_text("alive")
    if kind == "folder":
        (folder / "sub").symlink_to(outside)
        out = "sub/victim.py"
    else:
        (folder / "link.py").symlink_to(outside / ("victim.py" if kind == "file" else "new.py"))
        out = "link.py"
    with pytest.raises(UsageError, match="is a symbolic link, and an export follows none"):
        export(notebook, out=out, force=True)
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"victim.py": "alive"}


def test_what_the_kernel_ran_is_exported(folder: Path, notebook: str) -> None:
    with pytest.raises(UsageError, match="no notebook is named"):
        export(out="live.py")
    for source in (LAKE, ORDERS, CANARY, "%flow run orders"):
        LOG.record(source)
    assert export(out="live.py").text == export(notebook, out="file.py").text
    assert (folder / "live.py").read_bytes() == (folder / "file.py").read_bytes()


def test_a_place_that_cannot_be_written_is_said(folder: Path, notebook: str) -> None:
    (folder / "pipelines").write_text("a file")
    with pytest.raises(UsageError, match=r"`orders.py` cannot be written|`orders.py` was created meanwhile"):
        export(notebook, out="pipelines/orders.py")


def test_left_out_lines_are_told() -> None:
    cell = '!pip install x\nLIMIT = 1\n@ematix.pipeline(target="a:b")\ndef p(conn):\n    return f"SELECT {LIMIT}"'
    text = export(cells=notebook_cells(cell), out="p.py").to_text()
    assert text == "wrote p.py: 1 pipeline (p)\ncame along: LIMIT\nleft out, cell 1 line 1: !pip install x"


def test_the_mask_of_the_process_counts(folder: Path, notebook: str) -> None:
    old = os.umask(0o027)
    try:
        export(notebook, out="masked.py")
    finally:
        os.umask(old)
    assert stat.S_IMODE((folder / "masked.py").stat().st_mode) == 0o640
