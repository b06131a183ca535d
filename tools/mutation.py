"""Mutation scores of the modules on which a row's fate hangs: `make mutation`.

A mutant is the code with one small change. It is killed when a test fails; one that survives is a change that no test
would notice. Each group of modules meets the fast tests that are named for it, on SQLite, DuckDB and files. Lines that
only build the text of an error are not changed. `build/mutation/GROUP.txt` holds every survivor as a diff.

    python tools/mutation.py [GROUP ...] [--tenths N] [--processes N] [--at-least PERCENT]

A part of the mutants gives the score within a few percent in a part of the time: `--tenths 3` tries three of ten, those
whose numbers end in certain digits, so that each function has its share.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "mutation"
TEXTS = (r"raise \w+", r"return \w*Error\(", "message = ", "hint=", "assert ")
"""Lines that are left alone."""
KILLED = ("killed", "timeout")
"""Verdicts of a mutant that was noticed; the table shows how many of each."""


@dataclass(frozen=True)
class Group:
    """Modules that one set of tests watches over."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    """Arguments of pytest."""
    without: tuple[str, ...] = ()
    """Parts of the names of tests that are slow, or that meet other modules."""


GROUPS = {
    "state": Group(
        ("state/sql_state.py",),
        ("tests/state/test_contract.py", "tests/state/test_sql_state.py"),
        ("duckdb", "files"),
    ),
    "lease": Group(("state/liveness.py", "load/heartbeat.py"), ("tests/state/test_liveness.py",)),
    "publish": Group(
        ("state/file_state.py", "backends/files/manifests.py"),
        (
            "tests/state/test_contract.py",
            "tests/state/test_file_state.py",
            "tests/backends/files/test_publish.py",
            "tests/backends/files/test_manifest_races.py",
            "tests/security/test_state_files.py",
        ),
        ("sqlite", "duckdb", "two_writers", "racers"),
    ),
    "quoting": Group(("sql/dialect.py",), ("tests/sql/test_dialect.py",)),
    "redaction": Group(("connections/secret.py",), ("tests/connections/test_secret.py",)),
    "planner": Group(
        ("sql/statements.py", "load/planner.py"),
        ("tests/sql/test_statements.py", "tests/verbs/test_plans.py", "tests/review/test_watermarks.py"),
        ("duckdb",),
    ),
}
DIGITS = "1470258369"
"""In the order in which a part of the mutants takes them."""
WITHOUT = ("postgres", "mysql", "s3", "azure", "gcs", "delta")
"""Parts of the names of tests that need a server, or are slow."""


def main() -> int:
    """Measure the groups that are named, or all; 1 when a module is below the mark."""
    parser = argparse.ArgumentParser(prog="tools/mutation.py", description=__doc__.split("\n")[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"{', '.join(GROUPS)}; all when none is named")
    parser.add_argument(
        "--tenths", type=int, choices=range(1, 11), default=10, metavar="N", help="try N of ten mutants"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--at-least", type=float, default=0.0, metavar="PERCENT")
    chosen = parser.parse_args()
    if unknown := set(chosen.groups) - set(GROUPS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    part = DIGITS[: chosen.tenths] if chosen.tenths < len(DIGITS) else ""
    names = chosen.groups or GROUPS
    found = [score for name in names for score in measure(name, GROUPS[name], chosen.processes, part)]
    return 1 if any(score < chosen.at_least for score in found) else 0


def measure(name: str, group: Group, processes: int, digits: str = "") -> list[float]:
    """Try a group's mutants; print a line for each module, and give the scores in percent.

    Args:
        name: The group's.
        group: Its modules and tests.
        processes: How many mutants are tried at once.
        digits: Only mutants whose number ends in one of them; all when empty.
    """
    place = copied(name, group)
    command = [sys.executable, str(ROOT / "tools" / "mutants.py")]
    environment = {**os.environ, "PYTHONPATH": str(place / "mutants")}
    with (BUILD / f"{name}.log").open("wb") as log:
        run = [*command, "run", "--max-children", str(processes), *([f"*[{digits}]"] if digits else [])]
        done = subprocess.run(run, cwd=place, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        print(f"{name}: mutmut ended with {done.returncode}, see {BUILD / name}.log")
        return [0.0]
    scores, survivors = [], []
    for module in group.modules:
        found = verdicts(place / "mutants" / "ematix_nb" / f"{module}.meta")
        survivors += [mutant for mutant, verdict in found.items() if verdict not in KILLED]
        killed = sum(verdict in KILLED for verdict in found.values())
        scores.append(100 * killed / max(len(found), 1))
        told = ", ".join(f"{count} {verdict}" for verdict, count in Counter(found.values()).most_common())
        print(f"{name:10} {module:28} {scores[-1]:5.1f} %   {told}", flush=True)
    shown = subprocess.run([*command, "show", *survivors], cwd=place, capture_output=True, check=False)
    (BUILD / f"{name}.txt").write_bytes(shown.stdout)
    return scores


def copied(name: str, group: Group) -> Path:
    """The project in a folder of its own, with the settings of this group."""
    place = BUILD / name
    shutil.rmtree(place, ignore_errors=True)
    (place / "mutants").mkdir(parents=True)  # Python remembers that a folder of PYTHONPATH was not there
    listed = subprocess.run(["git", "ls-files", "--cached"], cwd=ROOT, capture_output=True, text=True, check=True)
    for path in listed.stdout.splitlines():
        target = place / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / path).is_dir():  # a link to `magics` or `widgets`
            shutil.copytree(ROOT / path, target)
        elif (ROOT / path).exists():
            shutil.copy2(ROOT / path, target)
    unwanted = " and ".join(f"not {part}" for part in (*WITHOUT, *group.without))
    settings = {
        "source_paths": ["ematix_nb"],
        "only_mutate": [f"ematix_nb/{module}" for module in group.modules],
        "do_not_mutate_patterns": TEXTS,
        "also_copy": ["docs", "notebooks", "benchmarks", "magics", "widgets"],
        "pytest_add_cli_args_test_selection": [*group.tests, "-m", "not nightly", "-k", unwanted],
        "pytest_add_cli_args": ["-p", "no:cacheprovider"],
        "process_isolation": "forkserver",
        "timeout_multiplier": 5.0,
        "timeout_constant": 3.0,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    with (place / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("\n[tool.mutmut]\n" + "\n".join(lines) + "\n")
    return place


def verdicts(path: Path) -> dict[str, str]:
    """What became of each mutant of a module that was tried."""
    from mutmut.stats import status_by_exit_code

    codes = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
    return {mutant: status_by_exit_code[code] for mutant, code in codes.items() if code is not None}


if __name__ == "__main__":
    sys.exit(main())
