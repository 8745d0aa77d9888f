"""Which device, in which precision, and what it can do."""

import os
import warnings

import torch

from ..errors import TinygenError


def cpu_has_bf16() -> bool:
    """True where the CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX); emulated, it is slower than float32."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name)() for name in names if hasattr(torch.cpu, name))


def choose_precision(device: torch.device, wanted: str = "auto") -> str:
    """"bf16", "fp16" or "fp32": bf16 where GPUs (compute capability >= 8.0) and CPUs have it, fp16 on older GPUs.

    `torch.cuda.is_bf16_supported()` is not asked: it is true on a T4, by slow emulation. TinygenError: fp16 on a CPU.
    """
    if wanted == "fp16" and device.type == "cpu":
        raise TinygenError("train.precision fp16 needs a GPU: take fp32, or auto for the best that there is")
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    if device.type == "cpu":
        return "bf16" if cpu_has_bf16() else "fp32"
    return "fp32"                                                            # MPS


def choose_device(wanted: str | None = None) -> torch.device:
    """`wanted`, or the best device there is: CUDA, then MPS, then the CPU; TinygenError for one that is not there."""
    count = {"cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
             "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    there = [name for name, number in count.items() if number]
    try:
        device = torch.device(wanted or there[0])
    except RuntimeError as error:
        raise TinygenError(f"unknown device {wanted!r}: use one of {', '.join(there)}") from error
    if (device.index or 0) >= count.get(device.type, 0):
        raise TinygenError(f"there is no device {wanted!r} here: use one of {', '.join(there)}")
    if device.type == "cuda":
        rank = int(os.environ.get("LOCAL_RANK", -1))            # one of several processes asks its own GPU only
        if why := cannot_compute(device if rank < 0 else torch.device("cuda", rank % count["cuda"])):
            raise TinygenError(f"torch {torch.__version__} cannot compute on {device} ({why}): use --device cpu, or install "
                               "a torch that was made for this GPU")
    return device


def cannot_compute(device: torch.device) -> str:
    """Why torch sees this GPU but cannot use it, such as a card older than its kernels; "" where it can."""
    try:
        torch.zeros(1, device=device).add_(1).item()
    except torch.OutOfMemoryError:                              # it can compute; it is full
        raise
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return ""


def can_compile(device: torch.device) -> bool:
    """Whether Triton, which torch.compile needs on an Nvidia GPU, works on this one; warns where it does not."""
    from torch.utils._triton import has_triton

    if device.type != "cuda" or has_triton():
        return True
    warnings.warn("there is no Triton for this GPU: training goes on without torch.compile, and more slowly", stacklevel=2)
    return False


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what it was asked; nothing to wait for on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
