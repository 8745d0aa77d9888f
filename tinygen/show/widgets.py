"""Sliders for notebooks."""

from collections.abc import Sequence

import numpy as np

from ..errors import TinygenError
from .grids import png_bytes


def scrub(frames: Sequence[np.ndarray], captions: Sequence[str] | None = None, description: str = "frame",
          width: int | None = None):
    """A widget: a slider and a play button that walk through frames, uint8 (height, width, 3) each, in JupyterLab.

    `captions` has one line a frame; `width` is in pixels on the screen. TinygenError where there are no frames, or
    another number of captions.
    """
    if not len(frames) or (captions is not None and len(captions) != len(frames)):
        raise TinygenError(f"{len(captions or [])} captions for {len(frames)} frames: give frames, with a caption each")
    import ipywidgets                                                           # slow, and for notebooks only
    pictures = [png_bytes(frame) for frame in frames]
    slider = ipywidgets.IntSlider(0, 0, len(frames) - 1, description=description, continuous_update=True)
    play = ipywidgets.Play(value=0, min=0, max=len(frames) - 1, interval=150)
    image = ipywidgets.Image(value=pictures[0], format="png", width=width or frames[0].shape[1])
    caption = ipywidgets.Label(captions[0] if captions is not None else "")

    def show(change) -> None:
        image.value = pictures[change["new"]]
        caption.value = captions[change["new"]] if captions is not None else ""

    slider.observe(show, names="value")
    ipywidgets.link((play, "value"), (slider, "value"))
    return ipywidgets.VBox([ipywidgets.HBox([play, slider]), image, caption])
