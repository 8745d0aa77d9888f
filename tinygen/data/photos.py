"""Two facts about a photograph that are measured from its pixels: how bright it is, and the colour of its background."""

import torch
from torch import Tensor

BRIGHTNESS = ("dark", "plain", "bright")                            # "plain" is not said in the caption
BACKGROUNDS = ("black", "gray", "white", "brown", "yellow", "green", "blue", "pink")
DARK, BRIGHT = 90, 155                                              # mean luma of the image, of 255
BORDER = 2                                                          # of 16 pixels: what it shows is the background
HUES = (15.0, 45.0, 65.0, 165.0, 260.0)                             # degrees, between
HUE_NAMES = ("pink", "brown", "yellow", "green", "blue", "pink")    # these


def measure_photos(images: Tensor) -> Tensor:
    """uint8 (N, 3, S, S) -> (N, 2) int64: index into BRIGHTNESS (by the mean luma) and into BACKGROUNDS.

    The background is the colour name that most pixels of the border have. Every second row and column is looked at.
    """
    images = images[:, :, ::2, ::2]
    means = images.flatten(2).float().mean(2)                                   # (N, 3)
    luma = means @ torch.tensor([0.299, 0.587, 0.114], device=images.device)    # ITU-R BT.601
    brightness = (luma >= DARK).long() + (luma >= BRIGHT).long()
    border = torch.ones(images.shape[-2:], dtype=torch.bool, device=images.device)
    border[BORDER:-BORDER, BORDER:-BORDER] = False
    pixels = images[:, :, border] >> 3                                          # (N, 3, P) of 0 to 31
    red, green, blue = pixels.int().unbind(1)
    names = colour_names(torch.arange(32, device=images.device))[(red << 10) + (green << 5) + blue]     # (N, P)
    votes = torch.stack([(names == k).sum(1) for k in range(len(BACKGROUNDS))], 1)
    return torch.stack([brightness, votes.argmax(1)], 1)


def colour_names(levels: Tensor) -> Tensor:
    """levels (L,), 0 to 31 -> (L^3,) uint8: the index into BACKGROUNDS of every colour (red, green, blue).

    Black, gray or white where little colour is (by the value), else by the hue; dark red is brown.
    """
    red, green, blue = torch.cartesian_prod(levels, levels, levels).mul(8).add(4).float().unbind(1)
    value, low = torch.stack([red, green, blue]).aminmax(dim=0)[::-1]
    chroma = value - low
    safe = chroma.clamp(min=1)
    hue = 60 * torch.where(value == red, (green - blue) / safe % 6,
                           torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4))
    names = torch.bucketize(hue, torch.tensor(HUES, device=hue.device), right=True)
    names = torch.tensor([BACKGROUNDS.index(name) for name in HUE_NAMES], device=hue.device)[names]
    names[((hue < 15) | (hue > 345)) & (value < 160)] = BACKGROUNDS.index("brown")
    grays = (value >= 60).long() + (value >= 190).long()                        # black, gray, white
    return torch.where((chroma < 0.15 * value) | (value < 45), grays, names).to(torch.uint8)
