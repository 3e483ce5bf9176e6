"""What is installed, and what it can do here."""

from __future__ import annotations

import os
import platform
from importlib import metadata

import torch
from packaging.requirements import Requirement

from lit_knn.database.index.faiss_library import load_faiss
from lit_knn.errors import UserError
from lit_knn.report.results import Finding

SHOWN = ("torch", "torchvision", "pytorch-lightning", "numpy", "h5py", "timm", "wandb")
WHEELS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs")


def machine() -> list[Finding]:
    """Return what is installed, GPUs, the build of FAISS, and threads: seconds, most of them PyTorch's import."""
    return [*_packages(), _gpus(), _faiss(), _threads()]


def _packages() -> list[Finding]:
    found = {name: _version(name) for name in SHOWN}
    there = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    lacking = ", ".join(name for name, version in found.items() if not version)
    shown = f"lit_knn {_version('lit_knn')}, Python {platform.python_version()}, {there}"
    findings = [Finding("installed", "pass", f"{shown}{lacking and f'; without {lacking}'}")]
    for requirement in map(Requirement, metadata.requires("lit_knn") or []):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = _version(requirement.name)
        if not version or not requirement.specifier.contains(version, prereleases=True):
            state = f"is {version}" if version else "is not installed"
            sentence = f"{requirement.name} {state}, and {requirement} is needed: pip install '{requirement}'"
            findings.append(Finding("installed", "fail", sentence))
    return findings


def _gpus() -> Finding:
    if torch.cuda.is_available():
        each = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        listed = ", ".join(f"{one.name} ({one.total_memory / 2**30:.0f} GiB)" for one in each)
        return Finding("GPUs", "pass", f"{listed}, CUDA {torch.version.cuda}")
    if torch.version.cuda:
        why = f"PyTorch is built for CUDA {torch.version.cuda}, but finds no GPU or no driver for it"
    else:
        why = "this PyTorch is built for the CPU only"
    return Finding("GPUs", "warn", f"none: {why}, so that everything runs on the CPU")


def _faiss() -> Finding:
    wheels = [name for name in WHEELS if _version(name)]
    if len(wheels) > 1:
        overwritten = f"{' and '.join(wheels)} overwrite each other: uninstall all, and reinstall one"
        return Finding("FAISS", "fail", overwritten)
    try:
        faiss = load_faiss()
    except UserError as error:
        return Finding("FAISS", "fail" if wheels else "warn", f"{error}; an exact scan needs none")
    options = " ".join(faiss.get_compile_options().split())
    searched = "a part of the rows is searched on the CPU"
    if hasattr(faiss, "StandardGpuResources"):
        gpus = f"built for GPUs, of which it finds {faiss.get_num_gpus()}; there as well {searched}"
    else:
        gpus = f"built for the CPU only: indexes are searched there, whatever `device` says, and {searched}"
    wheel = f" ({wheels[0]})" if wheels else ""
    return Finding("FAISS", "pass", f"{faiss.__version__}{wheel}, instructions {options}; {gpus}")


def _threads() -> Finding:
    cores = os.cpu_count() or 1
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    given = os.environ.get("OMP_NUM_THREADS")
    threads = f"OMP_NUM_THREADS={given}" if given else "OMP_NUM_THREADS is not set, so that a run on the CPU takes 1"
    sentence = f"{mine} of {cores} cores for this process; {threads}"
    idle = not given and mine > 1 and not torch.cuda.is_available()
    more = "; set it or trainer.threads, or start more processes with trainer.devices" if idle else ""
    return Finding("threads", "warn" if idle else "pass", sentence + more)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
