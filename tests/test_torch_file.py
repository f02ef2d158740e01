import pickle
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax.interop.torch_file import LEGACY_START, Placeholder, TorchFileError, read_torch_file
from tests.torch_files import Call, Storage, Tensor, foreign, save, tensor


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize(
    "dtype",
    ["float64", "float32", "float16", jnp.bfloat16, "int64", "int32", "int16", "int8", "uint8", "bool"],
    ids=str,
)
def test_numbers_are_those_that_were_saved(tmp_path, dtype, order):
    array = np.array([[0, 1, 1.5], [2, 3, 100]]).astype(dtype)
    loaded = read_torch_file(save(tmp_path / "file.pt", {"a": tensor(array)}, order))
    assert loaded["a"].dtype == array.dtype
    np.testing.assert_array_equal(loaded["a"], array)


def test_views_of_shared_numbers_are_read_as_they_were_seen(tmp_path):
    shared = Storage(np.arange(12, dtype=np.float32), "cuda:0")
    views = {
        "transposed": Tensor(shared, 0, (4, 3), (1, 4)),
        "column": Tensor(shared, 1, (3,), (4,)),
        "expanded": Tensor(shared, 2, (2, 2), (0, 1)),
        "scalar": Tensor(shared, 5, (), ()),
        "empty": Tensor(shared, 0, (0, 3), (3, 1)),
    }
    loaded = read_torch_file(save(tmp_path / "file.pt", views))
    grid = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(loaded["transposed"], grid.T)
    np.testing.assert_array_equal(loaded["column"], grid[:, 1])
    np.testing.assert_array_equal(loaded["expanded"], [[2, 3], [2, 3]])
    assert loaded["scalar"] == 5
    assert loaded["empty"].shape == (0, 3)
    loaded["column"][0] = -1
    assert loaded["transposed"][1, 0] == 1


def test_a_parameter_is_its_tensor(tmp_path):
    parameter = Call(foreign("torch._utils", "_rebuild_parameter"), (tensor(np.ones(2)), True, {}))
    np.testing.assert_array_equal(read_torch_file(save(tmp_path / "file.pt", [parameter]))[0], [1, 1])


@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("builtins", "eval"), ("subprocess", "Popen"), ("numpy", "save"), ("builtins", "getattr")],
)
def test_nothing_that_a_file_names_is_run(tmp_path, module, name):
    call = Call(foreign(module, name), (f"touch {tmp_path / 'run'}",))
    loaded = read_torch_file(save(tmp_path / "file.pt", {"call": call}))["call"]
    assert isinstance(loaded, Placeholder)
    assert loaded.type_name == f"{module}.{name}"
    assert [path.name for path in tmp_path.iterdir()] == ["file.pt"]


def test_tensors_of_kinds_that_numpy_lacks_leave_the_others_readable(tmp_path):
    strange = Tensor(Storage(np.zeros(2, np.uint8), kind="QUInt8"), 0, (2,), (1,))
    loaded = read_torch_file(save(tmp_path / "file.pt", {"strange": strange, "plain": tensor(np.ones(1))}))
    assert isinstance(loaded["strange"], Placeholder)
    assert loaded["plain"] == 1


def cut(path):
    path.write_bytes(path.read_bytes()[:-30])


def flip(path):
    content = bytearray(path.read_bytes())
    content[content.index(np.full(3, 7.0).tobytes())] ^= 1
    path.write_bytes(content)


def rewrite(**entries):
    def change(path):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in entries.items():
                archive.writestr(name.replace("__", "/").replace("_pkl", ".pkl"), content)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut, "file.pt is damaged .File is not a zip file.; copy or download it again"),
        (flip, "file.pt is damaged .Bad CRC-32"),
        (rewrite(archive__data_pkl=b"\x80\x02}q\x00"), "file.pt is damaged"),
        (rewrite(archive__data_pkl=b""), "file.pt is damaged .Ran out of input"),
        (rewrite(archive__data_pkl=pickle.dumps({1: 2})[:-1]), "file.pt is damaged"),
        (
            rewrite(word__document_xml=b"x"),
            "file.pt is a zip archive, but not a file of torch.save: it holds no data.pkl",
        ),
        (lambda path: path.write_bytes(LEGACY_START + b"..."), "in the format of PyTorch before 1.6; save it again"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "is not a file of torch.save .no zip archive"),
        (lambda path: path.write_bytes(b""), "is not a file of torch.save"),
        (lambda path: path.write_bytes(pickle.dumps([1])), "is not a file of torch.save"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1"), "is not a file of torch.save"),
        (lambda path: save(path, [Tensor(Storage(np.ones(3)), 1, (3,), (1,))]), "reaches beyond its 3 numbers"),
        (lambda path: save(path, [Tensor(Storage(np.ones(3)), 2, (3,), (-1,))]), "strides"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path, change, message):
    path = save(tmp_path / "file.pt", {"a": tensor(np.full(3, 7.0))})
    change(path)
    with pytest.raises(TorchFileError, match=message) as caught:
        read_torch_file(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt"):
        read_torch_file(tmp_path / "none.ckpt")
