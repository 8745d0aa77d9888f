"""Every public name of the library's parts belongs to the chapter that introduces it, which uses it in a code cell."""

import importlib
import re
from pathlib import Path

import jupytext
import pytest
import rules

INTRODUCED = {
    "tinygen.gan": {
        "03": "discriminator_loss generator_loss",
        "04": "Discriminator GANObjective Generator apply_spectral_norm diff_augment gradient_penalty power_iteration r1_penalty",
        "08": "FeatureDiscriminator PatchDiscriminator",
    },
    "tinygen.autoencoder": {"05": "Decoder DiagonalGaussian Encoder KLAutoencoder"},
    "tinygen.vq": {
        "07": "FSQ Quantized VectorQuantizer count_codes perplexity straight_through usage",
        "08": "VQAutoencoder VQGANObjective adaptive_weight",
        "09": "PriorObjective TokenPrior",
    },
    "tinygen.diffusion": {
        "10": "SCHEDULES Schedule build_schedule posterior rescale_zero_terminal_snr",
        "11": "Denoise Denoiser PREDICTIONS UNet VPPath WEIGHTINGS combination convert from_x0_eps loss_weight to_eps to_x0",
        "12": "CosinePath EDMPath FlowPath PATHS Path build_path",
        "13": "SAMPLERS SPACINGS ddim ddpm dpmpp_2m euler heun sample time_grid",
        "14": "DENSITIES sample_times",
        "15": "DiT drop_condition guided sigma_interval",
        "20": "jump trajectory",
    },
    "tinygen.latent": {
        "15": "CLIP ClipObjective TextEncoder Tokenizer info_nce",
        "16": "DecoderObjective LatentDiffusion LatentDiffusionObjective cache_latents",
        "18": "Adapter ControlNet ControlNetObjective ControlledUNet LoRA LoRAObjective LowRank adain add_low_rank add_word agreement "
              "angle_loss codes_of_another content_distance edge_map gram invert learn_word merge_low_rank steer_codes "
              "style_distance stylise views",
        "20": "DistillationObjective DistilledDiffusion",
    },
    "tinygen.evaluate": {
        "19": "Gaussian Judged class_adherence code_statistics duplicate_rate evaluate frechet_distance judge_images judge_set "
              "kernel_distance kernel_mmd2 memorisation nearest_neighbours precision_recall print_report prompt_adherence psnr "
              "reference_statistics ssim standard_fid",
    },
}


@pytest.mark.parametrize("module", INTRODUCED)
def test_every_public_name_has_its_chapter(module):
    named = [name for names in INTRODUCED[module].values() for name in names.split()]
    assert sorted(named) == sorted(importlib.import_module(module).__all__)
    for chapter, names in INTRODUCED[module].items():
        source, = Path(rules.__file__).parent.glob(f"{chapter}-*.md")
        code = "\n".join(cell.source for cell in rules.code_cells(jupytext.read(source, fmt="md:myst")))
        missing = [name for name in names.split() if not re.search(rf"\b{name}\b", code)]
        assert missing == [], f"chapter {chapter}"
