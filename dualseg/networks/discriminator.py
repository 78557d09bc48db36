"""A network that judges a map together with the image that it was made of."""

from __future__ import annotations

from torch import Tensor, nn


class VolumeDiscriminator(nn.Module):
    """The discriminator of SASSNet: 11,020,290 parameters with the defaults.

    Four 4^3 convolutions of stride 2; the first ones of the map and of the image are added. The
    mean over all places, a global pool, makes it the same network for every size of crop.

    Parameters
    ----------
    in_channels : of the image
    filters : of the first convolutions; each further one has twice as many
    """

    def __init__(self, in_channels: int = 1, filters: int = 64):
        super().__init__()
        self.of_map = _halving(1, filters)
        self.of_image = _halving(in_channels, filters)
        widths = (filters, 2 * filters, 4 * filters)
        layers: list[nn.Module] = []
        for width in widths:
            layers += [nn.LeakyReLU(0.2), nn.Dropout3d(0.5), _halving(width, 2 * width)]
        self.body = nn.Sequential(*layers, nn.LeakyReLU(0.2))
        self.head = nn.Linear(8 * filters, 2)

    def forward(self, values: Tensor, image: Tensor) -> Tensor:
        """Logits (B, 2) of a map (B, 1, X, Y, Z) and an image (B, in_channels, X, Y, Z)."""
        features = self.body(self.of_map(values) + self.of_image(image))
        return self.head(features.mean((2, 3, 4)))


def _halving(channels_in: int, channels_out: int) -> nn.Conv3d:
    return nn.Conv3d(channels_in, channels_out, 4, stride=2, padding=1)
