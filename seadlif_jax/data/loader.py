"""Finding the loader that a config names as "module:function", and recording where it, neuron and task were found.

Its module is looked for in `config.data.loader_dir`, then in the current folder, then among the installed packages.
`seadlif train` also looks beside the config file and in the folder above it, and records in the run's config where the
module was. A package `data` beside one config is not mistaken for another of the same name.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from seadlif_jax.build import find_task
from seadlif_jax.config import ConfigError, configured_neuron
from seadlif_jax.utils.errors import SeadlifError
from seadlif_jax.utils.modules import find_object, search_path


class Loader(NamedTuple):
    """A loader and its module.

    Attributes:
      name: "module:function".
      module: may have `FIELDS` and `OPTIONAL`, names of fields of `config.data`, and functions `read(path, config)`,
        `parts(config, split)`, `groups(config)` and `recordings(config, split)`.
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

    def parts(self, config: ConfigDict, split: str) -> Mapping[str, np.ndarray]:
        """Return named masks over a split's `targets`, by the module's `parts(config, split)`; none without it.

        Raises:
          ConfigError: it does not return a dictionary.
        """
        if not hasattr(self.module, "parts"):
            return {}
        with search_path([self.folder] if self.folder else []):
            parts = self.module.parts(config, split)
        if not isinstance(parts, Mapping):
            raise ConfigError(
                f"config.data.loader = {self.name!r}: parts(config, {split!r}) returned a value of type "
                f"{type(parts).__name__}; it must be a dictionary of masks by name"
            )
        return parts

    def recordings(self, config: ConfigDict, split: str) -> Sequence[tuple[str, np.ndarray]] | None:
        """Return the whole recordings of a split, with their names, by the module's `recordings(config, split)`.

        None if the module has no such function.
        """
        if not hasattr(self.module, "recordings"):
            return None
        with search_path([self.folder] if self.folder else []):
            return self.module.recordings(config, split)

    def groups(self, config: ConfigDict, num_samples: int) -> np.ndarray:
        """Return the group of each training sample, such as its speaker, from the module's `groups(config)`.

        Raises:
          ConfigError: the module has no such function, or it does not return one group for each sample.
        """
        if not hasattr(self.module, "groups"):
            raise ConfigError(
                f"config.data.loader = {self.name!r}: its module has no function groups(config); add one, or leave out "
                "--by_group"
            )
        with search_path([self.folder] if self.folder else []):
            groups = np.asarray(self.module.groups(config))
        if groups.shape != (num_samples,):
            raise ConfigError(
                f"config.data.loader = {self.name!r}: groups(config) returned an array of shape {groups.shape}; it "
                f"must be ({num_samples},), one group for each training sample"
            )
        return groups


def find_loader(data: ConfigDict, folders: Sequence[Path] = ()) -> Loader:
    """Return the loader that `data.loader` names.

    Args:
      data: the section `data` of a config.
      folders: searched after `data.loader_dir`, and before the current folder.

    Raises:
      ConfigError: there is no such module or function, or the module cannot be imported.
    """
    recorded = [Path(data.loader_dir)] if data.get("loader_dir") else []
    try:
        found = find_object(data.loader, [*recorded, *folders], "config.data.loader")
    except SeadlifError as error:
        raise ConfigError(str(error)) from error
    if not callable(found.value):
        raise ConfigError(f"config.data.loader = {data.loader!r}: {data.loader.partition(':')[2]} is not a function")
    return Loader(data.loader, found.module, found.value, found.folder)


def record_folders(config: ConfigDict, folders: Sequence[Path] = ()) -> ConfigDict:
    """Return the config with the folders of its loader, its neuron and its task, and the checksums of the latter two.

    So the run can be used from anywhere later, and notices another version of the neuron or the task.

    Args:
      config: a normalized config.
      folders: as in `find_loader`.

    Raises:
      ConfigError: the loader, the neuron or the task is not found.
    """
    loader_dir = find_loader(config.data, folders).folder
    neuron, task = configured_neuron(config.model, folders), find_task(config, folders)
    recorded = ConfigDict(config.to_dict())
    recorded.data.loader_dir = str(loader_dir) if loader_dir else ""
    recorded.task_dir = str(task.folder) if task.folder else ""
    recorded.task_checksum = task.checksum
    recorded.model.neuron_dir = str(neuron.folder) if neuron.folder else ""
    recorded.model.neuron_checksum = neuron.checksum
    return recorded.lock()
