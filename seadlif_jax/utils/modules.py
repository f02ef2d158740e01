"""Importing modules from a user's folders, without one of them standing in for an installed package.

Neither JAX nor anything large is imported here: processes that only read files use it, too.
"""

import contextlib
import difflib
import hashlib
import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from seadlif_jax.utils.errors import SeadlifError, with_type


class FoundObject(NamedTuple):
    """An object of a module, and the folder from which the module is imported; None if it is installed."""

    value: Any
    module: ModuleType
    folder: Path | None


def find_object(name: str, folders: Sequence[Path], option: str) -> FoundObject:
    """Return the object that "module:object" names.

    Args:
      name: names of a module and of an object in it.
      folders: searched first; then the current folder and the installed packages.
      option: field of the config that has the name, for the error; `<option>_dir` is the first folder.

    Raises:
      SeadlifError: there is no such module or object, or the module cannot be imported.
    """
    module_name, _, object_name = name.partition(":")
    searched = list(dict.fromkeys(folder.expanduser().resolve() for folder in (*folders, Path.cwd())))
    is_users = module_name.partition(".")[0] not in ("seadlif_jax", "__main__")
    folder = next((folder for folder in searched if is_users and has_module(folder, module_name)), None)
    try:
        with search_path(searched):
            module = import_from(folder, module_name) if folder else importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise SeadlifError(f"{option} = {name!r}: importing its module failed ({error})") from error
        raise SeadlifError(
            f"{option} = {name!r}: no module {module_name} in {', '.join(map(str, searched))}, nor among the installed "
            f"packages; put its file beside the config, or set {option}_dir to its folder"
        ) from error
    except Exception as error:  # code of the user's
        raise SeadlifError(f"{option} = {name!r}: importing its module failed ({with_type(error)})") from error
    if not hasattr(module, object_name):
        similar = difflib.get_close_matches(object_name, vars(module), n=1)
        hint = f"; did you mean {similar[0]}?" if similar else ""
        raise SeadlifError(f"{option} = {name!r}: module {module_name} has no {object_name}{hint}")
    return FoundObject(getattr(module, object_name), module, folder)


@contextlib.contextmanager
def search_path(folders: Sequence[Path]) -> Iterator[None]:
    """Let modules in these folders be imported, unless an installed package has the same name."""
    added = [folder for folder in dict.fromkeys(map(str, folders)) if folder not in sys.path]
    sys.path.extend(added)
    try:
        yield
    finally:
        for folder in added:
            with contextlib.suppress(ValueError):  # the code in between has removed it
                sys.path.remove(folder)


def has_module(folder: Path, name: str) -> bool:
    """Return whether a folder has the file of a module, such as `data/bsd.py` for `data.bsd`."""
    base = folder.joinpath(*name.split("."))
    try:
        return base.with_name(f"{base.name}.py").is_file() or (base / "__init__.py").is_file()
    except (OSError, ValueError):  # no file can have this name
        return False


def import_from(folder: Path, name: str) -> ModuleType:
    """Import a module from a folder, whatever else has its name.

    A package of the same name from another folder is dropped from `sys.modules`; whoever has imported it keeps it.
    """
    importlib.invalidate_caches()  # a file may be newer than Python's list of the folder
    top = name.partition(".")[0]
    loaded = sys.modules.get(top)
    if loaded is None or folder.resolve() not in _folders(loaded):
        for other in [module for module in sys.modules if module == top or module.startswith(f"{top}.")]:
            del sys.modules[other]
        _import_top(folder, top)
    return importlib.import_module(name)


def module_folder(module: ModuleType) -> Path | None:
    """Return the folder from which the whole name of a module is imported; None for a module without a file."""
    file = getattr(module, "__file__", None)
    if module.__spec__ is None or file is None:
        return None
    is_package = module.__spec__.submodule_search_locations is not None
    return Path(file).resolve().parents[module.__name__.count(".") + is_package]


def module_checksum(module: ModuleType) -> str:
    """Return a checksum of the file of a module; empty for one without a file, such as that of a notebook."""
    file = getattr(module, "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16] if file else ""


def _import_top(folder: Path, name: str) -> None:
    spec = importlib.machinery.PathFinder.find_spec(name, [str(folder)])
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r} in {folder}", name=name)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        if spec.origin is not None and spec.loader is not None:  # a folder without __init__.py has nothing to run
            spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise


def _folders(module: ModuleType) -> set[Path]:
    """Return the folders that hold the files of a top-level module, or of a package's parts."""
    locations = [*getattr(module, "__path__", ())] or [getattr(module, "__file__", None) or ""]
    return {Path(location).resolve().parent for location in locations}
