import pickle
import subprocess
from pathlib import Path
from typing import Any

import pytest
from timm.data import ImageNetInfo
from torchvision.models._meta import _IMAGENET_CATEGORIES

from lit_knn.data import ImageFolder
from lit_knn.data.classes import assign, given, imagenet, number_of
from lit_knn.errors import UserError
from tests.data.conftest import encode, photo

IMAGE = encode(photo(0, 6, 6))


def folders(root: Path, *names: str, images: int = 1) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
        for number in range(images):
            (root / name / f"{number}.png").write_bytes(IMAGE)
    return root


def labels(source: ImageFolder) -> dict[str, int]:
    shards = [source.open_shard(index) for index in range(len(source.shard_names()))]
    return {key.split("/")[0]: shard.read(row).label for shard in shards for row, key in enumerate(shard.keys())}


def test_imagenet_is_numbered_and_named_as_torchvision_and_timm_do() -> None:
    assert imagenet().listing == _IMAGENET_CATEGORIES
    peer = ImageNetInfo("imagenet-1k")
    for number in range(1000):
        assert imagenet().number(peer.index_to_label_name(number)) == number


def test_wordnet_folders_are_imagenets_classes(tmp_path: Path) -> None:
    root = folders(tmp_path, "n03888257", "n01440764", "n02102040")
    (root / "__MACOSX").mkdir()
    source = ImageFolder(root=root)
    assert labels(source) == {"n01440764": 0, "n02102040": 217, "n03888257": 701}
    assert source.class_names == _IMAGENET_CATEGORIES
    assert not source.label_problem(1000)
    for classes in (3, 999, 21841):
        assert "`classes:`" in source.label_problem(classes)
    assert pickle.loads(pickle.dumps(source)).identity() == source.identity()


def test_a_network_of_the_folders_alone(tmp_path: Path) -> None:
    wnids = ["n03888257", "n01440764", "n02102040"]
    source = ImageFolder(root=folders(tmp_path, *wnids), classes=list(wnids))
    assert labels(source) == {wnid: number for number, wnid in enumerate(wnids)}
    assert not source.label_problem(3)
    assert "lists 3 classes, but the network has 1,000" in source.label_problem(1000)


def test_other_wordnet_folders_are_counted_through(tmp_path: Path) -> None:
    source = ImageFolder(root=folders(tmp_path, "n01440764", "n99999999"))
    assert labels(source) == {"n01440764": 0, "n99999999": 1}
    assert not source.label_problem(2)
    assert "are 2 classes, but the network has 1,000" in source.label_problem(1000)


@pytest.mark.parametrize("names", [[str(i) for i in range(1, 13)], [str(i) for i in range(12)], ["08", "9", "0010"]])
def test_whole_numbers_are_sorted_as_numbers(tmp_path: Path, names: list[str]) -> None:
    assert labels(ImageFolder(root=folders(tmp_path, *names))) == {name: i for i, name in enumerate(names)}


@pytest.mark.parametrize(
    ("mine", "theirs", "word"),
    [
        ("abcd", "abcd", ""),
        ("Abcd", "abcd", ""),  # no number is another one
        ("aBcd", "abcd", "a"),
        ("bcde", "abcd", "b"),
        ("abcd", "abcde", ""),  # perhaps of a network of the four
        ("abcd", "wxyz", ""),
    ],
)
def test_words_that_were_counted_to_other_numbers(mine: str, theirs: str, word: str) -> None:
    found, others = assign(list(mine), None, "mine"), assign(list(theirs), None, "theirs")
    clash = found.clash(others)
    assert (f"{word!r} is number" in clash) if word else not clash
    assert not assign(list(mine), given(list(mine)), "mine").clash(others)  # somebody has said them
    assert not imagenet().clash(imagenet())


