"""Things to play with in notebooks: each is one of `scenes`, some controls, and a picture where nothing can move."""

import asyncio
import base64
import html
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from ..errors import TinygenError
from . import scenes
from .curves import loss_curves, read_log
from .grids import png_bytes

FALLBACK = "(run this cell in JupyterLab to play with it)"


def _paint(image, png: bytes, width: int, words: str) -> None:
    """Show a PNG in an `ipywidgets.HTML`, `width` pixels wide: unlike an `ipywidgets.Image` it has alternative text."""
    encoded = base64.b64encode(png).decode()
    image.value = f'<img alt="{html.escape(words)}" width="{width}" src="data:image/png;base64,{encoded}">'


def _with_picture(box, image):
    """Store the first picture beside the widget: GitHub and the site show it, and nbval compares a fixed text."""
    view, picture = box._repr_mimebundle_, image.value.partition("base64,")[2].removesuffix('">')
    box._repr_mimebundle_ = lambda **kwargs: view(**kwargs) | {"image/png": picture, "text/plain": FALLBACK}
    return box


def _board(draw: Callable[[], scenes.Scene], controls: Sequence, *above):
    """(widget, refresh): controls in a row, the picture that `draw` makes of their values, its caption below.

    The caption is the picture's alternative text, too.
    """
    import ipywidgets                                                           # slow, and for notebooks only
    image, caption = ipywidgets.HTML(), ipywidgets.Label()

    def refresh(*_) -> None:
        try:
            picture, caption.value = draw()
            _paint(image, png_bytes(picture), picture.shape[1], caption.value)
        except TinygenError as error:                                           # an unknown word, say
            caption.value = str(error)

    refresh()
    for control in controls:
        control.observe(refresh, names="value")
    row = ipywidgets.Box(list(controls), layout={"flex_flow": "row wrap"})
    return _with_picture(ipywidgets.VBox([row, *above, image, caption]), image), refresh


def _slider(name: str, value, low, high, step=1, *, live: bool = True):
    """A slider; one that is not `live` waits until it is let go, for scenes that take a second."""
    import ipywidgets
    kind = ipywidgets.IntSlider if isinstance(step, int) else ipywidgets.FloatSlider
    return kind(value, min=low, max=high, step=step, description=name, continuous_update=live)


def gan_playground(seed: int = 0, steps: int = 0):
    """A GAN on a ring of eight Gaussians: choose a loss and learning rates, step, restart, watch modes collapse.

    `steps` are played before the first picture is shown.
    """
    import ipywidgets
    losses = ["non-saturating", "saturating", "hinge", "wasserstein"]
    loss = ipywidgets.Dropdown(options=losses, value=losses[0], description="loss")
    rate_g, rate_d = (ipywidgets.SelectionSlider(options=[3e-4, 1e-3, 3e-3, 1e-2], value=value, description=name)
                      for name, value in (("rate of G", 1e-3), ("rate of D", 3e-3)))
    step, restart = ipywidgets.Button(description="50 steps"), ipywidgets.Button(description="restart")
    games = [((loss.value, rate_g.value, rate_d.value), scenes.RingGame(seed=seed))]
    games[0][1].play(steps)

    def draw() -> scenes.Scene:
        key = (loss.value, rate_g.value, rate_d.value)
        if not games or games[-1][0] != key:
            games[:] = [(key, scenes.RingGame(*key, seed=seed))]
        return games[-1][1].scene()

    box, refresh = _board(draw, [loss, rate_g, rate_d], ipywidgets.HBox([step, restart]))
    step.on_click(lambda _: (games[-1][1].play(50), refresh()))
    restart.on_click(lambda _: (games.clear(), refresh()))
    return box


def voronoi_explorer(points: Tensor, codes: int = 8, steps: int = 0):
    """Codes among points in the plane (N, 2): how many, after how many steps of Lloyd's algorithm, from which start.

    `codes` (at most 20) and `steps` (at most 20) are shown first.
    """
    controls = [_slider("codes", codes, 1, 20), _slider("steps", steps, 0, 20), _slider("start", 0, 0, 9)]
    return _board(lambda: scenes.voronoi(points, *(control.value for control in controls)), controls)[0]


def palette_explorer(image: Tensor):
    """An image (3, S, S), uint8 or float in [-1, 1], in a few colours found by Lloyd's algorithm."""
    controls = [_slider("colours", 4, 1, 32), _slider("steps", 10, 0, 20), _slider("start", 0, 0, 9)]
    return _board(lambda: scenes.palette(image, *(control.value for control in controls)), controls)[0]


