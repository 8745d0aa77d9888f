"""Recipes and the one loop that trains them all."""

from .ema import EMA
from .loop import Progress, Trainer, train
from .precision import choose_device, choose_precision
from .recipe import Recipe, TrainConfig, default_tier, load_recipe, recipe_names

__all__ = ["EMA", "Progress", "Recipe", "TrainConfig", "Trainer", "choose_device", "choose_precision", "default_tier",
           "load_recipe", "recipe_names", "train"]
