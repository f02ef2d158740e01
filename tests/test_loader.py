"""Loaders are found beside the config, and again from any folder."""

import shutil
import sys
import types

import pytest

from seadlif_jax import fit, load_run
from seadlif_jax.cli import main
from seadlif_jax.config import ConfigError
from seadlif_jax.data.loader import Loader, find_loader, record_folders
from seadlif_jax.runs.folder import read_config
from tests.helpers import ROOT, make_tiny_config, seadlif

LOADER = """
import numpy as np
from seadlif_jax.data import Dataset, Split
from sibling import NAME

def load(config):
    from late import PROTOCOL  # imports within a call find the folder, too
    labels = np.random.default_rng(0).integers(2, size=40)
    inputs = np.random.default_rng(1).random((40, 20, 5)) < 0.2 + 0.3 * labels[:, None, None]
    samples = Split(inputs, np.stack([np.full(40, -1), labels], axis=1), np.ones((40, 20), int))
    parts = (slice(0, 20), slice(20, 30), slice(30, 40))
    return Dataset(*map(samples.take, parts), protocol=PROTOCOL)
"""
CONFIG = """
from seadlif_jax.config import base_config
from sibling import NAME

def get_config():
    config = base_config().unlock()
    config.num_epochs = 1
    config.batch_size = 10
    config.data.loader = "data.mine:load"
    config.data.num_classes = 2
    config.model.hidden = (4,)
    return config.lock()
"""


@pytest.fixture(autouse=True)
def _modules_as_before():
    modules, path = dict(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - set(modules):
        if name.partition(".")[0] in ("data", "late", "my_loader", "sibling"):
            del sys.modules[name]
    sys.modules.update({name: module for name, module in modules.items() if name.partition(".")[0] == "data"})
    assert sys.path == path


@pytest.fixture
def project(tmp_path):
    """A folder with a config, and a package `data` of the same name as that of the clone."""
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "mine.py").write_text(LOADER)
    (folder / "sibling.py").write_text("NAME = 'sibling'")
    (folder / "late.py").write_text("PROTOCOL = 'best epoch on ten samples'")
    (folder / "mine.py").write_text(CONFIG)
    return folder


def data(loader, loader_dir=""):
    config = make_tiny_config()
    config.data.loader, config.data.loader_dir = loader, str(loader_dir)
    return config.data


@pytest.mark.slow
def test_a_package_data_beside_the_config_trains_and_is_found_again_from_elsewhere(project, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    workdir = f"--workdir={tmp_path / 'run'}"
    trained = seadlif("train", f"--config={project / 'mine.py'}", workdir, cwd=elsewhere)
    assert trained.returncode == 0, trained.stderr
    assert read_config(tmp_path / "run").data.loader_dir == str(project)
    evaluated = seadlif("evaluate", workdir, cwd=elsewhere)
    assert evaluated.returncode == 0, evaluated.stderr
    assert load_run(tmp_path / "run").dataset().protocol == "best epoch on ten samples"
    assert find_loader(make_tiny_config().data).folder == ROOT  # and the clone's package is found again

    shutil.move(project, tmp_path / "moved")
    with pytest.raises(ConfigError, match=rf"no module data\.mine in {project}, .* set config.data.loader_dir"):
        load_run(tmp_path / "run").dataset()
    assert load_run(tmp_path / "run").dataset(loader_dir=str(tmp_path / "moved")).protocol.startswith("best")
    moved = f"--config.data.loader_dir={tmp_path / 'moved'}"
    assert "pictures:" in seadlif("inspect", workdir, moved, cwd=elsewhere).stdout


@pytest.mark.parametrize("place", ["beside", "above", "current"])
def test_the_loader_is_found_beside_the_config_above_it_and_in_the_current_folder(tmp_path, monkeypatch, place):
    folders = {"beside": tmp_path / "a" / "configs", "above": tmp_path / "a", "current": tmp_path / "b"}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    (folders[place] / "my_loader.py").write_text("def load(config): ...")
    monkeypatch.chdir(folders["current"])
    config = make_tiny_config()
    config.data.loader = "my_loader:load"
    recorded = record_folders(config, [folders["beside"], folders["above"]])
    assert recorded.data.loader_dir == str(folders[place])


def test_a_file_of_the_users_does_not_stand_in_for_an_installed_package(tmp_path, monkeypatch):
    (tmp_path / "my_loader.py").write_text("import colorsys, quopri\ndef load(config): ...")
    (tmp_path / "colorsys.py").write_text("raise ImportError('not this one')")
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    assert find_loader(data("my_loader:load", tmp_path)).folder == tmp_path


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "my_loader:load", "module my_loader has no load"),
        ("load = 3", "my_loader:load", "load is not a function"),
        ("import nothing_like_it", "my_loader:load", "importing its module failed .No module named 'nothing_like_it'"),
        ("1 / 0", "my_loader:load", "importing its module failed .ZeroDivisionError: division by zero"),
        ("def load(:", "my_loader:load", "importing its module failed .SyntaxError"),
        ("", "other.part:load", "no module other.part in .*nor among the installed packages; put its file beside"),
        ("", "json.nothing:load", "no module json.nothing in "),
    ],
)
def test_a_loader_that_cannot_be_had_is_a_clear_error(tmp_path, content, name, message):
    (tmp_path / "my_loader.py").write_text(content)
    with pytest.raises(ConfigError, match=f"config.data.loader = '{name}': {message}"):
        find_loader(data(name, tmp_path))


def test_fit_records_where_the_loader_is(tmp_path, tiny_config):
    fit(tiny_config, tmp_path)
    assert read_config(tmp_path).data.loader_dir == str(ROOT)


def test_an_imported_module_of_the_main_program_is_a_loader(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "load_here", lambda config: None, raising=False)
    assert find_loader(data("__main__:load_here")).folder is None


def test_an_unknown_loader_on_the_command_line_leaves_nothing(project, tmp_path):
    (project / "data" / "mine.py").unlink()
    with pytest.raises(SystemExit, match=f"^error: config.data.loader = .* no module data.mine in {project}"):
        main(["train", f"--config={project / 'mine.py'}", f"--workdir={tmp_path / 'run'}"])
    assert not (tmp_path / "run").exists()


def test_parts_that_are_no_dictionary_are_refused(tiny_config):
    module = types.ModuleType("with_parts")
    module.parts = lambda config, split: None
    loader = Loader("with_parts:load", module, lambda config: None, None)
    with pytest.raises(ConfigError, match=r"parts\(config, 'test'\) returned a value of type NoneType; it must be"):
        loader.parts(tiny_config, "test")
