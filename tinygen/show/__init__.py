"""Pictures of what models do: grids, curves, animations, codebooks, one web page for all of it, notebook widgets."""

from .animation import save_gif
from .codebook import codebook_map
from .curves import loss_curves, read_log
from .grids import grid, labelled_grid, save_png, to_hwc
from .page import Page
from .widgets import scrub

__all__ = ["Page", "codebook_map", "grid", "labelled_grid", "loss_curves", "read_log", "save_gif",
           "save_png", "scrub", "to_hwc"]
