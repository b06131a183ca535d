"""``flow export``: a notebook, or what this kernel has executed, as a module in a file."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import keyword
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ematix_nb.connections.secret import redact
from ematix_nb.errors import EXIT_FAILED, EXIT_OK, UsageError
from ematix_nb.export.cases import test_cells, tests_text
from ematix_nb.export.module import Exported, export_notebook, is_export, is_untouched, tests_module
from ematix_nb.export.notebook_file import read_notebook
from ematix_nb.export.session import LOG
from ematix_nb.verbs.results import Result
from ematix_nb.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ematix_nb.export.notebook_file import NotebookCell

_MAX_NAME = 100
_MAX_DIFF = 60
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
_STEM = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True)
class ExportedTests:
    """What became of the module of tests."""

    out: str
    status: str
    """As that of the export."""
    diff: str
    text: str


@dataclass(frozen=True, repr=False)
class ExportResult(Result):
    """What an export wrote, or would write."""

    kind: ClassVar[str] = "export"

    exported: Exported
    out: str
    """The file; empty when the text is the result itself."""
    status: str
    """``written``, ``unchanged``, ``printed``, ``up-to-date`` or ``differs`` (the last two of a check)."""
    diff: str = ""
    """What a check found: unified, from the file to what an export would write."""
    tests: ExportedTests | None = None
    """The module of tests; None when it was not asked for."""
    untested: int = 0
    """Tests of the notebook that were not asked for."""

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # computed from the status
        """1 when a check found a difference."""
        differs = "differs" in (self.status, self.tests.status if self.tests is not None else "")
        return EXIT_FAILED if differs else EXIT_OK

    @property
    def text(self) -> str:
        """The module."""
        return self.exported.text

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "status": self.status,
            "out": self.out or None,
            "source_hash": self.exported.source_hash,
            "pipelines": list(self.exported.pipelines),
            "tables": list(self.exported.tables),
            "connections": list(self.exported.connections),
            "others": list(self.exported.others),
            "dropped": [str(line) for line in self.exported.dropped],
            "diff": self.diff,
            "text": self.text,
            "tests": dataclasses.asdict(self.tests) if self.tests is not None else None,
        }

    def to_text(self) -> str:
        """What was written where and what was left out; the module itself when there is no file."""
        if self.status == "printed":
            return self.text.rstrip("\n")
        parts = [
            f"{counted(len(found), kind)} ({', '.join(found)})"
            for kind, found in (
                ("pipeline", self.exported.pipelines),
                ("table", self.exported.tables),
                ("connection", self.exported.connections),
            )
            if found
        ]
        lines = [f"{_words(self.status, self.out)}: {', '.join(parts)}"]
        if self.exported.others:
            lines.append(f"came along: {', '.join(self.exported.others)}")
        lines += [f"left out, {line}" for line in self.exported.dropped]
        if self.untested:
            lines.append(f"left out, {counted(self.untested, 'test')}: --tests tests/test_orders.py writes them")
        lines += [self.diff] if self.diff else []
        if self.tests is not None:
            lines += [_words(self.tests.status, self.tests.out), *([self.tests.diff] if self.tests.diff else [])]
        return "\n".join(lines)


def _words(status: str, out: str) -> str:
    return {
        "written": f"wrote {out}",
        "unchanged": f"{out} is already what the notebook says",
        "up-to-date": f"{out} is what the notebook says",
        "differs": f"{out} is not what the notebook says",
    }[status]


def export(
    notebook: str | None = None,
    *,
    out: str | None = None,
    check: bool = False,
    force: bool = False,
    docs: bool = False,
    tests: str | None = None,
    cells: Iterable[NotebookCell] | None = None,
) -> ExportResult:
    """Turn a notebook into a module; the notebook is never executed.

    Args:
        notebook: The ``.ipynb`` file; None: what this kernel has executed.
        out: The module to write, below the working directory; None: the text is in the result only.
        check: Write nothing; the result says whether ``out`` is what an export would write.
        force: Overwrite a file that was changed by hand or is no export.
        docs: Text cells above a pipeline become its docstring.
        tests: A module of pytest to write beside it, from the ``%%flow test`` cells.
        cells: The cells themselves, instead of a file.

    Raises:
        UsageError: The notebook is not understood, nothing is declared, or the file may not be written.
    """
    place = _checked(out) if out is not None else None
    if check and place is None:
        raise UsageError("`--check` compares with a file, and none is named", hint="--out pipelines/orders.py")
    if tests is not None and (place is None or Path(tests) == Path(out or "")):
        raise UsageError("`--tests` needs the module beside it", hint="--out orders.py --tests tests/test_orders.py")
    listed = list(_cells(notebook, cells))
    exported = export_notebook(listed, docs=docs)
    if place is None or out is None:
        return ExportResult(exported, "", "printed")
    found = None
    if tests is not None:  # checked and written before the module: a refusal leaves both as they were
        beside = _checked(tests)
        text = tests_module(tests_text(listed, exported.pipelines, module=out, place=tests))
        _refuse_edits(place, exported.text, out, force=force or check)
        found = ExportedTests(tests, *_put(beside, text, tests, check=check, force=force), text)
    status, diff = _put(place, exported.text, out, check=check, force=force)
    return ExportResult(exported, out, status, diff, found, 0 if tests is not None else len(test_cells(listed)))


def _put(place: Path, text: str, out: str, *, check: bool, force: bool) -> tuple[str, str]:
    """Write a text, or compare it with what is there: the status and, of a check, the difference.

    Raises:
        UsageError: A file that is there was changed by hand, or is no export.
    """
    present = _present(place, out)
    if check:
        return "differs" if present != text else "up-to-date", _diff(present, text, out)
    if present == text:
        return "unchanged", ""
    _refuse_edits(place, text, out, force=force)
    _write(place, text, new=present is None)
    return "written", ""


def _refuse_edits(place: Path, text: str, out: str, *, force: bool) -> None:
    """Refuse to overwrite what somebody wrote."""
    present = _present(place, out)
    if force or present is None or present == text or is_untouched(present):
        return
    what = f"`{out}` was changed by hand" if is_export(present) else f"`{out}` exists and is no export"
    hint = "bring the changes into the notebook, or overwrite them with --force"
    raise UsageError(f"{what}; an export would change:\n{_diff(present, text, out)}", hint=hint)


def _cells(notebook: str | None, cells: Iterable[NotebookCell] | None) -> Iterable[NotebookCell]:
    if cells is not None:
        return cells
    if notebook is not None:
        return read_notebook(notebook)
    executed = LOG.export_cells()
    if not executed:
        raise UsageError("no notebook is named", hint="flow export orders.ipynb --out pipelines/orders.py")
    return executed


def _checked(out: str) -> Path:
    """The file that a name means, when it may be written.

    Raises:
        UsageError: It lies outside of the working directory, behind a link, or cannot be imported by its name.
    """
    shown = "".join(letter if letter.isprintable() else "?" for letter in out)[:80]
    if not out or any(not letter.isprintable() for letter in out):
        raise UsageError(f"`{shown}` is not a name for a module", hint="--out pipelines/orders.py")
    here = Path.cwd()
    given = Path(out)
    if given.is_absolute():
        inside = given.is_relative_to(here)
        given = given.relative_to(here) if inside else given
    if given.is_absolute() or ".." in given.parts or "\\" in out or out.startswith("~"):
        what = f"`{shown}` lies outside of the working directory"
        raise UsageError(what, hint="name a file below it: --out pipelines/orders.py")
    if not given.name:
        raise UsageError(f"`{shown}` is not a name for a module", hint="--out pipelines/orders.py")
    for folder in given.parts[:-1]:
        if folder.startswith((".", "-")) or len(folder) > _MAX_NAME:
            raise UsageError(f"`{shown}`: no export goes into the folder `{folder[:80]}`", "--out pipelines/orders.py")
    _check_stem(given.name, shown)
    _refuse_links(here, given, shown)
    return here / given


def _check_stem(name: str, shown: str) -> None:
    stem, point, ending = name.rpartition(".")
    hint = f"--out {_suggested(stem or name)}.py"
    if not point or ending != "py" or not stem:
        raise UsageError(f"`{shown}` is not the name of a Python file", hint=hint)
    if not _STEM.fullmatch(stem) or keyword.iskeyword(stem) or stem in _RESERVED or len(stem) > _MAX_NAME:
        what = f"`{shown}` is not a name for a module: a to z, digits and `_`, at most {_MAX_NAME}, no word of Python"
        raise UsageError(what, hint=hint)


def _suggested(stem: str) -> str:
    """A name near a text that can be a module's."""
    slug = re.sub(r"[^a-z0-9_]+", "_", stem.lower()).strip("_")[:_MAX_NAME] or "pipelines"
    usual = not slug[0].isdigit() and not keyword.iskeyword(slug) and slug not in _RESERVED
    return slug if usual else f"flow_{slug}"[:_MAX_NAME]


