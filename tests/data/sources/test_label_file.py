from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from lit_knn.data import ImageFolder, ImageNet
from lit_knn.data.sources.label_file import LabelFile
from lit_knn.errors import UserError
from tests.data.conftest import encode, photo

IMAGE = encode(photo(0, 6, 6))
WNIDS = {1: "n02102040", 2: "n01440764", 3: "n03888257"}  # 217, 0 and 701
TRUTH = [217, 701, 0, 217]
DEVKIT = [1, 3, 2, 1]
KAGGLE = """ImageId,PredictionString
ILSVRC2012_val_00000003,n01440764 85 1 499 272
ILSVRC2012_val_00000002,n03888257 131 0 499 254 n03888257 1 2 3 4
ILSVRC2012_val_00000001,n02102040 23 57 170 194
ILSVRC2012_val_00000004,n02102040 23 57 170 194
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def flat(root: Path) -> Path:
    """A folder ``val`` of four images, without folders of classes."""
    (root / "val").mkdir(parents=True)
    for number in range(1, 5):
        (root / "val" / f"ILSVRC2012_val_{number:08d}.JPEG").write_bytes(IMAGE)
    return root


def devkit(folder: Path) -> Path:
    """The two files of the devkit: four labels, and what their numbers mean; the fourth synset is no leaf."""
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(float(number), wnid, "words", 0.0) for number, wnid in [*WNIDS.items(), (1001, "n00001740")]]
    folder.mkdir(parents=True)
    savemat(folder / "meta.mat", {"synsets": np.array(rows, dtype=kind)[:, None]})
    return write(folder / "ILSVRC2012_validation_ground_truth.txt", "".join(f"{number}\n" for number in DEVKIT))


def labels(source: ImageFolder) -> list[int]:
    (shard,) = [source.open_shard(index) for index in range(len(source.shard_names()))]
    return [shard.read(row).label for row in range(len(shard))]


def test_kaggles_layout(tmp_path: Path) -> None:
    root = flat(tmp_path / "ILSVRC" / "Data" / "CLS-LOC")
    write(tmp_path / "LOC_val_solution.csv", KAGGLE)
    source = ImageNet(root=root, split="val")
    assert labels(source) == TRUTH
    assert not source.label_problem(1000)
    assert source.class_names is not None
    assert source.class_names[217] == "English springer"


@pytest.mark.parametrize("extension", ["", ".JPEG"])
def test_caffes_list(tmp_path: Path, extension: str) -> None:
    lines = [f"ILSVRC2012_val_{number:08d}{extension} {label}\n" for number, label in enumerate(TRUTH, start=1)]
    write(flat(tmp_path) / "caffe_ilsvrc12" / "val.txt", "".join(lines))
    assert labels(ImageNet(root=tmp_path, split="val")) == TRUTH


def test_the_devkits_numbers(tmp_path: Path) -> None:
    devkit(flat(tmp_path) / "ILSVRC2012_devkit_t12" / "data")
    assert labels(ImageNet(root=tmp_path, split="val")) == TRUTH
    (tmp_path / "ILSVRC2012_devkit_t12" / "data" / "meta.mat").write_bytes(b"no such file")
    with pytest.raises(UserError, match=r"meta\.mat.*cannot be read"):
        labels(ImageNet(root=tmp_path, split="val"))


def test_a_list_of_wordnet_ids_in_order(tmp_path: Path) -> None:
    path = write(flat(tmp_path) / "synsets.txt", "".join(f"{WNIDS[number]}\n" for number in DEVKIT))
    assert labels(ImageNet(root=tmp_path, split="val", labels=path)) == TRUTH


def test_a_network_of_other_classes(tmp_path: Path) -> None:
    write(flat(tmp_path) / "LOC_val_solution.csv", KAGGLE)
    source = ImageNet(root=tmp_path, split="val", classes=["n03888257", "n02102040", "n01440764"])
    assert labels(source) == [1, 0, 2, 1]
    assert not source.label_problem(3)


def test_any_flat_folder(tmp_path: Path) -> None:
    path = write(flat(tmp_path).parent / "labels.csv", "id,label\n" + "".join(f"{i},{i}\n" for i in range(9)))
    for name in ("1.png", "3.jpg"):
        (tmp_path / "images" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "images" / name).write_bytes(IMAGE)
    source = ImageFolder(root=tmp_path / "images", labels=path)
    assert labels(source) == [1, 3]
    assert not source.label_problem(9)
    assert "numbers up to 3, but the network has 3 classes" in source.label_problem(3)
    write(path, "1.png\tpolar bear\n3.jpg\tcat\n")
    assert labels(ImageFolder(root=tmp_path / "images", labels=path)) == [1, 0]
    assert labels(ImageFolder(root=tmp_path / "images", labels=path, classes=["polar bear", "x", "cat"])) == [0, 2]


def test_paths_below_folders(tmp_path: Path) -> None:
    for key in ("a/1.png", "b/1.png", "b/2.png"):
        write(tmp_path / "images" / key, "").write_bytes(IMAGE)
    path = write(tmp_path / "labels.txt", "./b/1.png 4\na/1.png 5\n")
    assert labels(ImageFolder(root=tmp_path / "images", labels=path)) == [5, 4, -1]


def test_labels_are_part_of_the_identity(tmp_path: Path) -> None:
    path = write(flat(tmp_path) / "labels.csv", KAGGLE)
    before = ImageNet(root=tmp_path, split="val", labels=path).identity()
    path.write_text(KAGGLE.replace("n01440764", "n03888257"))
    assert ImageNet(root=tmp_path, split="val", labels=path).identity() != before


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("ILSVRC2012_val_00000001 1000\nILSVRC2012_val_00000002 1\n", "the number 1000"),
        ("ILSVRC2012_val_00000001 no fox\n", "which is none of them"),
        ("ILSVRC2012_val_00000001 1\nILSVRC2012_val_00000001.JPEG 2\n", "two classes, 1 and 2"),
        ("other 1\n", "names no image of"),
        ("a,\n", "line 1 of .* holds no class"),
        ("", "names no image of"),
        ("3\n", r"meta\.mat.*cannot be read"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, sentence: str) -> None:
    path = write(flat(tmp_path) / "labels.txt", text)
    with pytest.raises(UserError, match=sentence):
        ImageNet(root=tmp_path, split="val", labels=path).shard_names()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        LabelFile(tmp_path / "nowhere")
    (tmp_path / "x").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        LabelFile(tmp_path / "x")


def test_a_flat_folder_without_labels_has_none(tmp_path: Path) -> None:
    source = ImageNet(root=flat(tmp_path), split="val")
    assert labels(source) == [-1] * 4
    assert "LOC_val_solution.csv" in source.labels_from
