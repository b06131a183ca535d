"""How the package is put together: the two links, the public names, and what a wheel holds."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ematix_nb"


@pytest.mark.parametrize("name", ["magics", "widgets"])
def test_link_leads_to_the_top_level_folder(name: str) -> None:
    link = PACKAGE / name
    assert link.is_symlink(), f"ematix_nb/{name} is no link: a checkout without links cannot run from source"
    assert str(link.readlink()) == f"../{name}"
    assert link.resolve() == ROOT / name


@pytest.mark.parametrize("name", ["magics", "widgets"])
def test_front_end_is_found_inside_the_package(name: str) -> None:
    spec = importlib.util.find_spec(f"ematix_nb.{name}")
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin) == PACKAGE / name / "__init__.py"


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for top in ("ematix_nb", "magics", "widgets") for path in (ROOT / top).rglob("*.py")}
    lacking = sorted(str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").exists())
    assert lacking == []


def test_every_public_name_resolves() -> None:
    import ematix_nb

    names = list(ematix_nb.__all__)
    assert names == sorted(names)
    assert [name for name in names if not hasattr(ematix_nb, name)] == []


def test_public_names_equal_the_attributes() -> None:
    import ematix_nb

    modules = {path.stem for path in PACKAGE.iterdir()}
    visible = {name for name in dir(ematix_nb) if not name.startswith("_")} - modules
    assert visible - {"annotations", "TYPE_CHECKING"} <= set(ematix_nb.__all__) | {
        "load_ipython_extension",
        "unload_ipython_extension",
    }


def test_version_is_the_distributions() -> None:
    import ematix_nb

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert importlib.metadata.version("ematix-nb") == project["version"]
    assert ematix_nb.__version__ == project["version"]


def test_every_backend_loads_and_has_its_four_modules() -> None:
    entries = importlib.metadata.entry_points(group="ematix_nb.backends")
    assert {entry.name for entry in entries} >= {"duckdb", "files", "postgres", "sqlite"}
    for entry in entries:
        assert entry.load() is not None
        present = {path.stem for path in (PACKAGE / "backends" / entry.name).glob("*.py")}
        assert present >= {"config", "capabilities", "dialect", "io"}


def test_command_is_installed() -> None:
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="flow")
    assert entry.value == "ematix_nb.cli.main:main"


def test_constraints_are_exact_and_name_no_host() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert lines == sorted(lines, key=lambda line: line.partition("==")[0])
    assert [line for line in lines if line.count("==") != 1 or "/" in line or "@" in line] == []


def test_importing_the_package_imports_no_driver() -> None:
    heavy = [
        "IPython",
        "datafusion",
        "deltalake",
        "duckdb",
        "ipywidgets",
        "pandas",
        "polars",
        "psycopg",
        "pyarrow",
        "rich",
    ]
    code = f"import sys, ematix_nb, ematix_nb.cli.main; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_wheel_holds_the_linked_folders_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("ematix_nb-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"ematix_nb"}
    for folder in ("magics", "widgets"):
        sources = {f"ematix_nb/{folder}/{path.relative_to(ROOT / folder)}" for path in (ROOT / folder).rglob("*.py")}
        assert sources <= set(names)
    assert len(names) == len(set(names))
    assert "ematix_nb/py.typed" in names
