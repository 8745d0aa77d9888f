"""Precision by capability."""

import torch


def cpu_has_bf16() -> bool:
    """True where the CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX); elsewhere it is emulated, ten times slower than float32."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name)() for name in names if hasattr(torch.cpu, name))


def choose_precision(device: torch.device, wanted: str = "auto") -> str:
    """"bf16", "fp16" or "fp32" for `device`: bf16 on GPUs of compute capability >= 8.0 and on CPUs that have it, fp16 on older GPUs.

    `torch.cuda.is_bf16_supported()` is not asked: it is true on a T4, by slow emulation.
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    if device.type == "cpu":
        return "bf16" if cpu_has_bf16() else "fp32"
    return "fp32"                                                            # MPS


def choose_device(wanted: str | None = None) -> torch.device:
    """`wanted`, or the best device there is: CUDA, then MPS, then the CPU."""
    if wanted:
        return torch.device(wanted)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
