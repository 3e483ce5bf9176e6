"""Networks may compute in bfloat16; what follows them never does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from lit_knn.errors import UserError

AUTOCAST = {"32-true": None, "bf16-mixed": torch.bfloat16, "64-true": None}  # what networks are cast to
SHORT = {"None": "32-true", "32": "32-true", "64": "64-true", "bf16": "bf16-mixed"}  # names that Lightning takes, too


def verify_precision(precision: str | int | None) -> None:
    """Refuse a Trainer's precision in which attacks or votes would be something else.

    Args:
        precision: As the Trainer has it, or as it is asked for.

    Raises:
        UserError: For float16, which rounds the small gradients that attacks climb to zero, and for networks that are
            cast as a whole, with all that they read.
    """
    if SHORT.get(str(precision), precision) not in AUTOCAST:
        raise UserError(
            f"trainer.precision is {precision}; accepted are 32-true, 64-true and bf16-mixed (networks in bfloat16, "
            "all that follows them in float32)"
        )


def network_precision(precision: str, device: torch.device) -> torch.autocast:
    """Return the context in which networks compute, whatever is around them.

    Args:
        precision: Of the Trainer.
        device: Of the images.
    """
    dtype = AUTOCAST[precision]
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def outside_networks(device: torch.device) -> torch.autocast:
    """Return the context of all that follows networks: Lightning casts whole steps, with distances and votes."""
    return torch.autocast(device.type, enabled=False)


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Multiply float32 as float32, whatever autocast or the precision of matrix products says."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with outside_networks(device):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


def rounded_products(device: torch.device) -> str:
    """Return what of float32 a GPU computes in TF32, whose 10 bits change last digits between machines; or "none"."""
    if device.type != "cuda":
        return "none"
    cudnn, cublas = torch.backends.cudnn.conv, torch.backends.cuda.matmul  # type: ignore[attr-defined]
    settings = {"convolutions": cudnn, "matrix products": cublas}
    return ", ".join(name for name, setting in settings.items() if setting.fp32_precision == "tf32") or "none"


def device_name(device: torch.device) -> str:
    """Return what records call a device: the model of a GPU, or which instructions PyTorch uses of a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.backends.cpu.get_cpu_capability()}" if device.type == "cpu" else device.type


def at_least_float32(values: Tensor) -> Tensor:
    """Return bfloat16 and float16 values as float32, and others as they are."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
