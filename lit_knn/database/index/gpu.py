"""A loaded FAISS index on one or several GPUs.

References:
    https://github.com/facebookresearch/faiss/wiki/Faiss-on-the-GPU
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from lit_knn.database.index.faiss_library import load_faiss

if TYPE_CHECKING:
    import faiss


def to_gpu(
    index: faiss.Index, *, float16: bool, temp_memory_mb: int | None, mode: Literal["replicate", "shard"]
) -> faiss.Index:
    """Copy an index to the GPUs of this process: its own one in a distributed run, else all.

    Args:
        index: On the CPU.
        float16: Store and multiply in half precision.
        temp_memory_mb: Scratch memory on each GPU in MiB; FAISS's own choice (up to 1.5 GiB) if None.
        mode: With several GPUs, the whole index on each, or a part on each.

    Raises:
        RuntimeError: If FAISS cannot search this kind of index on a GPU, or memory is short.
    """
    library = load_faiss()
    alone = not torch.distributed.is_initialized()
    devices = list(range(library.get_num_gpus())) if alone else [torch.cuda.current_device()]
    resources = [library.StandardGpuResources() for _ in devices]
    if temp_memory_mb is not None:
        for resource in resources:
            resource.setTempMemory(temp_memory_mb << 20)
    options = library.GpuMultipleClonerOptions()
    options.useFloat16 = float16
    options.shard = mode == "shard"
    copy: faiss.Index = library.index_cpu_to_gpu_multiple_py(resources, index, options, devices)
    return copy
