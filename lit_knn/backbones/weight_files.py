"""Files of tensors: what PyTorch and safetensors save, and a sentence for everything else that is called weights."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import torch

from lit_knn.errors import UserError, first_line

BEGINNINGS = {  # of files that are something else
    b"version https://git-lfs": "are a pointer of git-lfs, not the file itself: run `git lfs pull`",
    b"\x1f\x8b": "are a gzip archive: unpack it",
    b"BZh": "are a bzip2 archive: unpack it",
    b"\xfd7zXZ": "are an xz archive: unpack it",
    b"\x89HDF": "are an HDF5 file, as Keras writes it; a state dict of PyTorch is accepted",
    b"\x93NUMPY": "are a NumPy array; a state dict of PyTorch is accepted",
}
WEB_PAGE = re.compile(rb"\s*<(!doctype|html|head|\?xml)", re.IGNORECASE)
SAFETENSORS = re.compile(rb"[\s\S]{8}\{")  # the length of a JSON header, and the header


def read_tensors(path: str | Path) -> object:
    """Read a file of tensors; nothing but tensors, numbers and strings is unpickled.

    Args:
        path: What ``torch.save`` or safetensors wrote.

    Returns:
        Tensors on the CPU, in dicts and lists as they were saved.

    Raises:
        UserError: For a file that is missing, damaged, or something else.
    """
    path = Path(path)
    if not path.is_file():
        problem = "are a folder" if path.is_dir() else f"do not exist (looked from {Path.cwd()})"
        raise UserError(f"weights {path} {problem}; a file is accepted")
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise UserError(f"weights {path} cannot be read: {error.strerror}") from error
    if not head:
        raise UserError(f"weights {path} are an empty file")
    if WEB_PAGE.match(head):
        raise UserError(f"weights {path} are a web page, such as one that asks or says something before a download")
    for beginning, sentence in BEGINNINGS.items():
        if head.startswith(beginning):
            raise UserError(f"weights {path} {sentence}")
    if path.suffix == ".safetensors" or (SAFETENSORS.match(head) and not head.startswith(b"PK")):
        return _safetensors(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes of the unpickler
        raise UserError(f"weights {path} {_reason(path, error)}") from error


def _safetensors(path: Path) -> object:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError(f"weights {path} need safetensors: pip install safetensors") from error
    try:
        return load_file(path)
    except Exception as error:  # its own kinds, and OSError
        raise UserError(f"weights {path} are no safetensors file, or a damaged one: {first_line(error)}") from error


def _reason(path: Path, error: Exception) -> str:
    """Return in words why PyTorch cannot load a file."""
    if "TorchScript" in str(error):
        return "are a TorchScript program: save the state_dict() of its network"
    if foreign := re.search(r"Unsupported (?:global: GLOBAL|class) ([\w.]+\w)", str(error)):
        return _foreign(path, foreign[1])
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if not any(name.endswith("data.pkl") for name in names):
            shown = ", ".join(names[:3])
            return f"are a zip archive of other files ({shown}): unpack it, or save a state dict with torch.save"
    sentences = re.findall(r"WeightsUnpickler error:\s*([^\n]+)", str(error)) or [first_line(error)]
    return f"are no file of torch.save, or a damaged one: {sentences[0]}"


def _foreign(path: Path, found: str) -> str:
    """Return what an object that is no tensor makes of a file."""
    try:
        types = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (ValueError, RuntimeError):  # files of PyTorch before 1.6 cannot be asked
        types = []
    if any(name.startswith("torch.nn.modules.") for name in types):
        return f"hold a whole pickled network ({found}), and nothing is unpickled: save its state_dict() instead"
    return (
        f"hold {found} beside the tensors, and nothing is unpickled: load the file where you trust it and save the "
        "state dict alone"
    )
