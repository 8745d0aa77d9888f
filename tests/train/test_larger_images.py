"""Nothing in the library is made for 32 pixels only: 64-pixel images through both stages, as tinygen/recipes/README.md tells."""

import torch

from tinygen.data import ImageSet
from tinygen.models import load_model
from tinygen.train import Recipe, TrainConfig, train


def test_both_stages_take_64_pixels(tmp_path):
    torch.set_num_threads(1)
    images = torch.randint(256, (16, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = ImageSet("mine:train", images, torch.arange(16) % 2, ("left", "right"), ("a picture",) * 16,
                    torch.empty(16, 0, dtype=torch.int64), {})
    quick = TrainConfig(steps=2, batch_size=4, preview_every=2, precision="fp32")
    first = Recipe(name="first", kind="kl", data="mine", train=quick,
                   model={"latent_channels": 4, "channels": 8, "downsampling": 4, "image_size": 64})
    train(first, tmp_path / "first", device="cpu", data=data, quiet=True)
    network = {"channels": 8, "channel_mults": [1, 2, 2], "blocks": 1, "attention_sizes": [4], "heads": 2}
    second = Recipe(name="second", kind="latent-diffusion", data="mine", first_stage=str(tmp_path / "first"), train=quick,
                    model={"network": "unet", "network_options": network, "num_classes": 2})
    train(second, tmp_path / "second", device="cpu", data=data, quiet=True)
    model, info = load_model(tmp_path / "second")
    assert info["image_size"] == 64 and model.first_stage.latent_shape == (4, 16, 16)
    assert model.generate(2, torch.tensor([0, 1]), torch.Generator().manual_seed(0), steps=2).shape == (2, 3, 64, 64)
