"""Diffusion: schedules and paths, predictions, the training loss, samplers, guidance, and two networks.

    denoiser = Denoiser(UNet(in_channels=8, num_classes=10), build_path("flow"), prediction="v")
    loss, detail = denoiser.loss(latents, generator, labels=labels)
    images = sample(guided(denoiser.x0, {"labels": labels}, {"labels": null}, scale=3), denoiser.path, latents.shape)
"""

from .distillation import jump, trajectory
from .dit import DiT
from .guidance import Denoise, drop_condition, guided, sigma_interval
from .objectives import DENSITIES, WEIGHTINGS, Denoiser, loss_weight, sample_times
from .parameterisations import PREDICTIONS, combination, convert, from_x0_eps, to_eps, to_x0
from .paths import PATHS, SPACINGS, CosinePath, EDMPath, FlowPath, Path, VPPath, build_path, time_grid
from .samplers import SAMPLERS, ddim, ddpm, dpmpp_2m, euler, heun, sample
from .schedules import SCHEDULES, Schedule, build_schedule, posterior, rescale_zero_terminal_snr
from .unet import UNet

__all__ = ["DENSITIES", "PATHS", "PREDICTIONS", "SAMPLERS", "SCHEDULES", "SPACINGS", "WEIGHTINGS", "CosinePath",
           "Denoise", "Denoiser", "DiT", "EDMPath", "FlowPath", "Path", "Schedule", "UNet", "VPPath", "build_path",
           "build_schedule", "combination", "convert", "ddim", "ddpm", "dpmpp_2m", "drop_condition", "euler",
           "from_x0_eps", "guided", "heun", "jump", "loss_weight", "posterior", "rescale_zero_terminal_snr", "sample",
           "sample_times", "sigma_interval", "time_grid", "to_eps", "to_x0", "trajectory"]
