"""What every source of the package keeps; a new one is found by itself, and needs a builder here."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lit_knn.data import (
    CIFAR10,
    YFCC100M,
    Arrays,
    Digits,
    ImageFolder,
    ImageNet,
    ImageSource,
    Sample,
    TarShards,
    decode,
)
from tests.conformance import derived
from tests.data.conftest import encode, photo, write_tar
from tests.data.sources import test_cifar10, test_yfcc100m

cifar10 = test_cifar10.root


def folders(root: Path, classes: list[str]) -> Path:
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for each in range(3):
            (root / name / f"{each}.png").write_bytes(encode(photo(number + each)))
    return root


def shards(root: Path) -> Path:
    members = {
        f"{key}.{kind}": data for key in "01" for kind, data in (("png", encode(photo(0))), ("cls", key.encode()))
    }
    write_tar(root / "a.tar", members)
    return root


def mirror(root: Path) -> Path:
    test_yfcc100m.write(root / "yfcc100m_dataset-0.bz2", range(4))
    for number in range(4):
        (file := root / test_yfcc100m.key(number)).parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(photo(number)))
    return root


def arrays(root: Path) -> Path:
    np.save(root / "images.npy", np.zeros((5, 8, 8, 3), np.uint8))
    np.save(root / "labels.npy", np.arange(5))
    return root


BUILD = {  # where its images are comes first, as in torchvision
    "Arrays": lambda root: Arrays(arrays(root) / "images.npy", labels=root / "labels.npy", shard_size=2),
    "CIFAR10": lambda root: CIFAR10(root, split="test"),
    "Digits": lambda root: Digits(split="test"),
    "ImageFolder": lambda root: ImageFolder(folders(root / "f", ["cat", "dog"]), shard_size=4),
    "ImageNet": lambda root: ImageNet(folders(root / "val", ["n01440764", "n01443537"]).parent, split="val"),
    "TarShards": lambda root: TarShards(str(shards(root) / "*.tar")),
    "YFCC100M": lambda root: YFCC100M(metadata=str(mirror(root) / "*.bz2"), root=root, shard_size=3),
}


@pytest.fixture
def source(request: pytest.FixtureRequest, tmp_path: Path) -> ImageSource:
    folder = request.getfixturevalue("cifar10") if request.param == "CIFAR10" else tmp_path
    return BUILD[request.param](folder)


each_source = pytest.mark.parametrize("source", derived(ImageSource), indirect=True)


def pixels(sample: Sample) -> NDArray[Any]:
    return decode(sample.image).numpy() if isinstance(sample.image, bytes) else np.moveaxis(sample.image, 2, 0)


@each_source
def test_its_shards_have_names_keys_and_samples(source: ImageSource) -> None:
    names = source.shard_names()
    assert len(set(names)) == len(names) > 0
    for index in range(len(names)):
        shard = source.open_shard(index)
        assert len(set(shard.keys())) == len(shard.keys()) == len(shard) > 0
        assert not list(shard.unread())
        again = pickle.loads(pickle.dumps(shard))  # as a worker of a loader gets it
        for row in range(len(shard)):
            sample, copy = shard.read(row), again.read(row)
            assert pixels(sample).shape[0] == 3
            assert np.array_equal(pixels(sample), pixels(copy))
            assert isinstance(sample.label, int)
            assert sample.label == copy.label >= -1


@each_source
def test_its_identity_is_the_same_again_and_shared_with_itself(source: ImageSource) -> None:
    again = pickle.loads(pickle.dumps(source))
    assert source.identity() == again.identity() != ""
    assert source.shared(again)


@each_source
def test_its_shards_are_told_from_one_another_or_not_at_all(source: ImageSource) -> None:
    known = source.shard_identities()
    if known is not None:
        assert len(set(known)) == len(known) == len(source.shard_names())
        assert pickle.loads(pickle.dumps(source)).shard_identities() == known


@each_source
def test_its_labels_are_classes_that_it_names(source: ImageSource) -> None:
    shard = source.open_shard(0)
    labels = {shard.read(row).label for row in range(len(shard))}
    if source.class_names is not None and type(source) is not CIFAR10:  # whose example names two of its classes
        assert labels <= set(range(len(source.class_names)))
