"""Finding the loader that a config names as "module:function".

Its module is looked for in `config.data.loader_dir`, then in the current folder, then among the installed packages.
`seadlif train` also looks beside the config file and in the folder above it, and records in the run's config where the
module was. A package `data` beside one config is not mistaken for another of the same name.
"""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from seadlif_jax.config import ConfigError
from seadlif_jax.utils.modules import has_module, import_from, search_path


class Loader(NamedTuple):
    """A loader and its module.

    Attributes:
      name: "module:function".
      module: may have `FIELDS` and `OPTIONAL`, names of fields of `config.data`, and a function `read(path, config)`.
      function: from the config to a `Dataset`.
      folder: the folder from which the module is imported; None if it is installed.
    """

    name: str
    module: ModuleType
    function: Callable[[ConfigDict], Any]
    folder: Path | None

    def load(self, config: ConfigDict) -> Any:
        """Return what the loader returns for a config."""
        with search_path([self.folder] if self.folder else []):
            return self.function(config)

    def read(self, path: Path, config: ConfigDict) -> Any:
        """Return the `Split` that the module's function `read` makes of a file.

        Raises:
          ConfigError: the module has no such function.
        """
        if not hasattr(self.module, "read"):
            raise ConfigError(f"config.data.loader = {self.name!r}: its module has no function read(path, config)")
        with search_path([self.folder] if self.folder else []):
            return self.module.read(path, config)


def find_loader(data: ConfigDict, folders: Sequence[Path] = ()) -> Loader:
    """Return the loader that `data.loader` names.

    Args:
      data: the section `data` of a config.
      folders: searched after `data.loader_dir`, and before the current folder.

    Raises:
      ConfigError: there is no such module or function, or the module cannot be imported.
    """
    module_name, _, function_name = data.loader.partition(":")
    recorded = [Path(data.loader_dir)] if data.get("loader_dir") else []
    searched = list(dict.fromkeys(folder.expanduser().resolve() for folder in (*recorded, *folders, Path.cwd())))
    is_users = module_name.partition(".")[0] not in ("seadlif_jax", "__main__")
    folder = next((folder for folder in searched if is_users and has_module(folder, module_name)), None)
    try:
        with search_path(searched):
            module = import_from(folder, module_name) if folder else importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigError(f"config.data.loader = {data.loader!r}: importing its module failed ({error})") from error
        raise ConfigError(
            f"config.data.loader = {data.loader!r}: no module {module_name} in {', '.join(map(str, searched))}, nor "
            "among the installed packages; put its file beside the config, or set config.data.loader_dir to its folder"
        ) from error
    except Exception as error:  # code of the user's
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"config.data.loader = {data.loader!r}: importing its module failed ({reason})") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ConfigError(f"config.data.loader = {data.loader!r}: module {module_name} has no function {function_name}")
    return Loader(data.loader, module, function, folder)


def record_loader_dir(config: ConfigDict, folders: Sequence[Path] = ()) -> ConfigDict:
    """Return the config with `data.loader_dir` set to where its loader is, for later use from any folder.

    Args:
      config: a normalized config.
      folders: as in `find_loader`.

    Raises:
      ConfigError: the loader is not found.
    """
    folder = find_loader(config.data, folders).folder
    recorded = ConfigDict(config.to_dict())
    recorded.data.loader_dir = str(folder) if folder else ""
    return recorded.lock()
