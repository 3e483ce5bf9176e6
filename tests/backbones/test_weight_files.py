import argparse
import bz2
import gzip
import lzma
import sys
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from lit_knn.backbones.weight_files import read_tensors
from lit_knn.errors import UserError

STATE = {"weight": torch.arange(6.0).view(2, 3)}


def numpy_file(save, path):
    with path.open("wb") as file:
        save(file, np.ones(3))


def archive(path, **files):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)


FILES = {
    "are an empty file": lambda path: path.write_bytes(b""),
    "are a web page": lambda path: path.write_text("\n<!DOCTYPE html><html>Quota exceeded</html>"),
    "git lfs pull": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
    "gzip archive: unpack": lambda path: path.write_bytes(gzip.compress(b"weights")),
    "bzip2 archive: unpack": lambda path: path.write_bytes(bz2.compress(b"weights")),
    "xz archive: unpack": lambda path: path.write_bytes(lzma.compress(b"weights")),
    "zip archive of other files (model.pth)": lambda path: archive(path, **{"model.pth": b"weights"}),
    "zip archive of other files (arr_0.npy)": lambda path: numpy_file(np.savez, path),
    "are a NumPy array": lambda path: numpy_file(np.save, path),
    "an HDF5 file": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600)),
    "TorchScript program: save the state_dict()": lambda path: torch.jit.script(nn.Linear(3, 2)).save(str(path)),
    "a whole pickled network (torch.nn.modules.linear.Linear)": lambda path: torch.save(nn.Linear(3, 2), path),
    "hold argparse.Namespace beside the tensors": lambda path: torch.save(
        {"model": STATE, "args": argparse.Namespace(lr=0.1)}, path
    ),
    "hold numpy": lambda path: torch.save({"model": STATE, "best": np.float64(0.9)}, path),
    "hold argparse.Namespace": lambda path: torch.save(
        [argparse.Namespace()], path, _use_new_zipfile_serialization=False
    ),
    "or a damaged one: Unsupported operand": lambda path: path.write_bytes(b"nothing that anybody saved"),
}


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
@pytest.mark.parametrize("sentence", FILES)
def test_what_is_no_weights_file_is_called_by_its_name(sentence, tmp_path):
    path = tmp_path / "weights.pth"
    FILES[sentence](path)
    with pytest.raises(UserError) as refusal:
        read_tensors(path)
    text = str(refusal.value)
    assert sentence in text
    assert text.startswith(f"weights {path} ")
    assert text.isprintable()  # no escape codes, no second line
    assert "weights_only" not in text


def test_a_file_that_was_cut(tmp_path):
    for legacy in (False, True):
        path = tmp_path / "weights.pth"
        torch.save(STATE, path, _use_new_zipfile_serialization=not legacy)
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(UserError, match="or a damaged one: "):
            read_tensors(path)


def test_safetensors_under_any_name(tmp_path, monkeypatch):
    save_file = pytest.importorskip("safetensors.torch").save_file
    for name in ("weights.safetensors", "weights.pth"):
        save_file(STATE, tmp_path / name)
        assert torch.equal(read_tensors(tmp_path / name)["weight"], STATE["weight"])
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "weights.pth").read_bytes()[:-4])
    with pytest.raises(UserError, match="are no safetensors file, or a damaged one"):
        read_tensors(tmp_path / "cut.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(UserError, match="pip install safetensors"):
        read_tensors(tmp_path / "weights.safetensors")


def test_nothing_pickled_is_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (print, ("run",))

    for legacy in (False, True):
        torch.save(Trap(), tmp_path / "trap.pth", _use_new_zipfile_serialization=not legacy)
        with pytest.raises(UserError, match="nothing is unpickled"):
            read_tensors(tmp_path / "trap.pth")


def test_missing(tmp_path):
    with pytest.raises(UserError, match="are a folder"):
        read_tensors(tmp_path)
    with pytest.raises(UserError, match="do not exist"):
        read_tensors(tmp_path / "none.pth")
