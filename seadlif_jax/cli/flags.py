"""Parsing absl's flags, and those of a config file, with one line for whatever is wrong."""

import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from seadlif_jax.config import CHECKS, ConfigError, add_neuron_fields, set_neuron, unknown_field
from seadlif_jax.neurons import NEURONS

WRONG_TYPE = re.compile(  # an error of ml_collections
    r"Could not override field '(\w+)' \(reference\)\. (.*) is of original type <class '(\w+)'> "
    r"and cannot be casted to type <class '(\w+)'>"
)

MISSING_FILE = re.compile(r"(.*) \[Errno 2\] No such file or directory: '\1'", re.DOTALL)
WRONG_BOOLEAN = re.compile(r"flag --(config\.[\w.]+)=(.*): \('Non-boolean argument to boolean flag', .*")
WRONG_NUMBER = re.compile(
    r"flag --(config\.[\w.]+)=(.*): (?:could not convert string to (float)|invalid literal for int\(\)).*"
)


def parse_flags(
    argv: Sequence[str], check: Callable[[], None] = lambda: None, values: flags.FlagValues = flags.FLAGS
) -> list[str]:
    """Parse a command line and call `check`; exit with one line if it, or a config file, is wrong.

    Args:
      argv: name of the program, and its arguments, all of which must be flags.
      check: further checks of the values.
      values: the flags that there are.

    Returns:
      The name of the program alone, as `absl.app.run` expects.
    """
    names = _given_fields(argv)
    for name in names:
        if names.count(name) > 1:  # tuples would be joined
            sys.exit(f"error: --config.{name} is given {names.count(name)} times; give it once")
    try:
        with warnings.catch_warnings():
            # ml_collections loads config files by a method that Python has deprecated; it would fail where the user
            # has made warnings errors.
            warnings.filterwarnings("ignore", r".*load_module\(\)", DeprecationWarning)
            rest = values(argv)
            check()
    except Exception as error:  # a config file is code of the user's
        sys.exit(f"error: {_reason(error, argv)}")
    if rest[1:]:
        sys.exit(f"error: {rest[1]!r}: not an option; every argument has the form --name=value")
    return rest


class ConfigFileParser(flags.ArgumentParser):
    """Parser of a config file, which adds hyperparameters of the neuron, with the defaults of its class.

    Args:
      parser: the parser of config files.
      argv: the command line, which may name the neuron.
      folders: searched for the neuron's module.
    """

    def __init__(self, parser: flags.ArgumentParser, argv: Sequence[str], folders: Sequence[Path]):
        self._parser = parser
        self._neuron, self._neuron_dir = (option(argv, f"config.model.{name}") for name in ("neuron", "neuron_dir"))
        self._folders = folders

    def parse(self, path: str) -> Any:
        config = self._parser.parse(path)
        if isinstance(config, ConfigDict) and {"model", "sweep"} <= set(config) and "neuron" in config.model:
            folder = self._neuron_dir or config.model.get("neuron_dir")  # later checks say what is wrong elsewhere
            folders = [Path(folder), *self._folders] if folder else self._folders
            if self._neuron and self._neuron != config.model.neuron:  # the file's numbers are for another one
                set_neuron(config, self._neuron, folders)
            elif config.model.neuron not in NEURONS:
                add_neuron_fields(config, config.model.neuron, folders)
        return config


def option(argv: Sequence[str], name: str) -> str | None:
    """Return the value that a command line gives an option, before any of it is parsed."""
    value = None
    for argument, following in zip(argv, [*argv[1:], None], strict=True):
        key, equals, text = argument.partition("=")
        if key in (f"--{name}", f"-{name}"):
            value = text if equals else following
    return value


def _reason(error: Exception, argv: Sequence[str]) -> str:
    """Return the message of an error in one line; of an error in `get_config`, the last line of its traceback."""
    message: object = error
    while isinstance(message, BaseException) and len(message.args) == 1:
        message = message.args[0]  # an error may carry another one as its message
    lines = str(message).strip().splitlines()
    text = lines[-1] if "Traceback" in str(message) else " ".join(" ".join(lines).split())
    text = text.removeprefix(f"{ConfigError.__module__}.ConfigError: ")
    text = text.partition("Attempted [Relative path]: ")[2] or text
    if missing := MISSING_FILE.fullmatch(text):
        return f"there is no config file {missing[1]}"
    if boolean := WRONG_BOOLEAN.fullmatch(text):
        return f"{boolean[1]} = {boolean[2]}: on the command line, it must be True or False"
    if number := WRONG_NUMBER.fullmatch(text):
        return f"{number[1]} = {number[2]}: it must be {'a number' if number[3] else 'a whole number'}"
    if "get_config() takes 0 positional arguments" in text:
        return "the config file has no variants; leave out the colon and what follows it"
    if kinds := WRONG_TYPE.search(text):
        return "the field {} is set to {}, of type {}; it must be of type {}".format(*kinds.groups())
    return _unknown_field(text, argv) or text


def _given_fields(argv: Sequence[str]) -> list[str]:
    """Return the fields of the config that a command line sets: `model.hidden` for `--config.model.hidden=(8,)`."""
    names = [argument.lstrip("-").partition("=")[0] for argument in argv if argument.startswith("-")]
    return [name.removeprefix("config.") for name in names if name.startswith("config.")]


def _unknown_field(text: str, argv: Sequence[str]) -> str | None:
    """Return the message for an unknown field of the config if the text is an error of ml_collections about one."""
    given = _given_fields(argv)
    for name in given:
        if any(name.startswith(f"{field}.") for field in CHECKS):  # a field has no fields within it
            return str(unknown_field(name))
    is_field = re.fullmatch(r"'[\w.]+'", text) or ("Did you mean" in text and "flag" not in text)
    key = re.search(r"""(?:Key |'|instead of )"?([\w.]+)['"]""", text)
    if not key or not (is_field or "config is locked" in text):
        return None
    # The error has a part of the name, the command line all of it, unless the field is set in the config file.
    having = [name for name in given if key[1] in name.split(".")]
    whole = min(having, key=CHECKS.__contains__, default=None)  # one that is unknown, if there are others
    if whole is None and "config is locked" in text:
        return (
            f"the config file sets {key[1]!r}, which is no field of the config: correct the name, or, for a field of "
            "your own, call unlock() on the config before"
        )
    similar = re.search(r'Did you mean "(\w+)"', text)  # among the fields that only this loader has, too
    known = [whole.replace(key[1], similar[1])] if whole and similar else []
    return str(unknown_field(whole or key[1], known))