def test_a_folder_without_images_is_no_class_unless_it_is_listed(tmp_path: Path) -> None:
    root = folders(tmp_path, "a", "b", "c")
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX" / "._0.png").write_bytes(b"")
    (root / "ab").mkdir()
    assert labels(ImageFolder(root=root)) == {"a": 0, "b": 1, "c": 2}
    assert ImageFolder(root=root).class_names == ["a", "b", "c"]
    assert labels(ImageFolder(root=root, classes=["a", "ab", "b", "c"])) == {"a": 0, "b": 2, "c": 3}
    before = ImageFolder(root=root).identity()
    (root / "ab").rmdir()
    assert ImageFolder(root=root).identity() == before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "airplane\ncat\ndog\n"),
        ("classes.txt", "\ufeffairplane\r\n cat\t\r\n\r\ndog"),
        ("classes.json", '["airplane", "cat", "dog"]'),
        ("classes.json", '{"dog": 2, "airplane": 0, "cat": 1}'),
        ("classes.JSON", '{"2": "dog", "0": "airplane", "1": "cat"}'),
        ("classes.json", '{"2": ["dog", "Hund"], "0": ["airplane", "Flugzeug"], "1": ["cat", "Katze"]}'),  # as Keras
    ],
)
def test_files_of_classes(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    source = ImageFolder(root=folders(tmp_path / "images", "dog", "cat"), classes=str(tmp_path / name))
    assert labels(source) == {"cat": 1, "dog": 2}
    assert not source.label_problem(3)
    assert source.label_problem(2)


def test_wordnet_ids_may_go_before_names(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("n02102040 English springer, English springer spaniel\nn01440764\ttench\n")
    classes = given(str(tmp_path / "words.txt"))
    assert (classes.number("n01440764"), classes.number("tench"), classes.number("n02102040")) == (1, 1, 0)
    assert classes.listing == ["English springer, English springer spaniel", "tench"]


def test_numbers_of_some_classes(tmp_path: Path) -> None:
    source = ImageFolder(
        root=folders(tmp_path, "husky", "malamute", "cat"), classes={"husky": 5, "malamute": 5, "cat": 3}
    )
    assert labels(source) == {"cat": 3, "husky": 5, "malamute": 5}
    assert not source.label_problem(10)
    assert "up to 5, but the network has 5 classes" in source.label_problem(5)


def test_folders_of_numbers_with_known_names(tmp_path: Path) -> None:
    names = ["airplane", "cat", "dog"]
    assert labels(ImageFolder(root=folders(tmp_path / "a", "00", "02"), classes=names)) == {"00": 0, "02": 2}
    for root, problem in (("1", "no 0"), ("3", "the number 3")):  # counted from 1?
        with pytest.raises(UserError, match=problem):
            labels(ImageFolder(root=folders(tmp_path / root, root), classes=names))
    assert labels(ImageFolder(root=tmp_path / "3", classes=["1", "2", "3"])) == {"3": 2}
    assert labels(ImageFolder(root=tmp_path / "3", classes=[1, 2, 3])) == {"3": 2}


def test_imagenet_by_its_name(tmp_path: Path) -> None:
    """ImageNetV2 has folders 0 to 999."""
    source = ImageFolder(root=folders(tmp_path, "0", "217", "999"), classes="ImageNet")
    assert labels(source) == {"0": 0, "217": 217, "999": 999}
    assert source.class_names == _IMAGENET_CATEGORIES


def test_wordnet_ids_in_names_of_files(tmp_path: Path) -> None:
    expected = {
        "ILSVRC2012_val_00000293_n01440764.JPEG": 0,  # as Hugging Face names them
        "n03888257_26_n02102040.JPEG": 217,
        "n03888257_26.JPEG": 701,  # as ImageNet's own archives do
        "n99999999_1.JPEG": -1,
        "an01440764.JPEG": -1,
        "n014407640.JPEG": -1,
    }
    for name in expected:
        (tmp_path / name).write_bytes(IMAGE)
    source = ImageFolder(root=tmp_path)
    assert labels(source) == expected
    assert not source.label_problem(1000)
    assert source.label_problem(10)
    identity = source.identity()
    assert ImageFolder(root=tmp_path, classes=["n02102040", "n01440764", "n03888257"]).identity() != identity
    (tmp_path / "labels.txt").write_text("n03888257_26.JPEG 3\n")
    assert labels(ImageFolder(root=tmp_path, labels=tmp_path / "labels.txt"))["n03888257_26.JPEG"] == 3


def test_an_accent_is_one_character_or_two(tmp_path: Path) -> None:
    assert labels(ImageFolder(root=folders(tmp_path, "cafe\u0301"), classes=["b", "caf\u00e9"])) == {"cafe\u0301": 1}


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        ([], "holds no classes"),
        ({}, "holds no classes"),
        ({"a": -1}, "holds no classes"),
        (["a", "a", "b"], "'a' is the name of several"),
        (["b", "c"], "'a', which is none of them"),
        ({"b": 10**15}, "'a', which is none of them"),
        ({"01": 0, "1": 1}, "'a', which is none of them"),
        ("nowhere.txt", "nowhere.txt cannot be read"),
    ],
)
def test_bad_classes(tmp_path: Path, classes: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        ImageFolder(root=folders(tmp_path, "a"), classes=classes).shard_names()


@pytest.mark.parametrize(
    "text", ["", "\n\n", "{", "3", "[3.5]", '{"a": "b"}', '{"0": "a", "2": "b"}', "null", "[" * 99999]
)
def test_bad_files_of_classes(tmp_path: Path, text: str) -> None:
    path = tmp_path / "classes.json"
    path.write_text(text)
    with pytest.raises(UserError, match="classes"):
        given(str(path))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        given(str(path))


def test_equal_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is the name of several"):
        ImageFolder(root=folders(tmp_path, "1", "01")).shard_names()


def test_duplicate_names_do_no_harm_where_nothing_goes_by_them() -> None:
    classes = given(["crane", "crane", "dog"])
    assert classes.listing == ["crane", "crane", "dog"]
    assert number_of("dog", classes) == 2


def test_the_mapping_is_part_of_the_identity(tmp_path: Path) -> None:
    root = folders(tmp_path, "a", "b")
    plain, listed = ImageFolder(root=root).identity(), ImageFolder(root=root, classes=["a", "b"]).identity()
    assert plain == listed
    assert ImageFolder(root=root, classes=["b", "a"]).identity() != listed


def test_labels_of_a_file_are_numbers_as_they_are_or_words_in_order() -> None:
    assert assign(["12", "7"], None, "labels", ranked=False).number("7") == 7
    assert assign(["b", "a"], None, "labels", ranked=False).listing == ["a", "b"]


def test_ls_writes_the_list_that_the_refusal_asks_for(tmp_path: Path) -> None:
    root = folders(tmp_path / "images", "n03888257", "n01440764", "n02102040")
    assert "`ls FOLDER > classes.txt`" in ImageFolder(root=root).label_problem(3)
    (tmp_path / "classes.txt").write_bytes(subprocess.check_output(["ls", str(root)]))
    source = ImageFolder(root=root, classes=str(tmp_path / "classes.txt"))
    assert labels(source) == {"n01440764": 0, "n02102040": 1, "n03888257": 2}
    assert not source.label_problem(3)
