import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torchvision

from lit_knn.data import CIFAR10
from lit_knn.errors import UserError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A test batch of four images, in torchvision's layout and with its checksums adapted."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.arange(4 * 3072, dtype=np.int64).reshape(4, 3072).astype(np.uint8)
    batch = pickle.dumps({"data": pixels, "labels": [3, 8, 8, 0]})
    meta = pickle.dumps({"label_names": ["airplane", "automobile"]})
    (folder / "test_batch").write_bytes(batch)
    (folder / "batches.meta").write_bytes(meta)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "train_list", [])
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "test_list", [["test_batch", hashlib.md5(batch).hexdigest()]])
    monkeypatch.setitem(torchvision.datasets.CIFAR10.meta, "md5", hashlib.md5(meta).hexdigest())
    return tmp_path


def test_reads_torchvisions_files(root: Path) -> None:
    source = CIFAR10(root=root, split="test")
    assert source.shard_names() == ["cifar10-test-0"]
    assert source.class_names == ["airplane", "automobile"]
    shard = source.open_shard(0)
    assert list(shard.keys()) == ["test/00000", "test/00001", "test/00002", "test/00003"]
    sample = shard.read(1)
    assert sample.label == 8
    assert isinstance(sample.image, np.ndarray)
    planes = (np.arange(3072) + 3072).astype(np.uint8).reshape(3, 32, 32)  # the files hold planes
    np.testing.assert_array_equal(sample.image, planes.transpose(1, 2, 0))


def test_changed_or_missing_files(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (root / "cifar-10-batches-py" / "test_batch").write_bytes(b"something else")
    for folder in (root, tmp_path_factory.mktemp("empty")):
        with pytest.raises(UserError, match="cifar-10-python"):
            CIFAR10(root=folder, split="test").open_shard(0)


def test_training_has_five_shards() -> None:
    assert len(CIFAR10(root="/nowhere", split="train").shard_names()) == 5
