import inspect

import pytest
import torch

from lit_knn.database.index import Resident, Scan
from lit_knn.database.index.exact import compared_on
from lit_knn.database.index.store_index import StoreIndex
from lit_knn.errors import UserError


@pytest.mark.parametrize("kind", [Resident, Scan])
def test_nothing_is_built(kind, tmp_path):
    assert (kind().settings, kind().is_built(tmp_path / "nowhere")) == ({}, True)
    assert inspect.isabstract(StoreIndex)


@pytest.mark.parametrize("kind", [Resident, Scan])
def test_without_a_gpu_none_can_be_asked_for(kind, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"index\.device is cuda, but PyTorch sees no GPU here: use auto or cpu"):
        kind(device="cuda")
    assert compared_on("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert kind(device="cuda").device == "cuda"
    assert compared_on("auto") == torch.device("cuda")
