from importlib import metadata

import pytest
import torch

from lit_knn.doctor import machine
from lit_knn.errors import UserError


def said(check):
    return [finding for finding in machine.machine() if finding.check == check]


def test_versions_are_those_that_are_installed():
    (finding,) = said("installed")
    assert finding.verdict == "pass"
    assert f"torch {metadata.version('torch')}" in finding.sentence
    assert f"h5py {metadata.version('h5py')}" in finding.sentence


def test_what_is_lacking_or_too_old(monkeypatch):
    needed = ["torch>=99", "nobody-has-this>=1", "rich>=1", "timm>=99; extra == 'timm'"]
    monkeypatch.setattr(metadata, "requires", lambda name: needed)
    _, old, lacking = said("installed")
    assert old.verdict == lacking.verdict == "fail"
    assert "torch is 2." in old.sentence
    assert "pip install 'torch>=99'" in old.sentence
    assert lacking.sentence.startswith("nobody-has-this is not installed")


def test_two_wheels_of_faiss(monkeypatch):
    known = machine._version
    monkeypatch.setattr(machine, "_version", lambda name: "1.15" if name.startswith("faiss-") else known(name))
    (finding,) = said("FAISS")
    assert finding.verdict == "fail"
    assert "faiss-cpu and faiss-gpu and faiss-gpu-cuvs overwrite each other" in finding.sentence


@pytest.mark.parametrize(("wheel", "verdict"), [("", "warn"), ("1.15", "fail")])
def test_no_faiss_is_no_failure_and_a_broken_one_is(monkeypatch, wheel, verdict):
    def load():
        raise UserError("FAISS cannot be imported")

    monkeypatch.setattr(machine, "load_faiss", load)
    monkeypatch.setattr(machine, "_version", lambda name: wheel if name == "faiss-cpu" else "9")
    monkeypatch.setattr(machine, "WHEELS", ("faiss-cpu",))
    monkeypatch.setattr(metadata, "requires", lambda name: [])
    (finding,) = said("FAISS")
    assert finding.verdict == verdict
    assert "an exact scan needs none" in finding.sentence


def test_what_faiss_was_built_for():
    (finding,) = said("FAISS")
    assert finding.verdict == "pass"
    assert "OPTIMIZE" in finding.sentence
    assert "searched" in finding.sentence


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_says_why(monkeypatch):
    for version, why in ((None, "built for the CPU only"), ("13.0", "built for CUDA 13.0, but finds no GPU")):
        monkeypatch.setattr(torch.version, "cuda", version)
        (finding,) = said("GPUs")
        assert finding.verdict == "warn"
        assert why in finding.sentence


def test_threads_that_lie_idle(monkeypatch):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda process: range(8), raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert said("threads")[0].verdict == "pass"
    monkeypatch.delenv("OMP_NUM_THREADS")
    (finding,) = said("threads")
    assert finding.verdict == "warn"
    assert finding.sentence.startswith("8 of ")
