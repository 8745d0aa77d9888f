"""What each of two processes does in test_quantizers: quantise its half of a batch. Arguments: rank, folder."""

import sys
from datetime import timedelta
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import distributed

from tinygen.vq import VectorQuantizer


def latents() -> torch.Tensor:
    """The whole batch, (6, 4, 4, 4): 96 latents."""
    return torch.randn(6, 4, 4, 4, generator=torch.Generator().manual_seed(0))


def codebook() -> torch.Tensor:
    """(8, 4), six codes among the latents, two far from all of them."""
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(1)) + torch.tensor([0.0] * 6 + [50.0] * 2)[:, None]


def quantizer(restart_below: float, start: torch.Tensor | None) -> VectorQuantizer:
    """In training mode; initialised by `start` (two codes of which are near death), or by its first batch."""
    model = VectorQuantizer(8, 4, decay=0.9, restart_below=restart_below)
    if start is not None:
        model.code_count.copy_(torch.tensor([12.0] * 6 + [0.1] * 2))            # the mean count of 96 latents is 12
        model.codebook.copy_(start)
        model.code_sum.copy_(start * model.code_count[:, None])
        model.initialized.fill_(True)
    return model


def main(rank: int, folder: Path) -> None:
    distributed.init_process_group("gloo", f"file://{folder}/meeting", timeout=timedelta(seconds=400), rank=rank,
                                   world_size=2)
    half, results = latents()[rank::2], {}
    for name, model in {"averaged": quantizer(0.0, codebook()), "restarted": quantizer(0.5, codebook()),
                        "fresh": quantizer(0.0, None)}.items():
        model(half, torch.Generator().manual_seed(rank))                        # processes draw from different streams
        results[name] = model.codebook.clone()
        results[name + "_count"] = model.code_count.clone()
    save_file(results, folder / f"{rank}.safetensors")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
