from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lit_knn.data.sources.array_files import read_array
from lit_knn.errors import UserError

X = np.random.default_rng(0).random((4, 3, 5, 6), np.float32)
Y = np.arange(4)


def save_npz(path: Path, arrays: dict[str, Any]) -> None:
    np.savez_compressed(path, **arrays)


def save_pt(path: Path, arrays: dict[str, Any]) -> None:
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path)


def save_old_pt(path: Path, arrays: dict[str, Any]) -> None:
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    torch.save(tensors, path, _use_new_zipfile_serialization=False)


def save_safetensors(path: Path, arrays: dict[str, Any]) -> None:
    save_file({name: torch.from_numpy(array) for name, array in arrays.items()}, path)


WRITERS: dict[str, Callable[[Path, dict[str, Any]], None]] = {
    "a.npz": save_npz,
    "a.pt": save_pt,
    "old.pth": save_old_pt,
    "a.safetensors": save_safetensors,
}


@pytest.mark.parametrize("name", WRITERS)
def test_named_arrays_come_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path, {"x": X, "y": Y, "small": X.astype(np.float16), "bytes": Y.astype(np.uint8)})
    for key, expected in (("x", X), ("y", Y), ("small", X.astype(np.float16)), ("bytes", Y.astype(np.uint8))):
        found = read_array(path, key)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    for key, what in ((None, "name one of them"), ("z", "there is no 'z'")):
        with pytest.raises(UserError, match=rf"{name} holds .*'x'.*: {what}"):
            read_array(path, key)
    WRITERS[name](path, {"x": X})
    np.testing.assert_array_equal(read_array(path), X)


def test_single_arrays_and_lists(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    assert isinstance(read_array(tmp_path / "x.npy"), np.memmap)
    torch.save(torch.from_numpy(X).requires_grad_(), tmp_path / "x.pt")
    for name in ("x.npy", "x.pt"):
        np.testing.assert_array_equal(read_array(tmp_path / name), X)
        with pytest.raises(UserError, match="holds one array without a name: there is no 'y'"):
            read_array(tmp_path / name, "y")
    torch.save((torch.from_numpy(X), torch.from_numpy(Y), "a note"), tmp_path / "x.pt")
    np.testing.assert_array_equal(read_array(tmp_path / "x.pt", "1"), Y)
    with pytest.raises(UserError, match="holds '0', '1': name one"):
        read_array(tmp_path / "x.pt")
    torch.save(list(torch.from_numpy(X)) * 1000, tmp_path / "x.pt")  # a tensor for each image
    with pytest.raises(UserError, match="'7', …: name one of them by images_key") as caught:
        read_array(tmp_path / "x.pt")
    assert len(str(caught.value)) < 100 + len(str(tmp_path))


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("unpickled"),)


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    objects = np.array([Payload()], object)
    np.save("x.npy", objects)
    np.savez("x.npz", x=objects)
    torch.save(Payload(), "x.pt")
    torch.save({"x": X}, "y.pt")  # an array in it is pickled as well
    for name in ("x.npy", "x.npz", "x.pt", "y.pt"):
        with pytest.raises(UserError, match=rf"^{name} is damaged, or holds [^\n]*$"):
            read_array(Path(name))
    assert not Path("unpickled").exists()


@pytest.mark.parametrize("name", [*WRITERS, "a.npy"])
def test_damage_is_one_sentence(tmp_path: Path, name: str) -> None:
    """Cut anywhere, a byte changed in its first ones, another kind of file: an array or a sentence, no traceback."""
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, X)
    else:
        WRITERS[name](path, {"x": X})
    good = path.read_bytes()
    cuts = [good[: len(good) * part // 7] for part in range(7)]
    changes = [good[:place] + bytes([good[place] ^ 255]) + good[place + 1 :] for place in range(0, 130, 9)]
    for data in [*cuts, *changes, b"<html>404</html>", b"version https://git-lfs.github.com/spec/v1\n"]:
        path.write_bytes(data)
        try:
            read_array(path)
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert data in changes


def test_what_is_no_file_of_arrays(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.npy does not exist or is no regular file"):
        read_array(tmp_path / "x.npy")
    with pytest.raises(UserError, match=r"x\.mat is no file of arrays: accepted are \.npy"):
        read_array(tmp_path / "x.mat")
    save_file({"x": torch.zeros(2, dtype=torch.bfloat16)}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="has dtype BF16: accepted are U8"):
        read_array(tmp_path / "x.safetensors")
    torch.save(torch.zeros(2, dtype=torch.bfloat16), tmp_path / "x.pt")
    with pytest.raises(UserError, match="more than tensors that NumPy knows"):
        read_array(tmp_path / "x.pt")