def codebook_explorer(model, codes: Tensor):
    """Choose a code of an image, codes (h, w), swap it for another, and see what the VQ autoencoder decodes.

    One chooses by a click on the map of codes, or from the keyboard by the slider "place", which counts row by row.
    """
    import ipywidgets
    height, width = codes.shape
    place = _slider("place", height // 2 * width + width // 2, 0, codes.numel() - 1)
    code = _slider("code", 0, 0, model.codebook_size - 1)
    small = {"width": "46px", "height": "26px", "padding": "0"}
    buttons = [ipywidgets.Button(description=str(int(c)), tooltip=f"row {i // width}, column {i % width}",
                                 tabbable=False, layout=small) for i, c in enumerate(codes.flatten())]
    plan = ipywidgets.GridBox(buttons, layout={"grid_template_columns": f"repeat({width}, 50px)"})

    def mark(change) -> None:
        buttons[change["old"]].button_style = ""
        buttons[change["new"]].button_style = "info"

    mark({"old": 0, "new": place.value})
    place.observe(mark, names="value")
    for index, button in enumerate(buttons):
        button.on_click(lambda _, index=index: setattr(place, "value", index))
    draw = lambda: scenes.swapped_code(model, codes, *divmod(place.value, width), code.value)  # noqa: E731
    return _board(draw, [place, code], plan)[0]


def noise_explorer(path, images: Tensor):
    """Images (n, 3, S, S) in [-1, 1], and the same at any time of the forward process of a path."""
    time = _slider("t", 0.3, 0.0, 1.0, 0.02)
    return _board(lambda: scenes.noised(path, images, time.value), [time])[0]


def sampler_race(model, labels: Tensor):
    """Every sampler from the same noise, for the classes `labels` (n,), with as many calls of the network each."""
    controls = [_slider("calls", 4, 2, 16, 2, live=False), _slider("seed", 0, 0, 99, live=False)]
    return _board(lambda: scenes.race(model, labels, *(control.value for control in controls)), controls)[0]


def guidance_explorer(model, label: int = 0):
    """Eight pictures of one class from the same noise, at any guidance scale."""
    scale = _slider("scale", 1.0, 0.0, 10.0, 0.5, live=False)
    return _board(lambda: scenes.guidance(model, label, scale.value), [scale])[0]


def interpolation_explorer(model, label: int = 0):
    """A walk from one noise to another on a circle, and the pictures on the way."""
    place = _slider("u", 0.5, 0.0, 1.0, 0.05, live=False)
    seeds = [_slider(f"seed {side}", value, 0, 99, live=False) for side, value in (("left", 0), ("right", 1))]
    draw = lambda: scenes.between(model, label, place.value, (seeds[0].value, seeds[1].value))  # noqa: E731
    return _board(draw, [place, *seeds])[0]


def prompt_box(model, prompt: str):
    """A sentence, the picture it makes, and where the network looked at each word."""
    import ipywidgets
    text = ipywidgets.Text(prompt, description="prompt", continuous_update=False, layout={"width": "36em"})
    seed = _slider("seed", 0, 0, 99, live=False)
    return _board(lambda: scenes.attended(model, text.value, seed.value), [text, seed])[0]


def dashboard(folder: str | Path, names: Sequence[str] | None = None, seconds: float = 3.0):
    """The curves of a run's log, as far as it has come; "follow" reads it again every few seconds."""
    import ipywidgets

    def draw() -> scenes.Scene:
        rows = read_log(folder)
        picture, last = loss_curves(rows, names), rows[-1]
        rate = f"{last['images']} images after {last['seconds']:.0f} s, {last['images_per_second']:.0f} a second"
        return picture, f"step {last['step']}: {rate}"

    again = ipywidgets.Button(description="read again")
    follow = ipywidgets.Checkbox(False, description="follow")
    box, refresh = _board(draw, [], ipywidgets.HBox([again, follow]))

    async def keep_reading() -> None:
        while follow.value:
            refresh()
            await asyncio.sleep(seconds)

    again.on_click(refresh)
    follow.observe(lambda change: asyncio.ensure_future(keep_reading()) if change["new"] else None, names="value")
    return box


def scrub(frames: Sequence[np.ndarray], captions: Sequence[str] | None = None, description: str = "frame",
          width: int | None = None):
    """A slider and a play button that walk through frames, uint8 (height, width, 3) each.

    `captions` has one line a frame; `width` is in pixels on the screen. TinygenError where there are no frames, or
    another number of captions.
    """
    if not len(frames) or (captions is not None and len(captions) != len(frames)):
        raise TinygenError(f"{len(captions or [])} captions for {len(frames)} frames: give frames, with a caption each")
    import ipywidgets
    pictures = [png_bytes(frame) for frame in frames]
    slider = ipywidgets.IntSlider(0, 0, len(frames) - 1, description=description, continuous_update=True)
    play = ipywidgets.Play(value=0, min=0, max=len(frames) - 1, interval=150)
    names = captions if captions is not None else [f"{description} {number}" for number in range(len(frames))]
    image, caption = ipywidgets.HTML(), ipywidgets.Label()

    def show(number: int) -> None:
        _paint(image, pictures[number], width or frames[0].shape[1], names[number])
        caption.value = captions[number] if captions is not None else ""

    show(0)
    slider.observe(lambda change: show(change["new"]), names="value")
    ipywidgets.link((play, "value"), (slider, "value"))
    return _with_picture(ipywidgets.VBox([ipywidgets.HBox([play, slider]), image, caption]), image)