def _refuse_links(here: Path, given: Path, shown: str) -> None:
    place = here
    for part in given.parts:
        place = place / part
        if place.is_symlink():
            what = f"`{shown}`: `{place.relative_to(here)}` is a symbolic link, and an export follows none"
            raise UsageError(what, hint="name the real place, below the working directory")


def _present(place: Path, out: str) -> str | None:
    """The text of the file; None when there is none."""
    try:
        return place.read_text(encoding="utf-8")  # line ends of any system are read as ours
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError:
        raise UsageError(f"`{out}` exists and is not a text file", hint="name another file") from None
    except OSError as error:
        raise UsageError(f"`{out}` cannot be read: {error.strerror or error}", hint="name another file") from None


def _diff(old: str | None, new: str, out: str) -> str:
    """A unified diff, shortened, secrets masked."""
    lines = list(
        difflib.unified_diff(
            (old or "").splitlines(), new.splitlines(), out if old is not None else "(no file)", "notebook", lineterm=""
        )
    )
    more = [f"... and {counted(len(lines) - _MAX_DIFF, 'more line')}"] if len(lines) > _MAX_DIFF else []
    return redact("\n".join([*lines[:_MAX_DIFF], *more]))


def _write(place: Path, text: str, *, new: bool) -> None:
    """Write the whole file or nothing; a new one never over a file that appeared meanwhile.

    Raises:
        UsageError: The system refuses.
    """
    try:
        _make_folder(place.parent)
        descriptor, name = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(_mode(place))
            _publish(Path(name), place, new=new)
        finally:
            with contextlib.suppress(FileNotFoundError):
                Path(name).unlink()
    except FileExistsError:
        raise UsageError(f"`{place.name}` was created meanwhile", hint="export again") from None
    except OSError as error:
        what = f"`{place.name}` cannot be written: {error.strerror or error}"
        raise UsageError(what, hint="nothing was changed; name another file or make room") from None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(error.errno, f"`{folder.name}` is a file and no folder") from None


def _mode(place: Path) -> int:
    """The permissions that the file has, or gets from the process's mask."""
    if place.exists():
        return place.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _publish(written: Path, place: Path, *, new: bool) -> None:
    if not new:
        written.replace(place)
        return
    try:
        os.link(written, place)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        written.replace(place)
