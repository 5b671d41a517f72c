"""What textures are painted with: soft shapes, coloured noise and paint.

Shapes are coverages [B, H, W] in 0..1 over coordinates that broadcast to that shape.
"""

import torch
from torch import Tensor

SIZE = 128
"""Texels along a texture's side."""

Box = tuple[float, float, float, float]
"""(left, top, right, bottom)."""

Number = Tensor | float


def make_grid(box: Box, size: int = SIZE) -> tuple[Tensor, Tensor]:
    """Texel centres x [1, 1, size] and y [1, size, 1] of a box."""
    left, top, right, bottom = box
    centres = (torch.arange(size) + 0.5) / size
    x, y = left + (right - left) * centres, top + (bottom - top) * centres
    return x[None, None], y[None, :, None]


def fill_inside(distance: Tensor, softness: float) -> Tensor:
    """Coverage 1 where distance << 0 and 0 where >> 0, a smooth step as wide as ``softness``."""
    step = (0.5 - distance / softness).clamp(0, 1)
    return step * step * (3 - 2 * step)


def fill_ellipse(
    x: Tensor, y: Tensor, cx: Number, cy: Number, rx: Number, ry: Number, softness: float = 0.04
) -> Tensor:
    """Coverage of an ellipse round (cx, cy) with radii (rx, ry); its edge is ``softness`` wide."""
    radius = torch.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + 1e-9)
    return fill_inside((radius - 1) * ry, softness)


def fill_spot(x: Tensor, y: Tensor, cx: Number, cy: Number, width: float) -> Tensor:
    """Gaussian spot of height 1 round (cx, cy) with the standard deviation ``width``."""
    return torch.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2))


def power_norm(x: Tensor, y: Tensor, power: Number, floor: float = 0.0) -> Tensor:
    """(|x|^p + |y|^p + floor)^(1/p): 1 on the outline of a superellipse."""
    return (x.abs() ** power + y.abs() ** power + floor) ** (1 / power)


def colour_noise(white: Tensor, exponent: Number, stretch: float = 1.0) -> Tensor:
    """Turn white noise into unit-variance noise of amplitude spectrum 1 / f^exponent.

    Args:
        white: [..., H, W].
        exponent: broadcast over [..., 1, 1].
        stretch: more than 1 draws the noise out along y.

    Returns:
        [..., H, W].
    """
    height, width = white.shape[-2:]
    fy = torch.fft.fftfreq(height)[:, None] * height * stretch
    fx = torch.fft.rfftfreq(width)[None] * width
    gain = (1 + fy**2 + fx**2) ** (-exponent / 2)
    noise = torch.fft.irfft2(torch.fft.rfft2(white) * gain, s=(height, width))
    noise = noise - noise.mean((-2, -1), keepdim=True)
    return noise / noise.std((-2, -1), keepdim=True)


def paint(picture: Tensor, colour: Tensor, coverage: Tensor) -> Tensor:
    """Lay a colour [B, 3] over a picture [B, 3, H, W] at a coverage [B, H, W]."""
    return torch.lerp(picture, colour[:, :, None, None].expand_as(picture), coverage[:, None])


def average_boxes(texture: Tensor, width: Tensor, height: Tensor, size: int) -> Tensor:
    """Area means of a texture over boxes, at ``size`` x ``size`` evenly spaced places.

    Args:
        texture: [B, C, N, N].
        width, height: [B] sides of the box in texels; at least the spacing N / size is taken.
        size: places along each side.

    Returns:
        [B, C, size, size].
    """
    batch, channels, _, count = texture.shape
    narrow = texture.reshape(batch, -1, count) @ _box_weights(width, count, size).mT
    columns = narrow.reshape(batch, channels, count, size).transpose(1, 2).reshape(batch, count, -1)
    short = _box_weights(height, count, size) @ columns
    return short.reshape(batch, size, channels, size).transpose(1, 2)


def _box_weights(side, count, size):
    """Share of each of ``count`` texels in each of ``size`` boxes, [B, size, count].

    What a box covers beyond the texture counts as more of the texel at the border.
    """
    centres = (torch.arange(size) + 0.5) * (count / size)
    texels = torch.arange(count)
    half = side.clamp(min=count / size)[:, None, None] / 2
    low, high = centres[:, None] - half, centres[:, None] + half
    share = (torch.minimum(high, texels + 1.0) - torch.maximum(low, texels)).clamp(0)
    share[..., 0] += (-low[..., 0]).clamp(0)
    share[..., -1] += (high[..., 0] - count).clamp(0)
    return share / (2 * half)
