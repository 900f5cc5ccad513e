"""The pose network: one view in, a pixel, its uncertainty and visibility for every object out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from moe_robot_control.policies.spaces import OBJECTS

MAP_SIZE = 32
"""Side of the heatmaps [cells]; the image has 128 px, so that a cell is 4 px."""
STRIDE = 4


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(channels, channels),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))


class KeypointNetwork(nn.Module):
    """Heatmaps with soft-argmax (Sun et al. 2018, integral pose regression).

    Input: RGB in [0, 255], float. Shape (n, 3, 128, 128).
    Output: u, v [px], log of the pixel's standard deviation, visibility logit.
    Shape (n, 11, 4).
    """

    def __init__(self) -> None:
        super().__init__()
        count = len(OBJECTS)
        self.stem = nn.Sequential(_conv(3, 16, 2), _conv(16, 32, 2))
        self.fine = nn.Sequential(_Residual(32), _Residual(32))
        self.down = nn.Sequential(_conv(32, 64, 2), _Residual(64), _Residual(64))
        self.deep = nn.Sequential(_conv(64, 96, 2), _Residual(96), _Residual(96))
        self.deep_up = nn.Conv2d(96, 64, 1)
        self.down_up = nn.Conv2d(64, 32, 1)
        self.merge = nn.Sequential(_Residual(32), _conv(32, 48))
        self.heat = nn.Conv2d(48, count, 1)
        self.weight = nn.Parameter(torch.randn(count, 2, 48 + 32) * 0.02)
        self.bias = nn.Parameter(torch.zeros(count, 2))
        cells = torch.arange(MAP_SIZE, dtype=torch.float32)
        # centre of a cell in the image [px]
        self.register_buffer("centres", cells * STRIDE + (STRIDE - 1) / 2, persistent=False)

    def heatmaps(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the heatmaps (n, 11, 32, 32) and the features below them."""
        x = (image / 255.0 - 0.5) * 4.0
        fine = self.fine(self.stem(x))
        down = self.down(fine)
        deep = nn.functional.interpolate(self.deep_up(self.deep(down)), scale_factor=2.0)
        down = torch.relu(down + deep)
        up = nn.functional.interpolate(self.down_up(down), scale_factor=2.0)
        features = self.merge(torch.relu(fine + up))
        return self.heat(features), torch.cat([features, up], 1)

    def read(self, heat: Tensor, features: Tensor) -> Tensor:
        """Pixels, uncertainties and visibilities from `heatmaps`."""
        share = torch.softmax(heat.float().flatten(2), dim=-1)
        grid = share.unflatten(2, (MAP_SIZE, MAP_SIZE))
        u = (grid.sum(2) * self.centres).sum(-1)
        v = (grid.sum(3) * self.centres).sum(-1)
        pooled = share @ features.float().flatten(2).transpose(1, 2)
        peak = heat.float().flatten(2).amax(-1, keepdim=True)
        rest = (pooled[:, :, None] * self.weight).sum(-1) + self.bias
        sharp = torch.log(share.amax(-1) + 1e-6)
        spread = rest[..., 0] - 0.5 * sharp
        visible = rest[..., 1] + 0.1 * peak[..., 0]
        return torch.stack([u, v, spread, visible], dim=-1)

    def forward(self, image: Tensor) -> Tensor:
        return self.read(*self.heatmaps(image))
