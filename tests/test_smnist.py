import numpy as np
import pytest

from configs.smnist import get_config
from data import smnist
from seadlif_jax.data.dataset import DataError
from seadlif_jax.data.loading import check_dataset
from tests.idx_files import gzipped, idx_bytes, write_mnist


@pytest.fixture
def config(tmp_path):
    config = get_config()
    config.batch_size = 8
    config.data.dir = str(tmp_path)
    return config


def load(config, order):
    config.data.order = order
    dataset = smnist.load(config)
    check_dataset(dataset, config)
    return dataset


@pytest.mark.parametrize("folder", smnist.FOLDERS)
@pytest.mark.parametrize("compress", [True, False])
def test_pixels_or_rows_are_the_steps_of_an_image(config, tmp_path, folder, compress):
    images, labels = write_mnist(tmp_path / folder, compress=compress)["test"]
    sequential, rows = load(config, "sequential").test, load(config, "rows").test
    np.testing.assert_allclose(sequential.inputs, images.reshape(20, 784, 1) / 255, rtol=1e-6)
    np.testing.assert_allclose(rows.inputs, images / 255, rtol=1e-6)
    np.testing.assert_array_equal(rows.targets, np.stack([np.full(20, -1), labels], axis=1))
    np.testing.assert_array_equal(rows.block_index[3], [0] * 14 + [1] * 14)
    config.data.answer_from = 0.75
    assert load(config, "sequential").test.block_index.sum(axis=1).tolist() == [196] * 20


def test_the_order_of_the_pixels_is_the_same_for_all_images_and_follows_from_its_seed(config, tmp_path):
    write_mnist(tmp_path)
    sequential, permuted = load(config, "sequential"), load(config, "permuted")
    order = np.random.default_rng(0).permutation(784)
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(permuted, name).inputs, getattr(sequential, name).inputs[:, order])
    config.seed = config.data.seed = 7
    np.testing.assert_array_equal(load(config, "permuted").test.inputs, permuted.test.inputs)
    config.data.permutation_seed = 1
    assert (load(config, "permuted").test.inputs != permuted.test.inputs).any()


def test_a_part_of_train_is_held_out_or_trained_on(config, tmp_path):
    write_mnist(tmp_path)
    dataset = load(config, "rows")
    assert [len(split.inputs) for split in dataset[:3]] == [36, 4, 20]
    assert dataset.protocol == "best epoch on 10 % of the training images, held out at random"
    config.data.validation = "last"
    assert [len(split.inputs) for split in load(config, "rows")[:3]] == [40, 4, 20]


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
def test_a_missing_file_is_named_with_the_remedy(config, tmp_path, name):
    write_mnist(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=rf"there is no {tmp_path}/{name}; torchvision"):
        smnist.load(config)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not a file of bytes in the IDX format"),
        (b"not gzip", "is damaged"),
        (gzipped(idx_bytes(np.zeros((40, 28, 28))))[:-20], "is damaged"),
        (gzipped(idx_bytes(np.zeros((40, 28, 28)))[:-1]), "is damaged: it has 31375 bytes"),
        (gzipped(idx_bytes(np.zeros((40, 28, 28))) + b"0"), "is damaged: it has 31377 bytes"),
        (gzipped(b""), "is not a file of bytes in the IDX format"),
        (gzipped(b"\0\0\x08\x03\0\0"), "is not a file of bytes in the IDX format"),
        (
            gzipped(b"\0\0\x0d" + idx_bytes(np.zeros((40, 28, 28)))[3:]),
            "is not a file of bytes in the IDX format",
        ),
        (gzipped(idx_bytes(np.zeros((40, 14, 14)))), r"its shape is \(40, 14, 14\)"),
        (gzipped(idx_bytes(np.zeros(40))), r"its shape is \(40,\)"),
        (gzipped(idx_bytes(np.zeros((39, 28, 28)))), r"has labels of shape \(40,\), but .* 39 images"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused(config, tmp_path, content, problem):
    write_mnist(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(DataError, match=problem):
        smnist.load(config)


def test_labels_beyond_9_are_refused(config, tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzipped(idx_bytes(np.full(20, 10))))
    with pytest.raises(DataError, match="it must hold labels from 0 to 9"):
        smnist.load(config)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("order", "columns"),
        ("permutation_seed", -1),
        ("answer_from", 1.0),
        ("answer_from", float("nan")),
        ("num_classes", 20),
        ("validation", "test"),
        ("validation_fraction", 0.0),
    ],
)
def test_bad_settings_are_refused(config, tmp_path, field, value):
    write_mnist(tmp_path)
    config.data[field] = value
    with pytest.raises(DataError, match=rf"config\.data\.{field} = "):
        smnist.load(config)
