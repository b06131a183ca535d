"""Loading the modules that declare pipelines: by dotted name, by file, or as the settings say."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ematix_nb.declare import registry
from ematix_nb.errors import ConfigError, DeclarationError, FlowError, UnknownNameError, UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType, TracebackType

_PACKAGE = Path(__file__).resolve().parent.parent
_MESSAGE = 400


class LoadedModule(NamedTuple):
    """A module that was loaded."""

    name: str
    """As it was named."""
    pipelines: tuple[str, ...]
    """The pipelines and transforms that it (or what it imports) declares."""


def load_modules(names: tuple[str, ...] | None = None) -> list[LoadedModule]:
    """Import modules, so that what they declare is in the registry.

    The working directory can be imported from.

    Args:
        names: Dotted names, .py files or folders; None takes those that the settings files list.

    Raises:
        UnknownNameError: There is no such module.
        DeclarationError: A module raises while it is imported; says where in the user's file.
    """
    _importable(Path.cwd())
    wanted = [(name, name) for name in names] if names is not None else list(_from_settings())
    return [_load(shown, reference) for shown, reference in wanted]


def listed_modules() -> list[str]:
    """The modules that the settings files list."""
    return [shown for shown, _ in _from_settings()]


def _from_settings() -> Iterator[tuple[str, str]]:
    """What to show and what to load; paths are relative to the settings file."""
    from ematix_nb.connections.profiles import settings_files

    seen: set[str] = set()
    for settings in settings_files():
        for name in settings.modules:
            if name in seen:
                continue
            seen.add(name)
            _importable(settings.path.parent)
            yield name, (str(settings.path.parent / name) if is_path(name) else name)


def is_path(name: str) -> bool:
    """Whether a module is named by its file or folder.

    Example:
        >>> is_path("pipelines/orders.py"), is_path("orders.py"), is_path("pipelines.orders")
        (True, True, False)
    """
    return name.endswith((".py", ".ipynb")) or "/" in name or os.sep in name


def _importable(folder: Path, *, first: bool = True) -> None:
    text = str(folder)
    if text not in sys.path:
        sys.path.insert(0 if first else len(sys.path), text)


def _load(shown: str, reference: str) -> LoadedModule:
    before = _declared()
    files = [str(Path(file).resolve()) for module in _modules(shown, reference) if (file := _file_of(module))]
    after = _declared()
    new = [name for name, origin in after.items() if name not in before or origin in files]
    return LoadedModule(shown, tuple(new))


def _declared() -> dict[str, str]:
    both = {**registry.transforms(), **registry.pipelines()}
    return {name: declared.origin for name, declared in both.items()}


def _file_of(module: ModuleType) -> str | None:
    return getattr(module, "__file__", None)


def _modules(shown: str, reference: str) -> list[ModuleType]:
    if not is_path(reference):
        return [_by_name(shown)]
    path = Path(reference)
    if path.is_dir():
        return [_by_path(str(file), file) for file in sorted(path.glob("*.py")) if not file.name.startswith("_")]
    return [_by_path(shown, path)]


def _by_name(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"`{name[:80]}` is not the name of a module", hint="write package.module, or a path with .py")
    try:
        importlib.invalidate_caches()
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and (name == exc.name or name.startswith(f"{exc.name}.")):
            raise _not_found(name) from exc
        raise _raised(name, exc) from exc
    except (Exception, SystemExit) as exc:
        # whatever a user's module raises is told with the user's line
        raise _raised(name, exc) from exc


def _by_path(shown: str, path: Path) -> ModuleType:
    if path.suffix != ".py":
        hint = f"flow export {shown} --out pipelines.py makes a module of it" if path.suffix == ".ipynb" else ""
        raise UsageError(
            f"`{shown}` is not a Python module", hint=hint or "name a .py file, a folder or package.module"
        )
    if not path.is_file():
        near = did_you_mean(path.name, [file.name for file in path.parent.glob("*.py")] if path.parent.is_dir() else [])
        raise UnknownNameError(f"there is no file `{shown}`; looked in {path.parent.resolve()}", hint=near)
    path = path.resolve()
    name, root = _dotted(path)
    _importable(root, first=False)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"`{shown}` is not a Python module")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as exc:
        # as in _by_name
        sys.modules.pop(name, None)
        if before is not None:
            sys.modules[name] = before
        raise _raised(shown, exc) from exc
    return module


def _dotted(path: Path) -> tuple[str, Path]:
    """A file's module name and the folder that it is imported from, through its packages."""
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    name = ".".join(parts)
    taken = sys.modules.get(name)
    file = _file_of(taken) if taken is not None else None
    if taken is not None and (file is None or Path(file).resolve() != path):
        # a file such as pipelines/json.py must not take the place of another module
        name = f"flow_module_{abs(hash(str(path))):x}_{path.stem}"
    return name, folder


def _not_found(name: str) -> UnknownNameError:
    folder = Path.cwd()
    known = [file.stem for file in folder.glob("*.py")]
    known += [f"{file.parent.name}.{file.stem}" for file in folder.glob("*/*.py") if file.stem != "__init__"]
    searched = f"searched {folder} and the installed packages"
    hint = did_you_mean(name, known) or "name a module that can be imported from here, or a path with .py"
    return UnknownNameError(f"there is no module `{name}`; {searched}", hint=hint)


def _raised(name: str, exc: BaseException) -> FlowError:
    """The error of a user's module with the user's file and line."""
    from ematix_nb.connections.secret import redact

    where = _user_line(exc)
    if isinstance(exc, FlowError):
        return type(exc)(exc.what, exc.hint, exc.where or where)
    text = " ".join(redact(str(exc.msg if isinstance(exc, SyntaxError) else exc)).split())[:_MESSAGE]
    what = f"module `{name}` cannot be imported: {type(exc).__name__}" + (f": {text}" if text else "")
    if isinstance(exc, ImportError):
        hint = "install the package it names, or correct the import"
        return ConfigError(what, hint=hint, where=where)
    return DeclarationError(what, hint="correct that line; --debug shows the traceback", where=where)


def _user_line(exc: BaseException) -> str:
    if isinstance(exc, SyntaxError) and exc.filename:
        return f"{exc.filename}:{exc.lineno or 1}"
    places = [place for place in _places(exc.__traceback__) if _is_users(place[0])]
    return f"{places[-1][0]}:{places[-1][1]}" if places else ""


def _places(trace: TracebackType | None) -> Iterator[tuple[str, int]]:
    while trace is not None:
        yield trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next


def _is_users(filename: str) -> bool:
    if filename.startswith("<"):
        return False
    path = Path(filename).resolve()
    libraries = [_PACKAGE, *(Path(folder).resolve() for folder in _library_folders())]
    return not any(path.is_relative_to(folder) for folder in libraries)


def _library_folders() -> list[str]:
    import sysconfig

    paths = sysconfig.get_paths()
    return [paths[name] for name in ("stdlib", "purelib", "platlib")]
