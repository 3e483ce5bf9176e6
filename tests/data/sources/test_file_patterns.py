from fnmatch import fnmatch
from pathlib import Path

import pytest
from braceexpand import braceexpand

from lit_knn.data.sources.file_patterns import local_files, neighboring_files
from lit_knn.errors import UserError


def found(folder: Path, *patterns: str) -> list[str]:
    """Names that patterns below a folder find."""
    paths = local_files([f"{folder}/{pattern}" for pattern in patterns], kind="tar", suffixes=(".tar", ".x"))
    assert all(path.parent == folder for path in paths)
    return [path.name for path in paths]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "a [folder]"  # brackets are a wildcard
    folder.mkdir()
    for name in ("t-08.tar", "t-09.tar", "t-10.tar", "v-a.x", "v-b.x", "t-08.json", "no_suffix"):
        (folder / name).touch()
    (folder / "sub.tar").mkdir()
    return folder


def test_what_patterns_find(folder: Path) -> None:
    assert found(folder, "t-{08..10}.tar") == ["t-08.tar", "t-09.tar", "t-10.tar"]
    assert found(folder, "v-{b,a}.x", "t-10.tar") == ["v-b.x", "v-a.x", "t-10.tar"]
    assert found(folder, "") == ["t-08.tar", "t-09.tar", "t-10.tar", "v-a.x", "v-b.x"]
    assert found(folder, "no_suffix") == ["no_suffix"]  # whoever names a file means it


def test_wildcards(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert local_files(["t-*"], kind="tar", suffixes=(".tar",)) == [Path(f"t-{i}.tar") for i in ("08", "09", "10")]
    assert local_files(["[v]-?.x"], kind="tar", suffixes=(".x",)) == [Path("v-a.x"), Path("v-b.x")]
    monkeypatch.setenv("HOME", str(folder))
    assert local_files(["~/v-a.x"], kind="tar", suffixes=(".x",)) == [folder / "v-a.x"]


@pytest.mark.parametrize("pattern", ["t-{10..11}.tar", "w-*.tar", "*.json", "sub.tar", "nowhere/"])
def test_what_is_missing(folder: Path, pattern: str) -> None:
    with pytest.raises(UserError, match="no tar file matches"):
        found(folder, pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        *("t-{8..10}.tar", "t-{08..10}.tar", "t-{0..10..5}.tar", "t-{10..8}.tar", "t-{001..10}.tar", "t-{00..1}.tar"),
        *("{a..c}.tar", "{c..a}.tar", "{a..e..2}.tar", "{A,b}-{0..1}.tar", "{,x}t.tar", "{0..0}.tar"),
    ],
)
def test_braces_are_those_of_webdataset(tmp_path: Path, pattern: str) -> None:
    names = list(braceexpand(pattern))
    for name in names:
        (tmp_path / name).touch()
    assert found(tmp_path, pattern) == names
    (tmp_path / names[-1]).unlink()
    with pytest.raises(UserError, match=f"no tar file matches .*{names[-1]}"):
        found(tmp_path, pattern)


@pytest.mark.parametrize("pattern", ["t-[01]?.tar", "t-[0-9]*.tar", "t-*.tar", "[s-u]-??.tar", "t-[!a-z]?.*"])
def test_wildcards_are_those_of_python(folder: Path, pattern: str) -> None:
    """Also in a folder with brackets in its name."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.suffix == ".tar")
    assert found(folder, pattern) == [name for name in names if fnmatch(name, pattern)] == names


def test_nested_folders_and_other_cases(tmp_path: Path) -> None:
    for name in ("a.tar", "b/c.TAR", "b/d/e.tar"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    paths = local_files([f"{tmp_path}/**/*"], kind="tar", suffixes=(".tar",))
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == ["a.tar", "b/c.TAR", "b/d/e.tar"]


def test_a_file_that_is_named_twice(folder: Path) -> None:
    with pytest.raises(UserError, match=r"t-09\.tar is named twice"):
        found(folder, "t-*.tar", "t-09.tar")


def test_what_lies_beside(folder: Path) -> None:
    (folder / "t-08.tar.GZ").touch()
    for pattern, expected in (("", ["t-08.tar.GZ"]), ("*", ["t-08.tar.GZ"]), ("t-*.tar", []), ("t-08.tar", [])):
        assert [path.name for path in neighboring_files([f"{folder}/{pattern}"], (".tar.gz",))] == expected
